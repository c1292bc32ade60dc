//! The command with and without Vulkan.

use std::fs;

use serde_json::Value;

use crate::process::{Invocation, Place};

#[test]
fn without_a_driver_the_processor_is_chosen_and_vulkan_says_what_is_missing() {
    let ended = Invocation::new("devices").switch("--json").run();
    ended.assert_succeeds();
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let devices = report["devices"].as_array().unwrap();
    let [vulkan, cpu] = ["vulkan", "cpu"].map(|name| devices.iter().find(|device| device["selector"] == name).unwrap());
    assert!(cpu["chosen"] == true && vulkan["chosen"] == false, "{report}");
    assert!(vulkan["why"].as_str().unwrap().starts_with("it cannot be opened: vulkan: "), "{report}");

    let place = Place::new();
    place.embed().input("deep water").run().assert_succeeds();
    place
        .embed()
        .flag("--device", "vulkan")
        .input("deep water")
        .run()
        .assert_fails(1, &["cannot open device `vulkan`"]);
    let none = place.embed().flag("--device", "vulkan:0").input("deep water").run();
    none.assert_fails(2, &["no device is called \"vulkan:0\"", "auto, cpu, vulkan"]);
}

/// Also with what an earlier run compiled, and with a damaged file of it.
#[test]
fn on_vulkan_the_values_are_the_processors_whatever_the_cache_holds() {
    let devices = Invocation::new("devices").switch("--json").with_vulkan().run();
    devices.assert_succeeds();
    if !devices.stdout.contains("\"vulkan:0\"") {
        assert!(std::env::var_os("THALWEG_REQUIRE_VULKAN").is_none_or(|value| value != "1"), "{devices:?}");
        eprintln!("SKIPPED: no Vulkan device: {}", devices.stdout);
        return;
    }
    let place = Place::new();
    let expected = place.expected(&["deep water", "the river"]);
    let cache = place.path("cache");
    let run = || {
        let embed = place.embed().with_vulkan().flag("--device", "vulkan").variable("THALWEG_CACHE_DIR", &cache);
        let ended = embed.input("deep water\nthe river\n").run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for (line, expected) in ended.stdout.lines().zip(&expected) {
            let line: Value = serde_json::from_str(line).unwrap();
            for (value, expected) in line["embedding"].as_array().unwrap().iter().zip(&expected.values) {
                assert!((value.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-5, "{value}, expected {expected}");
            }
        }
        assert_eq!(ended.stdout.lines().count(), 2);
    };
    run();
    let files: Vec<_> = fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let written = fs::read(file).unwrap();
    run();
    let mut damaged = written.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for content in [&damaged[..], &written[..written.len() / 2], b"", &[0xff; 5000]] {
        fs::write(file, content).unwrap();
        run();
        assert!(fs::read(file).unwrap().starts_with(&written[..8]), "it was not replaced");
    }
}
