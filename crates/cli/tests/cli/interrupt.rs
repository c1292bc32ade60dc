//! Ctrl-C: the first ends in order, the second at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::thread;

use crate::process::{Place, assert_results, read};

// audit: F3
#[test]
fn the_first_signal_ends_it_with_whole_lines_and_code_1() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::new();
        let mut running = place.embed().flag("--threads", "2").start();
        let mut stdin = running.child.stdin.take().unwrap();
        let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
        stdin.write_all(b"river\nstream\nwater\n").unwrap();
        let mut lines = String::new();
        for _ in 0..3 {
            stdout.read_line(&mut lines).unwrap();
        }
        // The command now waits for input that never comes.
        running.signal(signal);
        let ended = running.end();
        ended.assert_fails(1, &["interrupted after 3 texts"]);
        stdout.read_to_string(&mut lines).unwrap();
        assert_results(&lines, &place.expected(&["river", "stream", "water"]));
    }
}

// audit: F3
#[test]
fn a_signal_in_full_flight_leaves_a_file_of_whole_lines_in_order() {
    let place = Place::new();
    let output = place.path("out.jsonl");
    let mut running = place.embed().flag("--threads", "4").flag("--batch", "3").flag("--output", &output).start();
    let mut stdin = running.child.stdin.take().unwrap();
    // Texts for ever, until the command reads no more.
    let writer = thread::spawn(move || while stdin.write_all(b"deep water\nfast stream\n").is_ok() {});
    while std::fs::metadata(&output).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(running.child.try_wait().unwrap().is_none(), "the command ended by itself");
        thread::yield_now();
    }
    running.signal("INT");
    let ended = running.end();
    writer.join().unwrap();
    let lines = read(&output);
    let count = lines.lines().count();
    ended.assert_fails(1, &[&format!("interrupted after {count} texts")]);
    let pair = place.expected(&["deep water", "fast stream"]);
    let expected: Vec<_> = pair.iter().cycle().take(count).cloned().collect();
    assert_results(&lines, &expected);
}

// audit: F3
#[test]
fn the_second_signal_ends_it_at_once() {
    let place = Place::new();
    // The results of one batch are several times what a pipe holds, and nobody reads past the first of them: the
    // command stays blocked on its output, where the first signal cannot help.
    let mut running = place.embed().flag("--batch", "2000").start();
    let mut stdin = running.child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&b"deep water\n".repeat(2000)));
    let mut stdout = BufReader::with_capacity(1, running.child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    // Two different signals, because the system may merge two of a kind.
    running.signal("INT");
    running.signal("TERM");
    assert_eq!(running.wait(), Some(1));
    writer.join().unwrap().unwrap();
}

#[test]
fn a_signal_that_the_parent_ignores_stays_ignored() {
    for signal in ["INT", "TERM", "HUP"] {
        let place = Place::new();
        // The shell becomes the command, so that the signal reaches it.
        let mut running = place.shell(&format!("trap '' {signal}; exec $embed")).start();
        let mut stdin = running.child.stdin.take().unwrap();
        let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
        let mut lines = String::new();
        for text in ["river", "stream"] {
            writeln!(stdin, "{text}").unwrap();
            stdout.read_line(&mut lines).unwrap();
            running.signal(signal);
            running.signal(signal);
        }
        drop(stdin);
        running.end().assert_succeeds();
        assert_results(&lines, &place.expected(&["river", "stream"]));
    }
}
