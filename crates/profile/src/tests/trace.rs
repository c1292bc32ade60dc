//! A trace, read back, and what holds for each.

use crate::{Detail, Profile};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// A slice. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(crate) name: String,
    pub(crate) cat: String,
    /// Process and thread.
    pub(crate) track: (u64, u64),
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Stream and list, where it has them.
    pub(crate) list: (Option<u64>, Option<u64>),
    /// Bytes, of memory.
    pub(crate) bytes: Option<u64>,
}

/// The trace of a profile.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) about: Value,
    pub(crate) slices: Vec<Slice>,
    pub(crate) tracks: BTreeMap<(u64, u64), String>,
    /// Live and reserved bytes, in order.
    pub(crate) memory: Vec<(u64, u64)>,
    /// From the calling slice to that on the device.
    pub(crate) arrows: Vec<(Slice, Slice)>,
}

fn nanos(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 1e3).round() as u64
}

impl Trace {
    /// Reads a profile's trace, and checks what holds for every one: tracks have names, slices of a track nest, arrows
    /// have two ends in slices that belong together, and every kernel and list has its caller if nothing was dropped.
    #[track_caller]
    pub(crate) fn of(profile: &Profile) -> Self {
        let mut text = Vec::new();
        profile.write_chrome_trace(&mut text).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        let mut trace = Self {
            about: document["otherData"].clone(),
            slices: Vec::new(),
            tracks: BTreeMap::new(),
            memory: Vec::new(),
            arrows: Vec::new(),
        };
        let (mut froms, mut tos) = (HashMap::new(), HashMap::new());
        let mut last_sample = 0;
        for entry in document["traceEvents"].as_array().unwrap() {
            let track = (entry["pid"].as_u64().unwrap(), entry["tid"].as_u64().unwrap());
            let (at, args) = (nanos(&entry["ts"]), &entry["args"]);
            match entry["ph"].as_str().unwrap() {
                "X" => trace.slices.push(Slice {
                    name: entry["name"].as_str().unwrap().to_owned(),
                    cat: entry["cat"].as_str().unwrap().to_owned(),
                    track,
                    start: at,
                    end: at + nanos(&entry["dur"]),
                    list: (args["stream"].as_u64(), args["list"].as_u64()),
                    bytes: args["bytes"].as_u64(),
                }),
                "M" if entry["name"] == "thread_name" => {
                    let name = args["name"].as_str().unwrap().to_owned();
                    assert!(trace.tracks.insert(track, name).is_none(), "two names for {track:?}");
                }
                "C" => {
                    assert!(at >= last_sample, "the memory goes back in time");
                    last_sample = at;
                    trace.memory.push((args["live"].as_u64().unwrap(), args["reserved"].as_u64().unwrap()));
                }
                "M" => {}
                // Ends of an arrow are in the slice of theirs that was written just before.
                end => {
                    let slice = trace.slices.last().unwrap().clone();
                    assert_eq!((slice.track, slice.start), (track, at), "an arrow beside its slice");
                    let ends = if end == "s" { &mut froms } else { &mut tos };
                    assert!(ends.insert(entry["id"].as_u64().unwrap(), slice).is_none(), "two arrows of one number");
                }
            }
        }
        assert_eq!(froms.len(), tos.len(), "arrows with one end");
        for (id, from) in froms {
            let to = tos.remove(&id).expect("an arrow to nowhere");
            assert_eq!(from.list, to.list, "{from:?} does not belong to {to:?}");
            match to.cat.as_str() {
                "kernel" => assert_eq!((from.cat.as_str(), &from.name), ("operation", &to.name)),
                _ => assert_eq!((from.cat.as_str(), to.cat.as_str()), ("submit", "list")),
            }
            trace.arrows.push((from, to));
        }
        trace.assert_nested();
        trace
    }

    #[track_caller]
    fn assert_nested(&self) {
        let mut tracks: BTreeMap<_, Vec<&Slice>> = BTreeMap::new();
        for slice in &self.slices {
            assert!(self.tracks.contains_key(&slice.track), "a track without a name: {slice:?}");
            tracks.entry(slice.track).or_default().push(slice);
        }
        for slices in tracks.into_values() {
            assert!(slices.is_sorted_by_key(|slice| slice.start));
            let mut open: Vec<&Slice> = Vec::new();
            for slice in slices {
                while open.last().is_some_and(|outer| outer.end <= slice.start) {
                    open.pop();
                }
                assert!(open.last().is_none_or(|outer| slice.end <= outer.end), "{slice:?} overlaps {:?}", open.last());
                open.push(slice);
            }
        }
    }

    pub(crate) fn of_cat<'a>(&'a self, cat: &'a str) -> impl Iterator<Item = &'a Slice> {
        self.slices.iter().filter(move |slice| slice.cat == cat)
    }

    pub(crate) fn count(&self, cat: &str) -> usize {
        self.of_cat(cat).count()
    }

    pub(crate) fn named(&self, name: &str) -> usize {
        self.slices.iter().filter(|slice| slice.name == name).count()
    }

    /// Every operation has run as one kernel, each list was submitted once and ran, and there is an arrow to each of
    /// them.
    #[track_caller]
    pub(crate) fn assert_whole(&self, profile: &Profile) {
        assert_eq!(profile.dropped().total(), 0, "{:?}", profile.dropped());
        let (kernels, lists) = (self.count("kernel"), self.count("list"));
        assert_eq!((kernels, lists), (self.count("operation"), self.count("submit")));
        assert_eq!(self.arrows.len(), kernels + lists, "somebody has no caller");
        assert_eq!(profile.detail() == Detail::Full, kernels > 0);
    }
}
