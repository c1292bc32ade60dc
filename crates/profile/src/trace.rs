//! The trace in Chrome's format: one JSON object, an entry a line.
//!
//! Process 1 has a track for each thread, process 2 one or more for each stream.

use crate::report::Profile;
use crate::tracks::{self, Slice};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use thalweg_hal::Timestamps;
use thalweg_runtime::listener::{Detail, Event, Kind, NEVER};

const THREADS: u32 = 1;
const DEVICE: u32 = 2;
/// Tracks that a stream may have, for numbering them.
const TRACKS_OF_STREAM: u32 = 1000;

/// One entry. Times are in microseconds.
#[derive(Debug, Default, Serialize)]
struct Entry<'a> {
    ph: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    cat: &'a str,
    pid: u32,
    tid: u32,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bp: Option<&'a str>,
    args: Args<'a>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Args<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commands: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'a str>,
}

/// What the file says of itself.
#[derive(Serialize)]
struct About<'a> {
    device: &'a str,
    detail: &'a str,
    serialized_kernels: bool,
    device_times: &'a str,
    clock_uncertainty_ns: Option<u64>,
    duration_ns: u64,
    dropped_ring_full: u64,
    dropped_no_ring: u64,
    dropped_profile_full: u64,
}

/// Writes entries, with commas between them.
struct Entries<W: Write> {
    writer: BufWriter<W>,
    first: bool,
}

impl<W: Write> Entries<W> {
    fn put(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.writer.write_all(if std::mem::take(&mut self.first) { b"\n" } else { b",\n" })?;
        Ok(serde_json::to_writer(&mut self.writer, entry)?)
    }

    /// A name, or the place, of a process or a thread.
    fn about(&mut self, what: &str, pid: u32, tid: u32, args: Args<'_>) -> io::Result<()> {
        self.put(&Entry { ph: "M", name: what, pid, tid, args, ..Entry::default() })
    }

    /// An end of an arrow.
    fn arrow(&mut self, ph: &str, id: u64, pid: u32, tid: u32, at: u64) -> io::Result<()> {
        let bp = (ph == "f").then_some("e"); // the slice around it, not the next one
        let (id, ts) = (Some(id), micros(at));
        self.put(&Entry { ph, name: "runs", cat: "flow", pid, tid, ts, id, bp, ..Entry::default() })
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// Where an arrow comes from: a call, by stream, list, and command if it is an operation.
type Call = (u32, u64, Option<u32>);

fn call(event: &Event) -> Call {
    let command = matches!(event.kind, Kind::Operation | Kind::Kernel).then_some(event.command);
    (event.stream, event.value, command)
}

pub(crate) fn write(profile: &Profile, writer: impl Write) -> io::Result<()> {
    let mut entries = Entries { writer: BufWriter::with_capacity(1 << 16, writer), first: true };
    entries.writer.write_all(b"{\"displayTimeUnit\":\"ns\",\"otherData\":")?;
    serde_json::to_writer(&mut entries.writer, &about(profile))?;
    entries.writer.write_all(b",\"traceEvents\":[")?;
    // An arrow needs both ends.
    let device = on_device(profile);
    let mut arrows = HashMap::new();
    for slice in device.values().flatten() {
        let next = arrows.len() as u64 + 1;
        arrows.insert(call(&slice.what), next);
    }
    let mut calls = HashMap::new();
    write_threads(profile, &mut entries, &arrows, &mut calls)?;
    write_device(profile, &mut entries, device, &calls)?;
    write_memory(profile, &mut entries)?;
    entries.writer.write_all(b"\n]}\n")?;
    entries.writer.flush()
}

fn about(profile: &Profile) -> About<'_> {
    let dropped = profile.dropped();
    About {
        device: &profile.device,
        detail: if profile.detail() == Detail::Full { "full" } else { "coarse" },
        serialized_kernels: profile.options.listener.serialize_kernels,
        device_times: match (profile.timestamps, profile.clock_uncertainty()) {
            (Timestamps::None, _) => {
                "none: the device has no clock; lists last from their submit to when they were seen to have settled"
            }
            (_, None) => "none: the clocks could not be compared",
            (Timestamps::ByList, Some(_)) => {
                "of lists, by the device's clock, compared with the host's at the start and at the stop; it takes no time of kernels"
            }
            (Timestamps::ByCommand, Some(_)) => {
                "by the device's clock, compared with the host's at the start and at the stop"
            }
        },
        clock_uncertainty_ns: profile.clock_uncertainty().map(|time| time.as_nanos() as u64),
        duration_ns: profile.stopped(),
        dropped_ring_full: dropped.ring_full,
        dropped_no_ring: dropped.no_ring,
        dropped_profile_full: dropped.profile_full,
    }
}

/// The slices of each thread. Enters where arrows start: those calls that have something on the device.
fn write_threads<W: Write>(
    profile: &Profile,
    entries: &mut Entries<W>,
    arrows: &HashMap<Call, u64>,
    calls: &mut HashMap<Call, u64>,
) -> io::Result<()> {
    let mut threads: BTreeMap<u32, Vec<Slice<&Event>>> = BTreeMap::new();
    for (thread, event) in &profile.events {
        // The others are the device's, or changes of the memory.
        let is_slice = matches!(
            event.kind,
            Kind::Operation | Kind::Submit | Kind::Wait | Kind::Compile | Kind::Grow | Kind::Shrink | Kind::Range
        );
        let slices = threads.entry(*thread).or_default();
        slices.extend(is_slice.then_some(Slice { start: event.start, end: event.end, what: event }));
    }
    entries.about("process_name", THREADS, 0, Args { name: Some("threads"), ..Args::default() })?;
    for (thread, slices) in threads {
        let tid = thread + 1;
        let name = profile.threads.get(thread as usize).map_or("", |name| name);
        entries.about("thread_name", THREADS, tid, Args { name: Some(name), ..Args::default() })?;
        entries.about("thread_sort_index", THREADS, tid, Args { sort_index: Some(tid), ..Args::default() })?;
        for Slice { start, end, what: event } in tracks::nest(slices) {
            let stream = Some(event.stream);
            let named = profile.name(event);
            let mut compile = String::new();
            let (name, cat, args) = match event.kind {
                Kind::Operation => {
                    let args =
                        Args { stream, list: Some(event.value), command: Some(event.command), ..Args::default() };
                    (named, "operation", args)
                }
                Kind::Submit => {
                    let args =
                        Args { stream, list: Some(event.value), commands: Some(event.command), ..Args::default() };
                    ("submit", "submit", args)
                }
                Kind::Wait => ("wait", "wait", Args { stream, list: Some(event.value), ..Args::default() }),
                Kind::Compile => {
                    compile.push_str("compile ");
                    compile.push_str(named);
                    (&*compile, "compile", Args::default())
                }
                Kind::Grow => ("driver allocation", "memory", Args { bytes: Some(event.value), ..Args::default() }),
                Kind::Shrink => ("driver free", "memory", Args { bytes: Some(event.value), ..Args::default() }),
                Kind::Range => (named, "range", Args::default()),
                _ => continue,
            };
            let (ts, dur) = (micros(start), Some(micros(end - start)));
            entries.put(&Entry { ph: "X", name, cat, pid: THREADS, tid, ts, dur, args, ..Entry::default() })?;
            let starts = matches!(event.kind, Kind::Operation | Kind::Submit) && start == event.start;
            if let Some(id) = arrows.get(&call(event)).filter(|_| starts) {
                entries.arrow("s", *id, THREADS, tid, start)?;
                calls.insert(call(event), *id);
            }
        }
    }
    Ok(())
}

/// What the device did, by stream, by the host's clock. Lists before what is in them.
fn on_device(profile: &Profile) -> BTreeMap<u32, Vec<Slice<Event>>> {
    let mut streams: BTreeMap<u32, Vec<Slice<Event>>> = BTreeMap::new();
    let of_kind = |kind| profile.events.iter().map(|(_, event)| event).filter(move |event| event.kind == kind);
    let mut unknown = Vec::new();
    for event in of_kind(Kind::List) {
        let known = event.start != NEVER && event.end != NEVER;
        match (profile.clock.host(event.start), profile.clock.host(event.end)) {
            (Some(start), Some(end)) if known => {
                streams.entry(event.stream).or_default().push(Slice { start, end, what: *event });
            }
            _ => unknown.push(event),
        }
    }
    let submits: HashMap<_, _> = of_kind(Kind::Submit).map(|event| (call(event), event.start)).collect();
    // A list begins when the one before it has ended.
    unknown.sort_unstable_by_key(|event| (event.stream, event.value));
    let mut last = (0, 0);
    for event in unknown {
        let Some(submitted) = submits.get(&call(event)) else { continue };
        let after = if last.0 == event.stream { last.1 } else { 0 };
        let (start, end) = ((*submitted).max(after), event.extra.max(*submitted).max(after));
        last = (event.stream, end);
        streams.entry(event.stream).or_default().push(Slice { start, end, what: *event });
    }
    for event in of_kind(Kind::Kernel) {
        if let (Some(start), Some(end)) = (profile.clock.host(event.start), profile.clock.host(event.end)) {
            streams.entry(event.stream).or_default().push(Slice { start, end, what: *event });
        }
    }
    streams
}

fn write_device<W: Write>(
    profile: &Profile,
    entries: &mut Entries<W>,
    streams: BTreeMap<u32, Vec<Slice<Event>>>,
    calls: &HashMap<Call, u64>,
) -> io::Result<()> {
    entries.about("process_name", DEVICE, 0, Args { name: Some(&profile.device), ..Args::default() })?;
    for (stream, slices) in streams {
        let slices = tracks::spread(slices);
        let number = |track: usize| stream * TRACKS_OF_STREAM + (track as u32).min(TRACKS_OF_STREAM - 1) + 1;
        let tracks = 1 + slices.iter().map(|(track, _)| *track).max().unwrap_or(0);
        for track in 0..tracks {
            let more = if track == 0 { String::new() } else { format!(", beside ({track})") };
            let (name, tid) = (format!("stream {stream}{more}"), number(track));
            entries.about("thread_name", DEVICE, tid, Args { name: Some(&name), ..Args::default() })?;
            entries.about("thread_sort_index", DEVICE, tid, Args { sort_index: Some(tid), ..Args::default() })?;
        }
        for (track, Slice { start, end, what: event }) in slices {
            let tid = number(track);
            let args = Args { stream: Some(stream), list: Some(event.value), ..Args::default() };
            let host = event.start == NEVER || event.end == NEVER;
            let (name, cat, args) = match event.kind {
                Kind::Kernel => (profile.name(&event), "kernel", Args { command: Some(event.command), ..args }),
                _ => {
                    let clock = host.then_some("the host's: from the submit to when it was seen to have settled");
                    ("list", "list", Args { commands: Some(event.command), clock, ..args })
                }
            };
            let (ts, dur) = (micros(start), Some(micros(end - start)));
            entries.put(&Entry { ph: "X", name, cat, pid: DEVICE, tid, ts, dur, args, ..Entry::default() })?;
            if let Some(id) = calls.get(&call(&event)) {
                entries.arrow("f", *id, DEVICE, tid, start)?;
            }
        }
    }
    Ok(())
}

/// The memory over time. It starts and ends at what was looked up then; in between a full profile has every change, a
/// coarse one what was looked up now and then.
fn write_memory<W: Write>(profile: &Profile, entries: &mut Entries<W>) -> io::Result<()> {
    let [before, after] = profile.memory;
    let full = profile.detail() == Detail::Full;
    let mut put = |at: u64, live: u64, reserved: u64| {
        let args = Args { live: Some(live), reserved: Some(reserved), ..Args::default() };
        entries.put(&Entry { ph: "C", name: "memory", pid: DEVICE, ts: micros(at), args, ..Entry::default() })
    };
    let (mut live, mut reserved) = (before.live, before.reserved);
    put(before.at, live, reserved)?;
    let changes = profile.events.iter().filter_map(|(_, event)| {
        let Event { value: bytes, extra, end, .. } = *event;
        match event.kind {
            Kind::Allocate if full => Some((end, Change::Live(bytes as i64))),
            Kind::Free if full => Some((end, Change::Live(-(bytes as i64)))),
            Kind::Grow | Kind::Shrink => Some((end, Change::Reserved(extra))),
            _ => None,
        }
    });
    let samples =
        profile.samples.iter().filter(|_| !full).map(|sample| (sample.at, Change::Is(sample.live, sample.reserved)));
    let mut changes: Vec<_> = changes.chain(samples).collect();
    changes.sort_by_key(|(at, _)| *at);
    let mut last = before.at;
    for (at, change) in changes {
        match change {
            // What the drops left out, or what happened while the start was looked at, may make it less than nothing.
            Change::Live(bytes) => live = live.saturating_add_signed(bytes),
            Change::Reserved(bytes) => reserved = bytes,
            Change::Is(now_live, now_reserved) => (live, reserved) = (now_live, now_reserved),
        }
        last = last.max(at);
        put(last, live, reserved)?;
    }
    put(after.at.max(last), after.live, after.reserved)
}

enum Change {
    Live(i64),
    Reserved(u64),
    Is(u64, u64),
}
