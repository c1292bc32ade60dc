//! `--trace`: what the file holds, and that it is there whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::process::{Invocation, Place, assert_results, read};

const WORDS: [&str; 7] = ["river", "stream", "water", "the", "deep", "fast", "unheard"];

/// Texts of 1 to 30 words.
fn texts(count: usize) -> String {
    let text =
        |text: usize| (0..1 + text * 13 % 30).map(|word| WORDS[(text + word * 5) % 7]).collect::<Vec<_>>().join(" ");
    (0..count).map(|at| text(at) + "\n").collect()
}

/// A slice: its track, start and end in nanoseconds, and the entry.
type Slice = ((u64, u64), u64, u64, Value);

/// A track and a time.
type At = ((u64, u64), u64);

/// A trace read back.
struct Trace {
    about: Value,
    tracks: BTreeMap<(u64, u64), String>,
    slices: Vec<Slice>,
    /// By number: where each arrow starts and ends, as track and time.
    arrows: [BTreeMap<u64, At>; 2],
    /// Live bytes.
    live: Vec<u64>,
}

fn nanos(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 1e3).round() as u64
}

impl Trace {
    fn read(path: &Path) -> Self {
        let document: Value = serde_json::from_str(&read(path)).unwrap();
        let mut trace = Self {
            about: document["otherData"].clone(),
            tracks: BTreeMap::new(),
            slices: Vec::new(),
            arrows: Default::default(),
            live: Vec::new(),
        };
        for entry in document["traceEvents"].as_array().unwrap() {
            let track = (entry["pid"].as_u64().unwrap(), entry["tid"].as_u64().unwrap());
            let at = nanos(&entry["ts"]);
            let arrow = |ends: &mut BTreeMap<_, _>| {
                assert!(ends.insert(entry["id"].as_u64().unwrap(), (track, at)).is_none(), "{entry}");
            };
            match entry["ph"].as_str().unwrap() {
                "X" => trace.slices.push((track, at, at + nanos(&entry["dur"]), entry.clone())),
                "s" => arrow(&mut trace.arrows[0]),
                "f" => arrow(&mut trace.arrows[1]),
                "C" => trace.live.push(entry["args"]["live"].as_u64().unwrap()),
                _ if entry["name"] == "thread_name" => {
                    trace.tracks.insert(track, entry["args"]["name"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
        trace
    }

    fn of_cat<'a>(&'a self, cat: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.slices.iter().filter(move |slice| slice.3["cat"] == cat)
    }

    fn count(&self, cat: &str) -> usize {
        self.of_cat(cat).count()
    }

    /// Slices of one track nest or do not overlap, and every track has a name.
    fn assert_nested(&self) {
        let mut open: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (track, start, end, entry) in &self.slices {
            assert!(self.tracks.contains_key(track), "{entry}");
            assert!(last.insert(*track, *start).is_none_or(|last| last <= *start), "not in order: {entry}");
            let open = open.entry(*track).or_default();
            while open.last().is_some_and(|end| end <= start) {
                open.pop();
            }
            assert!(open.last().is_none_or(|outer| end <= outer), "overlaps: {entry}");
            open.push(*end);
        }
    }

    /// Both ends of every arrow are there, each slice of the second kind has one that starts at a slice of the first.
    fn assert_called(&self, from: &str, to: &str) {
        let [starts, ends] = &self.arrows;
        assert!(starts.keys().eq(ends.keys()), "arrows with one end");
        let callers: BTreeSet<_> = self.of_cat(from).map(|(track, start, ..)| (*track, *start)).collect();
        let mut called: BTreeMap<_, usize> = BTreeMap::new();
        for (id, end) in ends {
            if callers.contains(&starts[id]) {
                *called.entry(*end).or_default() += 1;
            }
        }
        for (track, start, _, entry) in self.of_cat(to) {
            let left = called.get_mut(&(*track, *start)).filter(|left| **left > 0);
            *left.unwrap_or_else(|| panic!("nobody called {entry}")) -= 1;
        }
    }
}

#[test]
fn the_trace_of_eight_threads_has_every_kernel_with_its_caller() {
    let place = Place::new();
    let input = place.file("in.txt", texts(200));
    let lines = read(&input);
    let expected = place.expected(&lines.lines().collect::<Vec<_>>());
    for detail in [None, Some("coarse")] {
        let path = place.file("trace.json", "an older and longer one ".repeat(100_000));
        let mut invocation = place.embed().flag("--input", &input).flag("--threads", "8").flag("--trace", &path);
        invocation = invocation.flag("--batch", "1");
        if let Some(detail) = detail {
            invocation = invocation.flag("--trace-detail", detail);
        }
        let ended = invocation.run();
        ended.assert_succeeds();
        assert_results(&ended.stdout, &expected);
        let trace = Trace::read(&path);
        trace.assert_nested();
        assert_eq!(trace.about["detail"], detail.unwrap_or("full"));
        for name in ["dropped_ring_full", "dropped_no_ring", "dropped_profile_full"] {
            assert_eq!(trace.about[name], 0, "{}", trace.about);
        }
        assert!(trace.about["clock_uncertainty_ns"].as_u64().is_some(), "{}", trace.about);
        // Eight threads that embed, each text once; the input's thread calls nothing.
        let workers: BTreeSet<_> =
            trace.tracks.iter().filter(|(_, name)| **name == "thalweg-embed").map(|(track, _)| *track).collect();
        assert!(!workers.is_empty() && workers.len() <= 8, "{:?}", trace.tracks);
        let ranges = |name: &'static str| trace.of_cat("range").filter(move |slice| slice.3["name"] == name);
        assert_eq!((ranges("tokenize").count(), ranges("embed").count()), (200, 200));
        assert!(ranges("embed").all(|slice| workers.contains(&slice.0)));
        assert!(trace.tracks.iter().any(|(track, name)| track.0 == 2 && name.starts_with("stream ")));
        assert_eq!(trace.count("list"), trace.count("submit"));
        assert!(trace.count("list") > 0 && trace.count("wait") > 0);
        trace.assert_called("submit", "list");
        assert_eq!(trace.count("kernel"), trace.count("operation"));
        assert_eq!(trace.count("kernel") > 0, detail.is_none());
        trace.assert_called("operation", "kernel");
        if detail.is_none() {
            assert_eq!(trace.live.first(), trace.live.last(), "the texts' tensors are dropped");
            assert!(trace.live.iter().any(|live| *live > trace.live[0]));
        }
        assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 3, "something else is left behind");
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error_before_any_work() {
    let place = Place::new();
    let no_model =
        |trace: &Path| Invocation::new("embed").flag("--model", place.path("no-model")).flag("--trace", trace).run();
    no_model(&place.path("no/such/trace.json")).assert_fails(1, &["cannot write", "no/such/trace.json"]);
    no_model(&place.model()).assert_fails(1, &["cannot write", "model", "directory"]);
    let missing = place.path("missing/trace.json");
    let bench = Invocation::new("bench").flag("--model", place.path("no-model")).flag("--trace", &missing).run();
    bench.assert_fails(1, &["cannot write", "missing/trace.json"]);
    // The other way round: what is there stays until there is a trace.
    let kept = place.file("kept.json", "precious");
    no_model(&kept).assert_fails(1, &["no-model"]);
    assert_eq!(read(&kept), "precious");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 2, "something else is left behind");
}

#[test]
fn a_trace_in_place_of_the_input_or_the_output_is_wrong_usage() {
    let place = Place::new();
    let (input, output) = (place.file("in.txt", "water\n"), place.path("out.jsonl"));
    for trace in [&input, &output] {
        let ended = place.embed().flag("--input", &input).flag("--output", &output).flag("--trace", trace).run();
        ended.assert_fails(2, &["--trace"]);
        assert_eq!(read(&input), "water\n");
    }
}

// audit: F3
#[test]
fn a_fault_and_a_signal_leave_a_whole_trace() {
    let place = Place::new();
    let path = place.path("trace.json");
    let ended = place.embed().flag("--trace", &path).input(b"water\n\xff\n".to_vec()).run();
    ended.assert_fails(1, &["line 2: not UTF-8"]);
    assert!(Trace::read(&path).count("kernel") > 0);
    fs::remove_file(&path).unwrap();

    let output = place.path("out.jsonl");
    let invocation = place.embed().flag("--threads", "8").flag("--output", &output).flag("--trace", &path);
    let mut running = invocation.start();
    let mut stdin = running.child.stdin.take().unwrap();
    let writer = thread::spawn(move || while stdin.write_all(b"deep water\nfast stream\n").is_ok() {});
    while fs::metadata(&output).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(running.child.try_wait().unwrap().is_none(), "the command ended by itself");
        assert!(!path.exists(), "a trace before the end");
        thread::yield_now();
    }
    running.signal("INT");
    let ended = running.end();
    writer.join().unwrap();
    ended.assert_fails(1, &["interrupted after"]);
    let trace = Trace::read(&path);
    trace.assert_nested();
    assert!(trace.count("kernel") > 0);
}

#[test]
fn a_bench_that_is_traced_has_a_table_of_kernels() {
    let place = Place::new();
    let path = place.path("trace.json");
    let bench = || {
        let invocation = Invocation::new("bench").flag("--model", place.model()).flag("--seconds", "1");
        invocation.flag("--threads", "2").flag("--trace", &path)
    };
    let coarse = bench().run();
    coarse.assert_succeeds();
    assert!(coarse.stdout.contains("no kernel times"), "{coarse:?}");
    let trace = Trace::read(&path);
    assert!(trace.count("list") > 0 && trace.count("operation") == 0);
    let full = bench().flag("--trace-detail", "full").run();
    assert_eq!(full.code, Some(0), "{full:?}");
    let names: BTreeSet<String> =
        Trace::read(&path).of_cat("kernel").map(|slice| slice.3["name"].as_str().unwrap().to_owned()).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(full.stdout.lines().any(|line| line.starts_with(&format!("{name} "))), "no row for {name}: {full:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let place = Place::new();
    let ended = place.embed().flag("--trace", "/dev/full").input("water\n").run();
    ended.assert_fails(1, &["cannot write /dev/full"]);
    assert_results(&ended.stdout, &place.expected(&["water"]));
}
