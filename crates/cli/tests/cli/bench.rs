//! `thalweg bench` and `thalweg devices`.

use serde_json::Value;

use crate::process::{Invocation, Place};

fn bench(place: &Place) -> Invocation {
    Invocation::new("bench").flag("--model", place.model()).flag("--seconds", "1")
}

#[test]
fn the_table_is_the_result_or_one_json_document_is() {
    let place = Place::new();
    let ended =
        bench(&place).flag("--threads", "1,3").flag("--batch", "2").flag("--tokens", "9").switch("--json").run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["device"].as_str().unwrap().contains("cpu"), "{report}");
    assert_eq!(report["model"], place.model().display().to_string());
    assert_eq!(report["dtype"], "f32");
    assert!(!report["commit"].as_str().unwrap().is_empty());
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, threads) in runs.iter().zip([1, 3]) {
        assert_eq!((&run["threads"], &run["batch"], &run["tokens"]), (&threads.into(), &2.into(), &9.into()));
        let figure = |name: &str| run[name].as_f64().unwrap();
        // A second's requests of two texts of nine ids.
        assert!(figure("requests_per_s") >= 1.0);
        assert!((figure("tokens_per_s") - 18.0 * figure("requests_per_s")).abs() < 0.1, "{run}");
        assert!(0.0 < figure("p50_ms") && figure("p50_ms") <= figure("p99_ms"), "{run}");
        assert!(0.0 < figure("tokenize_ms"), "{run}");
    }
    assert!(ended.stderr.contains("requests/s") && ended.stderr.lines().count() == 6, "{}", ended.stderr);
    let half = bench(&place).flag("--threads", "1").flag("--dtype", "f16").switch("--json").run();
    let report: Value = serde_json::from_str(&half.stdout).unwrap();
    assert_eq!((half.code, &report["dtype"]), (Some(0), &"f16".into()), "{half:?}");
    let table = bench(&place).flag("--threads", "2").run();
    table.assert_succeeds();
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("device  cpu (") && lines[3].starts_with("threads  batch"), "{table:?}");
    assert!(lines.len() == 5 && lines[4].trim_start().starts_with("2 "), "{table:?}");
}

#[test]
fn the_memory_is_written_to_a_file_and_a_path_that_cannot_be_is_said_at_once() {
    let place = Place::new();
    let file = place.path("memory.json");
    // Longer than what replaces it.
    std::fs::write(&file, "x".repeat(1 << 20)).unwrap();
    let ended = bench(&place).flag("--threads", "2").flag("--memory", file.to_str().unwrap()).run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let snapshot: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let stats = &snapshot["stats"];
    let segments = snapshot["segments"].as_array().unwrap();
    let bytes: u64 = segments.iter().map(|segment| number(&segment["bytes"])).sum();
    assert_eq!(bytes + number(&stats["in_transit"]) + number(&stats["overhead"]), number(&stats["reserved"]));
    assert!(number(&stats["frozen"]) > 0 && number(&stats["hits"]) > 0, "{stats}");
    // The weights are in a pool with the name of the model's directory.
    let name = place.model().file_name().unwrap().to_str().unwrap().to_owned();
    let frozen = |segment: &&Value| segment["spans"].as_array().unwrap().iter().any(|span| span["state"] == "frozen");
    assert!(segments.iter().filter(frozen).all(|segment| segment["pool"] == name.as_str()));
    // Before the model is looked for.
    let nowhere = place.path("nothing").join("memory.json");
    let missing = Invocation::new("bench").flag("--model", place.path("no model"));
    missing.flag("--memory", nowhere.to_str().unwrap()).run().assert_fails(1, &["cannot write", "memory.json"]);
}

#[test]
fn lengths_that_the_model_cannot_have_are_wrong_usage() {
    let place = Place::new();
    bench(&place).flag("--tokens", "2").run().assert_fails(2, &["--tokens 2", "2 special"]);
    bench(&place).flag("--tokens", "65").run().assert_fails(2, &["--tokens 65", "at most 64"]);
    let longest = bench(&place).flag("--tokens", "64").flag("--threads", "1").run();
    assert_eq!(longest.code, Some(0), "{longest:?}");
}

#[test]
fn models_and_devices_that_are_not_there_are_named() {
    let place = Place::new();
    let missing = Invocation::new("bench").flag("--model", place.path("nothing"));
    missing.run().assert_fails(1, &["cannot load", "nothing"]);
    bench(&place).flag("--device", "abacus").run().assert_fails(2, &["abacus", "auto, cpu"]);
}

#[test]
fn the_processor_computes_with_as_many_threads_as_are_asked_for() {
    let place = Place::new();
    let ended = bench(&place).flag("--threads", "2").flag("--cpu-threads", "3").switch("--json").run();
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(report["device"].as_str().unwrap().ends_with(", 3 threads)"), "{report}");
    let one = bench(&place).flag("--threads", "1").flag("--cpu-threads", "1").switch("--json").run();
    let report: Value = serde_json::from_str(&one.stdout).unwrap();
    assert!(report["device"].as_str().unwrap().ends_with(", 1 thread)"), "{report}");
    for wrong in ["0", "1025", "many"] {
        bench(&place).flag("--cpu-threads", wrong).run().assert_fails(2, &["--cpu-threads", wrong]);
    }
    place.embed().flag("--cpu-threads", "2").input("deep water").run().assert_succeeds();
}

#[test]
fn devices_say_what_they_are_and_one_is_chosen() {
    let ended = Invocation::new("devices").switch("--json").run();
    ended.assert_succeeds();
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let devices = report["devices"].as_array().unwrap();
    assert_eq!(devices.iter().filter(|device| device["chosen"] == true).count(), 1);
    let cpu = devices.iter().find(|device| device["selector"] == "cpu").unwrap();
    assert!(cpu["memory_bytes"].as_u64().unwrap() > 0);
    assert!(!cpu["why"].as_str().unwrap().is_empty());

    let people = Invocation::new("devices").run();
    people.assert_succeeds();
    assert!(people.stdout.starts_with("cpu: ") && people.stdout.contains("\n    chosen "), "{}", people.stdout);
}
