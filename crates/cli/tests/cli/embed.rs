//! `thalweg embed` when all goes well.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::process::{Place, assert_results, read};

const WORDS: [&str; 7] = ["river", "stream", "water", "the", "deep", "fast", "unheard"];

/// Texts of 0 to 30 words, no two neighbours alike.
fn texts(count: usize) -> Vec<String> {
    (0..count)
        .map(|text| (0..text * 13 % 31).map(|word| WORDS[(text + word * 5) % 7]).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn results_have_the_librarys_bits_in_input_order_for_any_threads_and_batch() {
    let place = Place::new();
    let texts = texts(150);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let expected = place.expected(&texts);
    let input = place.file("in.txt", texts.join("\n") + "\n");
    for (threads, batch) in [("1", "1"), ("8", "1"), ("3", "7"), ("16", "200")] {
        let ended = place.embed().flag("--input", &input).flag("--threads", threads).flag("--batch", batch).run();
        ended.assert_succeeds();
        assert_results(&ended.stdout, &expected);
    }
}

#[test]
fn the_format_follows_the_name_unless_it_is_given() {
    let place = Place::new();
    let line = "{\"text\":\"deep water\",\"id\":7}";
    let as_json = place.expected(&["deep water"]);
    let as_text = place.expected(&[line]);
    let jsonl = place.file("in.jsonl", line);
    let other = place.file("in.txt", line);
    for (input, format, expected) in
        [(&jsonl, "auto", &as_json), (&jsonl, "text", &as_text), (&other, "jsonl", &as_json)]
    {
        let ended = place.embed().flag("--input", input).flag("--format", format).run();
        ended.assert_succeeds();
        assert_results(&ended.stdout, expected);
    }
    let piped = place.embed().flag("--format", "jsonl").input(format!("{line}\n\n\n")).run();
    piped.assert_succeeds();
    assert_results(&piped.stdout, &as_json);
}

#[test]
fn blank_texts_and_empty_inputs_are_valid() {
    let place = Place::new();
    for format in ["text", "jsonl"] {
        let ended = place.embed().flag("--format", format).input("").run();
        ended.assert_succeeds();
        assert_eq!(ended.stdout, "");
    }
    let expected = place.expected(&["", "   ", ""]);
    assert_eq!(expected[0].tokens, 2, "an empty text is its two special tokens");
    let ended = place.embed().input("\r\n   \n\n").run();
    ended.assert_succeeds();
    assert_results(&ended.stdout, &expected);
}

#[test]
fn a_file_is_replaced_and_nothing_goes_to_standard_output() {
    let place = Place::new();
    let output = place.file("out.jsonl", "an older and much longer result ".repeat(1000));
    let ended = place.embed().flag("--output", &output).input("water\n").run();
    ended.assert_succeeds();
    assert_eq!(ended.stdout, "");
    assert_results(&read(&output), &place.expected(&["water"]));
}

#[test]
fn each_result_is_there_before_the_next_text_is_asked_for() {
    let place = Place::new();
    let mut running = place.embed().flag("--threads", "2").start();
    let mut stdin = running.child.stdin.take().unwrap();
    let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
    let mut lines = String::new();
    for text in ["river", "stream", "bank"] {
        writeln!(stdin, "{text}").unwrap();
        stdout.read_line(&mut lines).unwrap();
    }
    drop(stdin);
    running.end().assert_succeeds();
    assert_results(&lines, &place.expected(&["river", "stream", "bank"]));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let place = Place::new();
    let mut running = place.embed().start();
    let mut stdin = running.child.stdin.take().unwrap();
    writeln!(stdin, "water").unwrap();
    let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    // The next result finds nobody. Standard input stays open: the end must not wait for it.
    writeln!(stdin, "water").unwrap();
    running.end().assert_succeeds();
}
