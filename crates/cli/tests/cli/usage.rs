//! Flags: what is refused, and what the help says.

use crate::process::{Invocation, Place};

#[test]
fn wrong_usage_is_code_2_and_names_the_flag() {
    let place = Place::new();
    let cases: [(Invocation, &[&str]); 23] = [
        (place.embed().flag("--threads", "0"), &["--threads", "0", "1..=1024"]),
        (place.embed().flag("--threads", "-1"), &["-1"]),
        (place.embed().flag("--threads", "100000"), &["--threads", "1..=1024"]),
        (place.embed().flag("--batch", "0"), &["--batch", "1..=4096"]),
        (place.embed().flag("--format", "csv"), &["--format", "csv", "auto, text, jsonl"]),
        (place.embed().flag("--progress", "always"), &["--progress", "auto, never"]),
        (place.embed().flag("--dtype", "f64"), &["--dtype", "f64", "f32, f16"]),
        (place.embed().flag("--trace-detail", "full"), &["--trace"]),
        (place.embed().flag("--trace", "t").flag("--trace-detail", "some"), &["some", "coarse, full"]),
        (place.embed().switch("--wrong"), &["--wrong"]),
        (Invocation::new("embed"), &["--model"]),
        (place.embed().flag("--model", "twice"), &["--model"]),
        (Invocation::new("bench").flag("--model", "m").flag("--threads", "1,0"), &["--threads", "1..=1024"]),
        (Invocation::new("bench").flag("--model", "m").flag("--threads", "1,x"), &["--threads", "x"]),
        (Invocation::new("bench").flag("--model", "m").flag("--tokens", "0"), &["--tokens"]),
        (Invocation::new("bench").flag("--model", "m").flag("--seconds", "0"), &["--seconds"]),
        (Invocation::new("bench").flag("--model", "m").flag("--dtype", "int8"), &["--dtype", "int8", "f32, f16"]),
        (Invocation::new("sing"), &["sing"]),
        (place.embed().flag("--keep", "id,tokens"), &["--keep id,tokens", "own member \"tokens\""]),
        (place.embed().flag("--keep", "id,id"), &["--keep id,id", "\"id\" is there twice"]),
        (place.embed().flag("--keep", "id,"), &["--keep id,: a name is empty"]),
        (place.embed().flag("--keep", "id").flag("--format", "text"), &["--keep id", "needs JSON lines"]),
        (place.embed().switch("--append"), &["--append needs a file", "standard output", "--output"]),
    ];
    for (invocation, words) in cases {
        let ended = invocation.run();
        ended.assert_fails(2, words);
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn the_help_names_every_flag_with_its_default_and_has_examples() {
    let common = [
        "--model",
        "--threads",
        "--batch",
        "--device",
        "[default: auto]",
        "--dtype",
        "[default: f32]",
        "--trace",
        "Examples:",
    ];
    let embed =
        ["--input", "--output", "[default: -]", "--append", "--keep", "--format", "[default: auto]", "--progress"];
    let bench = ["--tokens", "[default: 24]", "--seconds", "[default: 3]", "[default: 1,2,8,32]", "--json"];
    let rerank = ["--query", "--top", "--input", "--output", "--keep", "--progress"];
    let classify = ["--top", "--input", "--output", "--keep", "--progress"];
    for (subcommand, own) in [("embed", &embed[..]), ("bench", &bench), ("rerank", &rerank), ("classify", &classify)] {
        let ended = Invocation::new(subcommand).switch("--help").run();
        ended.assert_succeeds();
        for word in common.iter().chain(own) {
            assert!(ended.stdout.contains(word), "`thalweg {subcommand} --help` does not say {word}");
        }
    }
    for (subcommand, word) in
        [("devices", "--json"), ("info", "--json"), ("tokenize", "--prompt"), ("pull", "HF_TOKEN")]
    {
        let ended = Invocation::new(subcommand).switch("--help").run();
        ended.assert_succeeds();
        assert!(ended.stdout.contains(word) && ended.stdout.contains("Examples:"), "{ended:?}");
    }
    let all = Invocation::new("--help").run();
    all.assert_succeeds();
    assert!(
        ["embed", "rerank", "classify", "tokenize", "info", "pull", "bench", "devices", "Exit codes"]
            .iter()
            .all(|word| all.stdout.contains(word))
    );
}
