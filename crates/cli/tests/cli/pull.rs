//! `thalweg pull`, from a hub on loopback; and models by their names.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::hub::{Answer, COMMIT, Hub, checksum, pull};
use crate::process::{Invocation, Place, assert_results};

const TEXTS: [&str; 3] = ["a river", "a stream", ""];
const WEIGHTS: &str = "/resolve/0123456789abcdef0123456789abcdef01234567/model.safetensors";

/// Everything below the folder, but for what is hidden: paths, and what each holds.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Checks that the cache has the model, whole, and that it embeds as the model itself.
#[track_caller]
fn assert_is_there(place: &Place, revision: &str) {
    let top = place.path("hub/models--org--small");
    assert_eq!(files(&top.join("snapshots").join(COMMIT)), files(&place.model()));
    assert_eq!(fs::read_to_string(top.join("refs").join(revision)).unwrap(), COMMIT);
    let blobs = files(&top.join("blobs"));
    assert!(blobs.iter().all(|(name, _)| name.len() >= 40 && !name.contains('.')), "{blobs:?}");
    // Names where Python's tools look for them, too.
    let weights = fs::read(place.model().join("model.safetensors")).unwrap();
    assert!(top.join("blobs").join(checksum("model.safetensors", &weights)).is_file());
    for model in [format!("org/small@{revision}"), top.display().to_string()] {
        let embed = Invocation::new("embed").flag("--model", model).variable("HF_HUB_CACHE", place.path("hub"));
        let ended = embed.flag("--device", "cpu").input(TEXTS.join("\n") + "\n").run();
        ended.assert_succeeds();
        assert_results(&ended.stdout, &place.expected(&TEXTS));
    }
}

#[test]
fn a_model_is_fetched_and_found_by_its_name() {
    let place = Place::new();
    let hub = Hub::of(&place);
    let ended = hub.pull(&place, "org/small").run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let directory = place.path("hub/models--org--small/snapshots").join(COMMIT);
    assert_eq!(ended.stdout, format!("{}\n", directory.display()));
    for word in [COMMIT, " files, ", "org/small is there"] {
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
    assert_is_there(&place, "main");
    let asked = hub.asked();
    let paths: Vec<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    assert!(!paths.iter().any(|path| [".bin", ".md", "onnx"].iter().any(|word| path.contains(word))), "{paths:?}");
    assert_eq!(paths.last(), Some(&"/elsewhere/model.safetensors"), "weights come last");
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let place = Place::new();
    let hub = Hub::of(&place);
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    hub.asked();
    let again = hub.pull(&place, "org/small").run();
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), "org/small is there already\n"), "{again:?}");
    assert_eq!(hub.asked().len(), 1, "the list alone");
    // A commit never changes.
    let commit = hub.pull(&place, &format!("org/small@{COMMIT}")).run();
    assert!(commit.code == Some(0) && commit.stderr.ends_with(" is there already\n"), "{commit:?}");
    assert_eq!(hub.asked().len(), 0);
    // One file is gone, and its content is still there; of another both.
    let top = place.path("hub/models--org--small");
    fs::remove_file(top.join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    fs::remove_file(fs::canonicalize(top.join("snapshots").join(COMMIT).join("config.json")).unwrap()).unwrap();
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    let asked = hub.asked();
    assert!(asked.len() == 2 && asked[1].path.ends_with("/config.json"), "{asked:?}");
    assert_is_there(&place, "main");
}

#[test]
fn without_a_network_what_is_whole_is_there() {
    let place = Place::new();
    // A port that nobody listens on.
    let nobody = || pull(&place, "org/small").variable("HF_ENDPOINT", "http://127.0.0.1:1");
    nobody().run().assert_fails(1, &["cannot fetch org/small", "http://127.0.0.1:1 cannot be reached", "refused"]);
    nobody().variable("HF_HUB_OFFLINE", "1").run().assert_fails(1, &["not there", "HF_HUB_OFFLINE is set"]);
    assert_eq!(Hub::of(&place).pull(&place, "org/small").run().code, Some(0));
    for (invocation, says) in
        [(nobody(), "cannot be reached"), (nobody().variable("HF_HUB_OFFLINE", "1"), "HF_HUB_OFFLINE is set")]
    {
        let ended = invocation.run();
        assert!(ended.code == Some(0) && ended.stderr.contains("is there already; the hub was not asked"), "{ended:?}");
        assert!(ended.stderr.contains(says) && ended.stdout.ends_with(&format!("{COMMIT}\n")), "{ended:?}");
    }
    // Not so, where weights are missing.
    fs::remove_file(place.path("hub/models--org--small/snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    nobody().run().assert_fails(1, &["cannot be reached"]);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again() {
    let place = Place::new();
    let weights = fs::read(place.model().join("model.safetensors")).unwrap();
    let (first, second) = (weights.len() / 3, weights.len() / 3 * 2);
    let breaks = AtomicUsize::new(0);
    let hub = Hub::changed(&place, move |request, mut answer| {
        if request.path.starts_with("/elsewhere/") {
            match breaks.fetch_add(1, Ordering::Relaxed) {
                0 => answer.sent = first,
                1 => answer.sent = second - first,
                _ => {}
            }
        }
        answer
    });
    let ended = hub.pull(&place, "org/small").run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_is_there(&place, "main");
    let asked = hub.asked();
    let starts: Vec<_> =
        asked.iter().filter(|request| request.path.starts_with("/elsewhere/")).map(|request| request.start()).collect();
    assert_eq!(starts, [0, first, second]);
}

#[test]
fn an_interrupted_pull_is_gone_on_with() {
    let place = Place::new();
    let weights = fs::read(place.model().join("model.safetensors")).unwrap();
    let half = weights.len() / 2;
    let (reached, is_reached) = mpsc::channel();
    let hang = AtomicBool::new(true);
    let hub = Hub::changed(&place, move |request, mut answer| {
        if request.path.ends_with(WEIGHTS) && hang.load(Ordering::Relaxed) {
            hang.store(false, Ordering::Relaxed);
            // What a connection that breaks leaves, and then nothing more, until the test has done its part.
            let (go_on, wait) = mpsc::channel::<()>();
            reached.send(go_on).unwrap();
            let _ = wait.recv();
            answer.sent = 0;
        }
        answer
    });
    let mut running = hub.pull(&place, "org/small").start();
    let stderr = BufReader::new(running.child.stderr.take().unwrap());
    let go_on = is_reached.recv().unwrap();
    running.signal("INT");
    let said: Vec<String> = stderr.lines().map(Result::unwrap).collect();
    assert_eq!(running.end().code, Some(1));
    assert!(said.last().unwrap().contains("interrupted; the same command goes on"), "{said:?}");
    drop(go_on);
    assert!(!place.path("hub/models--org--small/refs/main").exists(), "what is not whole is not in use");
    // As if half of the weights had come.
    let blobs = place.path("hub/models--org--small/blobs");
    let part = blobs.join(format!("{}.incomplete", checksum("model.safetensors", &weights)));
    fs::write(&part, &weights[..half]).unwrap();
    hub.asked();
    let ended = hub.pull(&place, "org/small").run();
    assert!(ended.code == Some(0) && ended.stderr.contains("of which"), "{ended:?}");
    assert_is_there(&place, "main");
    let asked = hub.asked();
    assert_eq!(asked.iter().map(|request| request.start()).collect::<Vec<_>>(), [0, half, half], "{asked:?}");
}

#[test]
fn a_part_that_is_wrong_or_a_server_without_ranges_does_no_harm() {
    let place = Place::new();
    let weights = fs::read(place.model().join("model.safetensors")).unwrap();
    let part = || {
        let blobs = place.path("hub/models--org--small/blobs");
        fs::create_dir_all(&blobs).unwrap();
        blobs.join(format!("{}.incomplete", checksum("model.safetensors", &weights)))
    };
    // Another content: thrown away when the checksum shows it, and right the next time.
    let hub = Hub::of(&place);
    fs::write(part(), vec![7; weights.len() / 2]).unwrap();
    let ended = hub.pull(&place, "org/small").run();
    ended.assert_fails(1, &["org/small, model.safetensors", "checksum is not", "thrown away"]);
    assert!(!part().exists());
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    assert_is_there(&place, "main");
    // A longer one, and one that is whole.
    for (content, requests) in [(vec![7; weights.len() + 1], 3), (weights.clone(), 1)] {
        fs::remove_file(
            fs::canonicalize(place.path("hub/models--org--small/snapshots").join(COMMIT).join("model.safetensors"))
                .unwrap(),
        )
        .unwrap();
        fs::write(part(), content).unwrap();
        hub.asked();
        assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
        assert_eq!(hub.asked().len(), requests);
        assert_is_there(&place, "main");
    }
    // A server that sends everything whatever was asked for.
    let place = Place::new();
    let whole = weights.clone();
    let hub = Hub::changed(&place, move |request, answer| match request.path.starts_with("/elsewhere/") {
        true => Answer::new(200, whole.clone()),
        false => answer,
    });
    let blobs = place.path("hub/models--org--small/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", checksum("model.safetensors", &weights))), &weights[..100]).unwrap();
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    assert_is_there(&place, "main");
}

/// Another answer.
type Change = fn(Answer) -> Answer;

#[test]
fn contents_are_compared_with_what_the_hub_says() {
    let place = Place::new();
    let cases: [(&str, Change, &str); 6] = [
        (
            "/elsewhere/",
            |mut answer| {
                answer.body[9] ^= 1;
                answer
            },
            "checksum is not",
        ),
        (
            "/config.json",
            |mut answer| {
                answer.body[9] ^= 1;
                answer
            },
            "checksum is not",
        ),
        (
            "/elsewhere/",
            |mut answer| {
                answer.body.push(0);
                answer
            },
            "sends more bytes than it says",
        ),
        ("/resolve/", |answer| answer.header("X-Linked-Size", "7"), "sends 7 bytes, and its list of files says"),
        ("/config.json", |answer| answer.header("X-Repo-Commit", "c0ffee"), "sends it of c0ffee"),
        (
            "/elsewhere/",
            |answer| Answer { status: 206, ..answer }.header("Content-Range", "bytes 5-9/10"),
            "answers with another part",
        ),
    ];
    for (path, change, says) in cases {
        let hub = Hub::changed(&place, move |request, answer| {
            if request.path.contains(path) && !request.path.ends_with("modules.json") { change(answer) } else { answer }
        });
        let _ = fs::remove_dir_all(place.path("hub"));
        hub.pull(&place, "org/small").run().assert_fails(1, &["cannot fetch org/small", says]);
        assert!(!place.path("hub/models--org--small/refs").exists());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let place = Place::new();
    let hub = Hub::of(&place);
    hub.pull(&place, "org/other").run().assert_fails(1, &["cannot fetch org/other", "no such model", "404"]);
    hub.pull(&place, "org/small@v9").run().assert_fails(1, &["no revision v9", "404"]);
    let token = "hf_secret";
    for status in [401, 403] {
        let hub = Hub::changed(&place, move |request, answer| {
            let is_known = request.headers.get("authorization").is_some_and(|value| value == "Bearer hf_right");
            if is_known || request.path.starts_with("/elsewhere/") { answer } else { Answer::new(status, "no") }
        });
        let says = format!("(status {status})");
        hub.pull(&place, "org/small").run().assert_fails(1, &[&says, "private or asks for consent", "set HF_TOKEN"]);
        let wrong = hub.pull(&place, "org/small").variable("HF_TOKEN", token).run();
        wrong.assert_fails(1, &[&says, "the token of HF_TOKEN", "has no access"]);
        assert!(!wrong.stderr.contains(token));
        hub.asked();
        let right = hub.pull(&place, "org/small").variable("HF_TOKEN", "hf_right").run();
        assert_eq!(right.code, Some(0), "{right:?}");
        let asked = hub.asked();
        let (elsewhere, here): (Vec<_>, Vec<_>) =
            asked.iter().partition(|request| request.path.starts_with("/elsewhere/"));
        assert!(
            elsewhere.iter().all(|request| !request.headers.contains_key("authorization")),
            "the token went elsewhere"
        );
        assert!(here.iter().all(|request| request.headers["authorization"] == "Bearer hf_right"));
        fs::remove_dir_all(place.path("hub")).unwrap();
    }
    // The hub's token file.
    fs::create_dir(place.path("home")).unwrap();
    place.file("home/token", "hf_right\n");
    let hub = Hub::of(&place);
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    assert_eq!(hub.asked()[0].headers["authorization"], "Bearer hf_right");
}

#[test]
fn a_server_that_is_out_of_order_is_tried_again() {
    let place = Place::new();
    let calls = AtomicUsize::new(0);
    let hub = Hub::changed(&place, move |request, answer| {
        let is_first = request.path.ends_with("/config.json") && calls.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { Answer::new(503, "later") } else { answer }
    });
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
    assert_is_there(&place, "main");
    let hub = Hub::changed(&place, |_, _| Answer::new(500, ""));
    hub.pull(&place, "org/small@v1").run().assert_fails(1, &["cannot answer now (status 500)", "try again later"]);
    // But what was whole before is still there.
    assert_eq!(hub.pull(&place, "org/small").run().code, Some(0));
}

#[test]
fn revisions_are_branches_tags_and_requests() {
    let place = Place::new();
    let hub = Hub::of(&place);
    for revision in ["v1", "refs/pr/1"] {
        assert_eq!(hub.pull(&place, &format!("org/small@{revision}")).run().code, Some(0));
        assert_is_there(&place, revision);
    }
    let commit = hub.pull(&place, &format!("org/small@{COMMIT}")).run();
    assert_eq!(commit.code, Some(0), "{commit:?}");
    assert!(!place.path("hub/models--org--small/refs").join(COMMIT).exists());
}

/// A list without sizes and checksums, as mirrors give it: what the files' own answers say is compared.
#[test]
fn a_list_of_names_is_enough() {
    let place = Place::new();
    let names_alone = |answer: Answer| {
        let mut list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        for sibling in list["siblings"].as_array_mut().unwrap() {
            *sibling = serde_json::json!({ "rfilename": sibling["rfilename"] });
        }
        Answer { body: list.to_string().into_bytes(), ..answer }
    };
    let hub = Hub::changed(
        &place,
        move |request, answer| {
            if request.path.starts_with("/api/") { names_alone(answer) } else { answer }
        },
    );
    let ended = hub.pull(&place, "org/small").run();
    assert!(ended.code == Some(0) && ended.stderr.contains("of unknown size"), "{ended:?}");
    assert_is_there(&place, "main");
    fs::remove_dir_all(place.path("hub")).unwrap();
    let hub = Hub::changed(&place, move |request, mut answer| {
        if request.path.starts_with("/api/") {
            return names_alone(answer);
        }
        if request.path.starts_with("/elsewhere/") {
            answer.body[9] ^= 1;
        }
        answer
    });
    hub.pull(&place, "org/small").run().assert_fails(1, &["model.safetensors", "checksum is not"]);
}

/// What a server says becomes a path.
#[test]
fn an_answer_cannot_lead_out_of_the_cache() {
    let place = Place::new();
    let before = files(&place.path(""));
    for etag in ["../../../../escaped", "/escaped", "..", "x/y", ""] {
        let hub = Hub::changed(&place, move |request, answer| {
            if request.path.starts_with("/api/") {
                let siblings = serde_json::json!([{ "rfilename": "model.safetensors" }, { "rfilename": "../x.json" }]);
                return Answer::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string());
            }
            answer.header("X-Linked-ETag", etag)
        });
        hub.pull(&place, "org/small").run().assert_fails(1, &["which cannot be a file's name"]);
    }
    let hub = Hub::changed(&place, |_, _| Answer::new(200, "{\"sha\":\"../../escaped\",\"siblings\":[]}"));
    hub.pull(&place, "org/small").run().assert_fails(1, &["which is no commit"]);
    assert_eq!(files(&place.path("")), before);
}

#[test]
fn wrong_names_and_variables_are_told() {
    let place = Place::new();
    for name in [
        "small",
        "../small",
        "org/..",
        "/org/small",
        "org/small/x",
        "org/small@",
        "org/small@../x",
        "https://x/org/small",
    ] {
        pull(&place, name).run().assert_fails(2, &[name, "organisation/name@revision"]);
    }
    Invocation::new("pull").run().assert_fails(2, &["ORGANISATION/NAME"]);
    let wrong = pull(&place, "org/small").variable("HF_ENDPOINT", "hub.example").run();
    wrong.assert_fails(1, &["HF_ENDPOINT=hub.example", "no address"]);
    pull(&place, "org/small").variable("HF_TOKEN", "a b").run().assert_fails(1, &["HF_TOKEN", "characters"]);
    assert!(!place.path("hub").exists());
    // The model that is not there, by name.
    let embed = Invocation::new("embed").flag("--model", "org/none").variable("HF_HUB_CACHE", place.path("hub"));
    embed.run().assert_fails(1, &["org/none: no such directory", "models--org--none", "`thalweg pull org/none`"]);
}

#[test]
fn pickles_alone_are_refused_before_anything_large_is_fetched() {
    let place = Place::new();
    let hub = Hub::changed(&place, |request, mut answer| {
        if request.path.starts_with("/api/") {
            answer.body = String::from_utf8(answer.body).unwrap().replace("model.safetensors", "x.safetensors").into();
        }
        answer
    });
    hub.pull(&place, "org/small").run().assert_fails(1, &["pytorch_model.bin", "would run code", "refs/pr/N"]);
}
