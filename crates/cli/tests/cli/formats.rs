//! How the input is written: by its name, its first line, and what is said of it; members that are carried through.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::process::{Place, assert_results, lines, read};

const RECORD: &str = "{\"text\":\"deep water\",\"id\":7}\n";

#[test]
fn json_lines_are_recognised_by_names_and_by_the_first_line() {
    let place = Place::new();
    let expected = lines(&place.expected(&["deep water"]));
    for name in ["in.ndjson", "in.json", "IN.JSON", "in.jsonl"] {
        let ended = place.embed().flag("--input", place.file(name, RECORD)).run();
        ended.assert_succeeds();
        assert_eq!(ended.stdout, expected, "{name}");
    }
    place.file("in", RECORD);
    for script in ["$embed < in.json", "$embed --input /dev/stdin < in.json", "cat in | $embed", "$embed --input in"] {
        let ended = place.shell(script).run();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), expected.as_str()), "{script}: {ended:?}");
        assert!(ended.stderr.starts_with("note: ") && ended.stderr.contains("is read as JSON lines"), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    // Blank lines before the first record hide nothing.
    let blank = place.embed().input(format!("\n  \n{RECORD}")).run();
    assert_eq!((blank.code, blank.stdout.as_str()), (Some(0), expected.as_str()), "{blank:?}");
}

#[test]
fn what_is_read_as_text_all_the_same_is_said() {
    let place = Place::new();
    let line = RECORD.trim_end();
    let as_text = lines(&place.expected(&[line]));
    let text = place.embed().flag("--format", "text").input(RECORD).run();
    text.assert_succeeds();
    assert_eq!(text.stdout, as_text);
    let named = place.embed().flag("--input", place.file("in.txt", RECORD)).run();
    assert_eq!((named.code, named.stdout.as_str()), (Some(0), as_text.as_str()));
    assert!(named.stderr.contains("in.txt is read as text, as its name says"), "{named:?}");
    assert!(named.stderr.contains("--format jsonl"), "{named:?}");

    for (other, reason) in [("{\"body\":\"deep\"}", "no member \"text\""), ("{\"text\":7}", "\"text\" is a number")] {
        let ended = place.embed().input(format!("{other}\n")).run();
        assert_eq!((ended.code, ended.stdout), (Some(0), lines(&place.expected(&[other]))));
        assert!(ended.stderr.contains("note: standard input is read as text") && ended.stderr.contains(reason));
    }
    let plain = place.embed().input("[sic] deep water\n{\"text\":\"a\"}\n").run();
    plain.assert_succeeds();
    assert_eq!(plain.stdout, lines(&place.expected(&["[sic] deep water", "{\"text\":\"a\"}"])));
}

#[test]
fn one_json_document_is_refused_with_what_to_do_and_the_output_as_it_was() {
    let place = Place::new();
    let output = place.file("out.jsonl", "precious");
    for (document, words) in [
        ("[{\"text\":\"a\"},{\"text\":\"b\"}]", "jq -c '.[]' FILE"),
        ("[\n  {\n    \"text\": \"a\"\n  }\n]\n", "jq -c '.[]' FILE"),
        ("[\n\"a\",\n\"b\"\n]\n", "jq -c '.[] | {text: .}' FILE"),
        ("{\n  \"text\": \"a\"\n}\n", "jq -c . FILE"),
    ] {
        let input = place.file("in.json", document);
        let ended = place.embed().flag("--input", &input).flag("--output", &output).run();
        ended.assert_fails(1, &["cannot read", "in.json", words]);
        assert_eq!(read(&output), "precious");
    }
}

#[test]
fn a_first_text_that_is_not_blank_is_answered_before_the_next() {
    let place = Place::new();
    let mut running = place.embed().start();
    let mut stdin = running.child.stdin.take().unwrap();
    let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
    let mut results = String::new();
    for text in ["river", "stream"] {
        writeln!(stdin, "{{\"text\":\"{text}\"}}").unwrap();
        stdout.read_line(&mut results).unwrap();
    }
    drop(stdin);
    assert_eq!(running.end().code, Some(0));
    assert_results(&results, &place.expected(&["river", "stream"]));
}

#[test]
fn kept_members_are_carried_through_as_they_are_written() {
    let place = Place::new();
    let records = [
        "{\"id\":12345678901234567890.12345678901234567890e-7,\"text\":\"river\",\"none\":1}",
        "{\"text\":\"deep water\", \"url\" : \"\\u00e4\\/x\" , \"id\":[1,  {\"text\":null}]}",
        "{\"text\":\"river\",\"id\":null,\"id\":false}",
        "{\"text\":\"\"}",
    ];
    let kept = [
        "\"id\":12345678901234567890.12345678901234567890e-7,",
        "\"id\":[1,  {\"text\":null}],\"url\":\"\\u00e4\\/x\",",
        "\"id\":false,",
        "",
    ];
    let expected = lines(&place.expected(&["river", "deep water", "river", ""]));
    let with_kept = |(line, kept): (&str, &&str)| line.replace("\"embedding\"", &format!("{kept}\"embedding\"")) + "\n";
    let expected: String = expected.lines().zip(&kept).map(with_kept).collect();
    let input = records.join("\n");
    for (name, batch) in [("in.jsonl", "1"), ("in", "3"), ("in.txt", "64")] {
        let embed = place.embed().flag("--keep", "id,url").flag("--batch", batch);
        let ended = embed.flag("--input", place.file(name, &input)).run();
        ended.assert_succeeds();
        assert_eq!(ended.stdout, expected);
    }
    let piped = place.embed().flag("--keep", "id").flag("--keep", "url").input(input).run();
    piped.assert_succeeds();
    assert_eq!(piped.stdout, expected);
}

#[test]
fn members_of_text_cannot_be_kept() {
    let place = Place::new();
    let output = place.file("out.jsonl", "precious");
    let input = place.file("in", "deep water\n");
    let ended = place.embed().flag("--keep", "id").flag("--input", input).flag("--output", &output).run();
    ended.assert_fails(2, &["--keep needs JSON lines"]);
    assert_eq!(read(&output), "precious");
    let ended = place.embed().flag("--keep", "id,idd").input("{\"text\":\"a\",\"id\":7}\n").run();
    assert_eq!((ended.code, ended.stderr.matches("note: no line has the member").count()), (Some(0), 1));
    assert!(ended.stderr.contains("\"idd\" of --keep"), "{}", ended.stderr);
    place.embed().flag("--keep", "id").input("deep water\n").run().assert_fails(2, &["--keep needs JSON lines"]);
}

#[test]
fn texts_that_were_cut_are_counted_at_the_end() {
    let place = Place::new();
    let long = "water ".repeat(100);
    let ended = place.embed().input(format!("river\n{long}\nstream\n{long}\n")).run();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stderr, "note: 2 of 4 texts were longer than 64 tokens and were cut\n");
    assert_results(&ended.stdout, &place.expected(&["river", &long, "stream", &long]));
}
