//! What is measured: each row does one thing over and over on every thread.

use crate::measure::Result;
use crate::null::Completion;
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use thalweg_hal::{Access, KernelSource};
use thalweg_kernels::Scalar;
use thalweg_runtime::{Config, Device, Operand, Storage, Stream, Work};
use thalweg_tensor::{Graph, Tensor};

/// Does the row's operation as often as it is told.
pub type Run = Box<dyn FnMut(u64) -> Result<()>>;

/// One thing to measure.
pub struct Row {
    /// What the operation is.
    pub name: &'static str,
    /// What the figure holds and does not hold.
    pub note: &'static str,
    /// What to reach.
    pub goal: Goal,
    /// When the device completes what it is given.
    pub completion: Completion,
    /// How it is set up for so many threads.
    pub config: fn(usize) -> Config,
    /// Operations in one turn of the loop.
    pub operations: u64,
    /// Sets one thread up on the device that all threads share.
    pub set_up: fn(&Device) -> Result<Run>,
}

/// What to reach, in nanoseconds for one operation.
pub enum Goal {
    /// At any number of threads.
    Flat(f64),
    /// `one` with one thread. With more, on a core each, `factor` times that, or times what one thread was measured to
    /// have if that is less.
    Scaling { one: f64, factor: f64 },
    /// A figure to know.
    None,
}

/// All rows, the control first: it uses nothing of the runtime.
pub const ROWS: &[Row] = &[
    Row {
        name: "(a lock of one's own)",
        note: "locking and unlocking a mutex that no other thread knows: what the machine itself makes of more threads",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: own_lock,
    },
    Row {
        name: "append one operation",
        note: "3 operands of 256 bytes and 32 parameter bytes on a stream of the thread's own, pipeline resolved; each \
               operation writes what the one before wrote, so a barrier precedes it. Holds its share of sealing, \
               submitting to the null device, waking the reaper, and settling",
        goal: Goal::Scaling { one: 150.0, factor: 1.3 },
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: append,
    },
    Row {
        name: "append one fill",
        note: "1 operand; the above has two more, with a hazard's lock each, and a dispatch's tables",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: append_fill,
    },
    Row {
        name: "&a + &b",
        note: "64 f32 each, output allocated and dropped; holds its share of submitting, as above",
        goal: Goal::Flat(500.0),
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: add,
    },
    Row {
        name: "allocate and free",
        note: "1,024 bytes on the same stream, a hit every time",
        goal: Goal::Flat(50.0),
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: allocate,
    },
    Row {
        name: "freed by another thread",
        note: "the same, but each thread has a partner that drops what it allocated, 256 at a time; holds the hand-over. The \
               partners need cores too: with more threads than half the cores, the figure holds their time",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: allocate_for_a_partner,
    },
    Row {
        name: "allocate at the hard limit",
        note: "22 to 40 MiB in turn on the same stream, 40 MiB a thread in all: what is cached has to be given back, and the \
               device asked; the null device's memory is the system's",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: |threads| Config::default().memory_limit(threads as u64 * LARGE[7]),
        operations: LARGE.len() as u64,
        set_up: allocate_at_the_limit,
    },
    Row {
        name: "event, work settled",
        note: "record on one stream, wait on another, query",
        goal: Goal::Flat(100.0),
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: event,
    },
    Row {
        name: "event, work running",
        note: "the same, with work that is submitted and does not end",
        goal: Goal::Flat(100.0),
        completion: Completion::Never,
        config: usual,
        operations: 1,
        set_up: event,
    },
    Row {
        name: "cached pipeline look-up",
        note: "all threads ask for the same kernel of the library's own, which has a number",
        goal: Goal::Flat(30.0),
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: look_up,
    },
    Row {
        name: "cached pipeline look-up, a user's kernel",
        note: "all threads ask for the same kernel, which is found by what it is; they share a lock and its count",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: 1,
        set_up: look_up_of_a_users,
    },
    Row {
        name: "replay, for each operation",
        note: "a graph of 46 sums of 64 f32, each of the one before, and its input and output: the operations of a small \
               encoder. Holds the copies in and out, the output's allocation, and its share of submitting, as above",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: REPLAYED,
        set_up: replay,
    },
    Row {
        name: "hand-over between streams",
        note: "bytes written on one stream, read on another, and written again: each hand-over submits the other stream's \
               list and adds a wait; one thread, two streams of its own",
        goal: Goal::None,
        completion: Completion::AtSubmit,
        config: usual,
        operations: 2,
        set_up: hand_over,
    },
];

/// Operations of the graph that is replayed.
const REPLAYED: u64 = 46;

fn replay(device: &Device) -> Result<Run> {
    let x = Tensor::full(device, 1.0_f32, &[64])?;
    let graph = Graph::capture(device, &[&x], |inputs| {
        let mut sum = inputs[0].clone();
        for _ in 0..REPLAYED {
            sum = sum.add(&inputs[0])?;
        }
        Ok(vec![sum])
    })?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            black_box(graph.replay(&[&x])?);
        }
        Ok(())
    }))
}

fn usual(_threads: usize) -> Config {
    Config::default()
}

/// Bytes of what is allocated at the limit, which has room for one of them a thread.
const LARGE: [u64; 8] = [22 << 20, 24 << 20, 27 << 20, 30 << 20, 33 << 20, 36 << 20, 38 << 20, 40 << 20];

/// Bytes of an operand.
const BYTES: u64 = 256;

/// A kernel that the null device never runs.
pub fn kernel(name: impl Into<Cow<'static, str>>, bindings: &'static [Access], params_bytes: u32) -> KernelSource {
    KernelSource {
        name: name.into(),
        bindings: Cow::Borrowed(bindings),
        params_bytes,
        wgsl: None,
        host: Some(|_| Ok(())),
    }
}

fn own_lock(_device: &Device) -> Result<Run> {
    let count = Box::new(Mutex::new(0_u64));
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            *black_box(&count).lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        Ok(())
    }))
}

fn append(device: &Device) -> Result<Run> {
    let stream = Stream::new(device)?;
    let source = kernel("append", &[Access::Read, Access::Read, Access::Write], 32);
    let pipeline = stream.scope(|| device.pipeline(&source))?;
    let (a, b, mut c) = (stream.allocate(BYTES)?, stream.allocate(BYTES)?, stream.allocate(BYTES)?);
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            let work = Work::Dispatch { pipeline: &pipeline, params: &[0; 32], extent: [64, 1, 1] };
            let operands = [Operand::read(&a, 0, BYTES), Operand::read(&b, 0, BYTES), Operand::write(&mut c)];
            stream.record(&work, &operands)?;
        }
        Ok(())
    }))
}

fn append_fill(device: &Device) -> Result<Run> {
    let stream = Stream::new(device)?;
    let mut bytes = stream.allocate(BYTES)?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            stream.record(&Work::Fill(0), &[Operand::write(&mut bytes)])?;
        }
        Ok(())
    }))
}

fn add(device: &Device) -> Result<Run> {
    let a = Tensor::full(device, 1.0_f32, &[64])?;
    let b = Tensor::full(device, 2.0_f32, &[64])?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            black_box((&a + &b)?);
        }
        Ok(())
    }))
}

fn allocate(device: &Device) -> Result<Run> {
    let stream = Stream::current(device)?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            black_box(stream.allocate(1024)?);
        }
        Ok(())
    }))
}

fn allocate_for_a_partner(device: &Device) -> Result<Run> {
    const BATCH: u64 = 256;
    let stream = Stream::current(device)?;
    // Full ones go there, empty ones come back; a partner that is late keeps its thread waiting.
    let (full, take) = mpsc::sync_channel::<Vec<Storage>>(2);
    let (give_back, empty) = mpsc::channel::<Vec<Storage>>();
    let partner = thread::spawn(move || {
        for mut batch in take {
            batch.clear();
            if give_back.send(batch).is_err() {
                break;
            }
        }
    });
    // Dropped from the top: the partner ends when there is nobody to give it more.
    let mut ends = (full, Joined(Some(partner)));
    Ok(Box::new(move |turns| {
        let (full, _) = &mut ends;
        let mut left = turns;
        while left > 0 {
            let mut batch = empty.try_recv().unwrap_or_default();
            for _ in 0..left.min(BATCH) {
                batch.push(stream.allocate(1024)?);
            }
            left -= left.min(BATCH);
            full.send(batch)?;
        }
        Ok(())
    }))
}

/// A thread that is waited for when it is dropped.
struct Joined(Option<thread::JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if self.0.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("a partner has panicked");
        }
    }
}

fn allocate_at_the_limit(device: &Device) -> Result<Run> {
    let stream = Stream::current(device)?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            for bytes in LARGE {
                // Another thread may have what there is for a moment, while it exchanges one for the other.
                loop {
                    match stream.allocate(bytes) {
                        Ok(storage) => break drop(black_box(storage)),
                        Err(thalweg_runtime::Error::OutOfMemory(_)) => thread::yield_now(),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }))
}

fn event(device: &Device) -> Result<Run> {
    let (stream, other) = (Stream::new(device)?, Stream::new(device)?);
    let mut bytes = stream.allocate(BYTES)?;
    stream.record(&Work::Fill(0), &[Operand::write(&mut bytes)])?;
    stream.flush()?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            let event = stream.record_event();
            other.wait(&event)?;
            black_box(event.query());
        }
        Ok(())
    }))
}

fn look_up(device: &Device) -> Result<Run> {
    // As on a thread that records, of a kernel of the library's own.
    let stream = Stream::new(device)?;
    let kernel = thalweg_kernels::elementwise::BINARY.get(Scalar::F32).ok_or("there is no such kernel")?;
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            black_box(stream.static_pipeline(kernel)?);
        }
        Ok(())
    }))
}

fn look_up_of_a_users(device: &Device) -> Result<Run> {
    let device = device.clone();
    let source = kernel("look-up", &[Access::Write], 0);
    let stream = Stream::new(&device)?;
    Ok(Box::new(move |turns| {
        stream.scope(|| {
            for _ in 0..turns {
                black_box(device.pipeline(&source)?);
            }
            Ok(())
        })
    }))
}

fn hand_over(device: &Device) -> Result<Run> {
    let (writer, reader) = (Stream::new(device)?, Stream::new(device)?);
    let pass = |stream: &Stream, from: &Storage, to: &mut Storage| {
        stream.record(&Work::Copy, &[Operand::read(from, 0, BYTES), Operand::write(to)])
    };
    let (source, mut shared, mut result) = (writer.allocate(BYTES)?, writer.allocate(BYTES)?, reader.allocate(BYTES)?);
    Ok(Box::new(move |turns| {
        for _ in 0..turns {
            pass(&writer, &source, &mut shared)?;
            pass(&reader, &shared, &mut result)?;
        }
        Ok(())
    }))
}
