//! Streams as a shell hands them over: one file twice, closed, read-only, full.

use std::fs;
use std::os::unix::fs::symlink;

use crate::process::{Place, lines, read};

/// Whether the system has the files that the script names.
fn runs_here(script: &str) -> bool {
    cfg!(target_os = "linux") || !["/proc/", "/dev/full"].iter().any(|name| script.contains(name))
}

#[test]
fn one_file_as_input_and_output_is_refused_and_left_as_it_was() {
    let place = Place::new();
    let file = place.path("file");
    let scripts = [
        "$embed --output file < file",
        "$embed --input file >> file",
        "$embed --input file 1<> file",
        "$embed < file >> file",
        "$embed --input /dev/stdin --output file < file",
        "$embed --input /dev/fd/3 --output file 3< file",
        "$embed --input /proc/self/fd/0 --output /dev/fd/3 < file 3>> file",
        "$embed --input file --output /dev/stdout >> file",
        "$embed --input file --output /proc/self/fd/1 >> file",
        "$embed --input hard >> file",
        "$embed --output hard < file",
        "$embed --input soft >> file",
        "$embed --output soft < file",
        "$embed --output ./model/../file < soft",
        "$embed --output file --append < file",
        "$embed --input file --trace hard > /dev/null",
        "$embed --trace file < file > /dev/null",
        "$embed --trace soft >> file",
        "echo water | $embed --trace file --output hard",
        "$thalweg bench --model model --memory file >> file",
        "$thalweg bench --model model --json --trace hard >> file",
        "$thalweg bench --model model --trace soft --memory file",
    ];
    // Results, so that --append finds nothing else to refuse.
    let content = "{\"index\":0,\"tokens\":2,\"embedding\":[1.0]}\n";
    for script in scripts.into_iter().filter(|script| runs_here(script)) {
        fs::write(&file, content).unwrap();
        for link in ["hard", "soft"] {
            let _ = fs::remove_file(place.path(link));
        }
        fs::hard_link(&file, place.path("hard")).unwrap();
        symlink(&file, place.path("soft")).unwrap();
        let ended = place.shell(script).input("water\n").run();
        println!("{script}: {}", ended.stderr.trim());
        ended.assert_fails(2, &["are the same file"]);
        assert_eq!((read(&file).as_str(), ended.stdout.as_str()), (content, ""), "{script}");
    }
}

#[test]
fn a_file_of_the_model_is_no_output() {
    let place = Place::new();
    let tokenizer = place.model().join("tokenizer.json");
    let content = read(&tokenizer);
    for script in ["$embed --output model/tokenizer.json", "$embed >> model/tokenizer.json"] {
        let ended = place.shell(script).input("water\n").run();
        ended.assert_fails(2, &["are the same file", "the model's model/tokenizer.json"]);
        assert_eq!(read(&tokenizer), content);
    }
    // Those of its modules too.
    let pooling = place.model().join("1_Pooling/config.json");
    let content = read(&pooling);
    let ended = place.shell("$embed --output model/1_Pooling/config.json").input("water\n").run();
    ended.assert_fails(2, &["are the same file", "the model's model/1_Pooling/config.json"]);
    assert_eq!(read(&pooling), content);
}

#[test]
fn what_was_made_for_results_that_never_came_is_gone_again() {
    let place = Place::new();
    let output = place.path("out");
    place.shell("$thalweg embed --model none --output out").run().assert_fails(1, &["none"]);
    assert!(!output.exists());
    place.embed().flag("--device", "abacus").flag("--output", &output).run().assert_fails(2, &["abacus"]);
    assert!(!output.exists());
    // A link stays, and is one to nothing again.
    symlink(&output, place.path("link")).unwrap();
    place.shell("$thalweg embed --model none --output link").run().assert_fails(1, &["none"]);
    assert!(!output.exists() && place.path("link").is_symlink());
    let ended = place.embed().flag("--output", &output).flag("--input", place.file("in.json", "[]")).run();
    ended.assert_fails(1, &["one JSON array"]);
    assert!(!output.exists());
}

#[test]
fn pipes_terminals_and_devices_are_never_one_file() {
    let place = Place::new();
    let expected = lines(&place.expected(&["water"]));
    let null = place.shell("$embed < /dev/null > /dev/null").run();
    null.assert_succeeds();
    let null = place.shell("$embed --input /dev/null --output /dev/null").run();
    null.assert_succeeds();
    for script in ["$embed --output /dev/stdout", "$embed --input /dev/stdin", "$embed --output /dev/fd/1 | cat"] {
        let ended = place.shell(script).input("water\n").run();
        ended.assert_succeeds();
        assert_eq!(ended.stdout, expected, "{script}");
    }
    // Standard input goes on where it is, by whatever name.
    let file = place.file("in.txt", "river\nwater\n");
    for name in ["-", "/dev/stdin", "/dev/fd/0"] {
        let rest = place.shell(&format!("{{ read first; $embed --input {name}; }} < in.txt")).run();
        rest.assert_succeeds();
        assert_eq!(rest.stdout, expected, "{name}");
    }
    assert_eq!(read(&file), "river\nwater\n");
    // /dev/null as Python and Node hand it over, open to read and write.
    let ended =
        place.shell("$embed 1<> /dev/null; $embed 0<> /dev/null; $thalweg devices 1<> /dev/null").input("a\n").run();
    ended.assert_succeeds();
    assert_eq!(ended.stdout, "");
}

#[test]
fn results_are_appended_where_the_shell_appends() {
    let place = Place::new();
    let expected = lines(&place.expected(&["water"]));
    for (script, before) in
        [("$embed >> out", "before\n"), ("$embed --output /dev/stdout >> out", "before\n"), ("$embed > out", "")]
    {
        let output = place.file("out", "before\n");
        place.shell(script).input("water\n").run().assert_succeeds();
        assert_eq!(read(&output), format!("{before}{expected}"), "{script}");
    }
}

#[test]
fn a_stream_that_is_closed_or_open_the_wrong_way_is_said_before_the_model_is_loaded() {
    let place = Place::new();
    place.file("file", "kept");
    let cases = [
        ("$embed >&-", "cannot write standard output: it is closed"),
        ("$embed 1< file", "cannot write standard output: it is open for reading only"),
        ("$embed 1< /dev/null", "cannot write standard output: it is open for reading only"),
        ("$embed --output /dev/stdout >&-", "cannot write standard output: it is closed"),
        ("$embed <&-", "cannot read standard input: it is closed"),
        ("$embed --input - <&-", "cannot read standard input: it is closed"),
        ("$embed --input /dev/stdin <&-", "cannot read standard input: it is closed"),
        ("$embed 0>> file", "cannot read standard input: it is open for writing only"),
        ("$embed <&- >&-", "cannot read standard input: it is closed"),
        ("$embed < .", "cannot read standard input: "),
        ("$thalweg bench --model none >&-", "cannot write standard output: it is closed"),
        ("$thalweg bench --model none --json >&-", "cannot write standard output: it is closed"),
        ("$thalweg bench --model none --json 1< file", "cannot write standard output: it is open for reading only"),
        ("$thalweg --help >&-", "cannot write standard output: it is closed"),
        ("$thalweg --version 1< file", "cannot write standard output: it is open for reading only"),
        ("$thalweg embed --help > /dev/full", "cannot write standard output: "),
        ("$thalweg devices >&-", "cannot write standard output: it is closed"),
        ("$thalweg devices --json >&-", "cannot write standard output: it is closed"),
        ("$thalweg devices --json 1< file", "cannot write standard output: it is open for reading only"),
    ];
    for (script, words) in cases.into_iter().filter(|case| runs_here(case.0)) {
        fs::remove_file(place.model().join("model.safetensors")).unwrap_or_default();
        let ended = place.shell(script).input("water\n").run();
        ended.assert_fails(1, &[words]);
        assert_eq!(ended.stdout, "", "{script}");
    }
    assert_eq!(read(&place.path("file")), "kept");
}

#[test]
fn a_closed_standard_error_loses_nothing() {
    let place = Place::new();
    let expected = lines(&place.expected(&["water", "river"]));
    let scripts = ["$embed 2>&-", "$embed 2> /dev/full", "$embed 2< /dev/null", "$embed --output out 2>&- && cat out"];
    for script in scripts.into_iter().filter(|script| runs_here(script)) {
        // With a note on the way.
        let ended = place.shell(script).input("{\"text\":\"water\"}\n{\"text\":\"river\"}\n").run();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), expected.as_str()), "{script}: {ended:?}");
    }
    let ended = place.shell("$embed 2>&-").input("water\nriver\n\u{0}\n".to_owned().into_bytes()).run();
    assert!(ended.stdout.starts_with(&expected), "{ended:?}");
    let failed = place.shell("$embed 2>&-").input(b"water\nriver\n\xff\n".to_vec()).run();
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), expected.as_str()));
}

#[test]
fn the_reader_of_a_table_may_go_away() {
    let place = Place::new();
    let script = "{ $thalweg bench --model model --threads 1,1,1 --seconds 1; echo $? > code; } | head -1";
    let ended = place.shell(script).run();
    ended.assert_succeeds();
    assert!(ended.stdout.starts_with("device  "), "{ended:?}");
    assert_eq!(read(&place.path("code")), "0\n");
}

/// A limit on the size of files is a disk that is full, for anybody.
#[test]
fn a_file_that_can_grow_no_further_has_whole_lines() {
    let place = Place::new();
    let texts = ["river", "deep water", "stream"].repeat(40);
    let expected = lines(&place.expected(&texts));
    let input = texts.join("\n") + "\n";
    // In blocks of 512 bytes; the results are several times as many. The signal would end the command, and is ignored
    // in one of two.
    assert!(expected.len() > 20 * 512);
    let scripts = [
        "trap '' XFSZ; ulimit -f 20; $embed --output out",
        "ulimit -f 20; $embed --output out",
        "ulimit -f 20; $embed > out",
        "printf 'before\\n' > out; ulimit -f 20; $embed >> out",
    ];
    for script in scripts {
        let _ = fs::remove_file(place.path("out"));
        let ended = place.shell(script).input(input.clone()).run();
        let found = read(&place.path("out"));
        let results = found.strip_prefix("before\n").unwrap_or(&found);
        let count = results.lines().count();
        ended.assert_fails(1, &["cannot write", &format!("after {count} whole lines: ")]);
        assert!(!ended.stderr.contains("part of the next"), "{ended:?}");
        assert!(count > 0 && found.ends_with('\n') && expected.starts_with(results), "{script}: {found}");
        // As many as there is room for: not even the shortest line would fit behind them.
        assert!(found.len() + expected.lines().map(str::len).max().unwrap() + 1 > 20 * 512, "{script}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_device_has_no_line_and_says_so() {
    let place = Place::new();
    for script in ["$embed > /dev/full", "$embed --output /dev/full", "$thalweg devices > /dev/full"] {
        let ended = place.shell(script).input("water\n").run();
        ended.assert_fails(1, &["cannot write", "after 0 whole lines: "]);
        assert!(!ended.stderr.contains("part of the next"), "{ended:?}");
    }
}

#[test]
fn two_processes_do_not_write_one_file() {
    let place = Place::new();
    let output = place.path("out");
    let mut running = place.embed().flag("--output", &output).start();
    let mut stdin = running.child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"water\n").unwrap();
    let expected = lines(&place.expected(&["water"]));
    while !output.exists() || read(&output) != expected {
        assert!(running.child.try_wait().unwrap().is_none(), "the command ended by itself");
        std::thread::yield_now();
    }
    for append in [false, true] {
        let mut second = place.embed().flag("--output", &output).input("river\n");
        if append {
            second = second.switch("--append");
        }
        second.run().assert_fails(1, &["cannot write", "out: another process is writing it"]);
        assert_eq!(read(&output), expected);
    }
    drop(stdin);
    running.end().assert_succeeds();
}
