//! `thalweg embed --append`: what was interrupted goes on, and ends as if nothing had happened.

use std::fs;
use std::io::Write as _;
use std::thread;

use thalweg_models::testing::SmallEncoder;

use crate::process::{Invocation, Place, lines, read};

/// Empty, twice the same, and of several lengths.
const TEXTS: [&str; 7] = ["river", "", "deep water", "the fast stream", "river", "unheard", "water the water"];

fn records() -> String {
    TEXTS.iter().enumerate().map(|(id, text)| format!("{{\"id\":[{id}, null],\"text\":\"{text}\"}}\n")).collect()
}

#[test]
fn cut_at_any_byte_it_ends_as_if_uninterrupted() {
    let place = Place::new();
    let output = place.path("out.jsonl");
    let (text, json) = (place.file("in.txt", TEXTS.join("\n")), place.file("in.jsonl", records()));
    for (input, keep) in [(&text, None), (&json, None), (&json, Some("id"))] {
        let embed = || {
            let embed = place.embed().flag("--input", input).flag("--output", &output);
            if let Some(keep) = keep { embed.flag("--keep", keep) } else { embed }
        };
        embed().run().assert_succeeds();
        let whole = fs::read(&output).unwrap();
        if keep.is_none() {
            assert_eq!(String::from_utf8(whole.clone()).unwrap(), lines(&place.expected(&TEXTS)));
        }
        let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').map(|at| at + 1).collect();
        // Nothing, a part of the first line, around the end of a line, in the middle of one, all but the end, all.
        let last = whole.len();
        for cut in [0, 1, 9, ends[0] - 1, ends[0], ends[0] + 1, ends[1] + 15, ends[3] - 20, ends[4], last - 1, last] {
            for (threads, batch) in [("1", "1"), ("2", "3")] {
                fs::write(&output, &whole[..cut]).unwrap();
                embed().switch("--append").flag("--threads", threads).flag("--batch", batch).run().assert_succeeds();
                assert!(fs::read(&output).unwrap() == whole, "cut at {cut} of {last}: {}", read(&output));
            }
        }
    }
    fs::remove_file(&output).unwrap();
    place.embed().flag("--input", &text).flag("--output", &output).switch("--append").run().assert_succeeds();
    assert_eq!(read(&output), lines(&place.expected(&TEXTS)));
}

#[test]
fn interrupted_by_a_signal_it_goes_on() {
    let place = Place::new();
    let output = place.path("out.jsonl");
    let texts = ["deep water", "fast stream", "the river"].repeat(400);
    let input = texts.join("\n") + "\n";
    let embed = || place.embed().flag("--output", &output).switch("--append").flag("--threads", "2");
    for interruption in 0..3 {
        let mut running = embed().start();
        let mut stdin = running.child.stdin.take().unwrap();
        let before = fs::metadata(&output).map_or(0, |metadata| metadata.len());
        // A part of the input, which stays open: only the signal ends the command.
        let part = texts[..(interruption + 1) * 300].join("\n") + "\n";
        let writer = thread::spawn(move || stdin.write_all(part.as_bytes()).map(|()| stdin));
        while fs::metadata(&output).map_or(0, |metadata| metadata.len()) <= before {
            assert!(running.child.try_wait().unwrap().is_none(), "the command ended by itself");
            thread::yield_now();
        }
        running.signal("INT");
        let ended = running.end();
        drop(writer.join().unwrap());
        let count = read(&output).lines().count();
        ended.assert_fails(1, &[&format!("interrupted after {count} texts"), "with --append goes on"]);
        assert!(read(&output).ends_with('\n'));
    }
    embed().input(input).run().assert_succeeds();
    let three = place.expected(&texts[..3]);
    let expected: Vec<_> = three.iter().cycle().take(texts.len()).cloned().collect();
    assert!(read(&output) == lines(&expected));
}

#[test]
fn it_goes_on_from_a_disk_that_was_full() {
    let place = Place::new();
    let texts = ["river", "deep water", "stream"].repeat(40);
    place.file("in.txt", texts.join("\n"));
    place.shell("ulimit -f 20; $embed --input in.txt --output out").run().assert_fails(1, &["whole lines"]);
    place.shell("$embed --input in.txt --output out --append").run().assert_succeeds();
    assert!(read(&place.path("out")) == lines(&place.expected(&texts)));
}

#[test]
fn what_is_no_result_of_this_input_is_refused_and_left_as_it_was() {
    let place = Place::new();
    let output = place.path("out.jsonl");
    let input = place.file("in.txt", TEXTS.join("\n"));
    let embed = || place.embed().flag("--output", &output).switch("--append");
    let results = lines(&place.expected(&TEXTS[..3]));
    let half = "{\"index\":3,\"tok";
    let narrow = results.replace("\"embedding\":[", "\"embedding\":[0.5,");
    let renumbered = results.replace("\"index\":1,", "\"index\":4,");
    let cases = [
        ("precious".to_owned(), "its line 1 is no result"),
        ("precious\n".to_owned(), "its line 1 is no result"),
        (format!("{results}precious"), "its line 4 is no result"),
        (format!("{results}{{\"index\":2,"), "its line 4 is no result"),
        (renumbered, "its line 2 is no result that begins with {\"index\":1,"),
        (narrow, "its results have 33 values, those of the model 32"),
        (results.replace("[", "[\"x\","), "its line 3 is no result: "),
        // Of other texts: another number of tokens, and the same number.
        (
            lines(&place.expected(&["river", "", "water"])) + half,
            "its last result, with index 2, is not that of line 3",
        ),
        (lines(&place.expected(&["river", "", "fast water"])) + half, "its last result, with index 2, is not that of"),
        (lines(&place.expected(&TEXTS.repeat(2))), "it has 14 results, and"),
    ];
    for (content, words) in cases {
        fs::write(&output, &content).unwrap();
        embed().flag("--input", &input).run().assert_fails(1, &["cannot go on with", "out.jsonl", words]);
        assert_eq!(read(&output), content);
    }
    // Members that were not kept before.
    fs::write(&output, &results).unwrap();
    let keep = embed().flag("--keep", "id").flag("--input", place.file("in.jsonl", records())).run();
    keep.assert_fails(1, &["its last result, with index 2, is not that of line 3", "--keep"]);
    // Another model, of the same width.
    let other = place.path("other");
    fs::create_dir(&other).unwrap();
    SmallEncoder::new(12, 2, 32).write(&other).unwrap();
    let other = Invocation::new("embed").flag("--model", &other).flag("--output", &output).switch("--append");
    other.flag("--input", &input).run().assert_fails(1, &["its last result", "the model"]);
    assert_eq!(read(&output), results);
}

#[test]
fn only_a_file_can_be_gone_on_with() {
    let place = Place::new();
    for script in ["$embed --append", "$embed --append > out", "$embed --append | cat >&2; exit 2"] {
        place
            .shell(script)
            .input("water\n")
            .run()
            .assert_fails(2, &["--append needs a file", "standard output is none"]);
    }
    for script in ["$embed --append --output /dev/null", "$embed --append --output /dev/fd/3 3>&1 | cat >&2; exit 2"] {
        place.shell(script).input("water\n").run().assert_fails(2, &["--append needs a file", "/dev/"]);
    }
}
