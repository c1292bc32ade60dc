//! A device is closed while it is in use, and while it hangs.

use crate::Case;
use crate::program::{BYTES, Double, Known, Program, block_on, is_closed, start_transfers, work};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thalweg_doubles::faulty::{Plan, Strike};
use thalweg_runtime::{Device, Error, Result, Storage, Stream};

pub const CASES: [Case; 6] = [
    // audit: C22 (cpu, mock_discrete)
    Case { name: "closed_under_load", on: Double::ALL, run: closed_under_load },
    // audit: C22 (mock_discrete)
    Case { name: "closed_while_data_is_moved", on: Double::ALL, run: closed_while_data_is_moved },
    // audit: C22 (mock, mock_discrete)
    Case { name: "closed_while_it_hangs", on: Double::ALL, run: closed_while_it_hangs },
    // audit: C2 (mock)
    Case { name: "closed_by_a_waker", on: Double::ALL, run: closed_by_a_waker },
    Case { name: "exit_called_by_a_waker", on: Double::ALL, run: exit_called_by_a_waker },
    // audit: C22 (mock)
    Case { name: "main_returns_while_it_hangs", on: Double::ALL, run: main_returns_while_it_hangs },
];

fn closed_under_load(program: &Program) {
    let device = program.open();
    let (ready, is_ready) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (device, random, ready) = (device.clone(), program.random(thread), ready.clone());
            thread::spawn(move || {
                work(&device, random, |round| {
                    if round == 20 {
                        ready.send(()).unwrap();
                    }
                    true
                })
            })
        })
        .collect();
    (0..8).for_each(|_| is_ready.recv().unwrap());
    device.close(Duration::from_secs(10)).unwrap();
    for thread in threads {
        let (known, end) = thread.join().unwrap();
        assert!(is_closed(&end), "{end:?}");
        // Everything that was recorded has run. What was downloaded is here, and what the host sees can still be read.
        known.check_closed();
    }
    device.close(Duration::from_secs(10)).unwrap();
    refuses(&device);
    program.done();
}

fn closed_while_data_is_moved(program: &Program) {
    let device = program.open();
    let threads = start_transfers(program, &device);
    device.close(Duration::from_secs(10)).unwrap();
    for thread in threads {
        let (last, end) = thread.join().unwrap();
        assert!(matches!(end, Error::Closed), "{end:?}");
        last.check().unwrap();
    }
    program.done();
}

/// A closed device answers so, to everything.
fn refuses(device: &Device) {
    assert!(is_closed(&device.check()));
    assert!(is_closed(&device.synchronize()));
    assert!(is_closed(&block_on(device.finished())));
    assert!(is_closed(&Stream::new(device)));
    assert!(is_closed(&Storage::from_bytes(device, &[1])));
    assert!(is_closed(&Storage::frozen_from_bytes(device, &[1])));
    let stream = Stream::current(device).unwrap();
    assert!(is_closed(&stream.allocate(BYTES)));
    assert!(is_closed(&stream.record_timed_event()));
    assert!(is_closed(&stream.flush()));
    assert!(is_closed(&stream.synchronize()));
}

/// Threads that wait in each way for a list each, which the device does not signal. Returns once they are about to.
pub fn wait_in_every_way(device: &Device) -> Vec<JoinHandle<Result<()>>> {
    let ways: [fn(Stream, Known) -> Result<()>; 9] = [
        |stream, _| stream.record_event().synchronize(None),
        |stream, _| stream.record_event().synchronize(Some(Duration::MAX)),
        |stream, _| stream.synchronize(),
        |_, known| known.check(),
        |stream, _| block_on(stream.finished()),
        |_, known| block_on(known.check_async()),
        |_, mut known| known.download()?.wait().map(drop),
        |_, mut known| known.download()?.wait_until(Instant::now() + Duration::from_secs(600)).map(drop),
        |_, mut known| block_on(known.download()?).map(drop),
    ];
    let (ready, is_ready) = mpsc::channel();
    let start = |way: fn(Stream, Known) -> Result<()>| {
        let (device, ready): (Device, Sender<()>) = (device.clone(), ready.clone());
        thread::spawn(move || {
            let stream = Stream::new(&device)?;
            let known = Known::fill(&stream, 7)?;
            stream.flush()?;
            ready.send(()).unwrap();
            way(stream, known)
        })
    };
    let threads = ways.map(start).into_iter().collect();
    ways.iter().for_each(|_| is_ready.recv().unwrap());
    threads
}

fn closed_while_it_hangs(program: &Program) {
    let (faulty, device) = program.faulty(Plan { signals: Strike::Always, ..Plan::default() });
    let waiting = wait_in_every_way(&device);
    let lists = waiting.len() as u64;
    // And one that submits until it waits for a credit.
    let (recorder, (ready, is_ready)) = (device.clone(), mpsc::channel());
    let credit = thread::spawn(move || {
        let stream = Stream::new(&recorder)?;
        let mut known = Known::fill(&stream, 1)?;
        for round in 0_u32.. {
            known.advance(round, &stream)?;
            if round == 20 {
                ready.send(()).unwrap();
            }
            stream.flush()?;
        }
        Ok(())
    });
    is_ready.recv().unwrap();
    let unfinished = |result| matches!(result, Err(Error::Unfinished { lists: said }) if said >= lists);
    // Long enough for the others to be waiting, in case the next processor is slow to get to them.
    assert!(unfinished(device.close(Duration::from_millis(300))));
    for thread in waiting {
        let end = thread.join().unwrap();
        assert!(is_closed(&end), "{end:?}");
    }
    let end: Result<()> = credit.join().unwrap();
    assert!(is_closed(&end), "{end:?}");
    assert!(unfinished(device.close(Duration::ZERO)));
    refuses(&device);
    // The driver would mind lists that it has not finished, and it has: the host only has not seen it.
    faulty.release();
    program.done();
}

/// A waker that does something that wakers rarely do.
struct Call<F>(F);

impl<F: Fn() + Send + Sync + 'static> std::task::Wake for Call<F> {
    fn wake(self: std::sync::Arc<Self>) {
        (self.0)();
    }
}

/// Leaves such a waker for work that is not done before the signals are let go.
fn wake_later(program: &Program, call: impl Fn(&Device) + Send + Sync + 'static) -> Device {
    let (faulty, device) = program.faulty(Plan { signals: Strike::Always, ..Plan::default() });
    let stream = Stream::new(&device).unwrap();
    Known::fill(&stream, 3).unwrap();
    stream.flush().unwrap();
    let mut finished = Box::pin(stream.record_event().finished());
    let handle = device.clone();
    let waker = std::task::Waker::from(std::sync::Arc::new(Call(move || call(&handle))));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(finished.as_mut().poll(&mut context).is_pending());
    std::mem::forget(finished); // dropped, it would take the waker back
    faulty.release();
    device
}

fn closed_by_a_waker(program: &Program) {
    let (ended, has_ended) = mpsc::channel();
    let device = wake_later(program, move |device| ended.send(device.close(Duration::from_secs(10))).unwrap());
    has_ended.recv().unwrap().unwrap();
    refuses(&device);
    program.done();
}

fn exit_called_by_a_waker(program: &Program) {
    program.done();
    let _device = wake_later(program, |_| std::process::exit(0));
    loop {
        thread::park();
    }
}

fn main_returns_while_it_hangs(program: &Program) {
    let (_faulty, device) = program.hanging(Plan { signals: Strike::Always, ..Plan::default() });
    for thread in wait_in_every_way(&device) {
        drop(thread); // waits on
    }
    std::mem::forget(device);
    program.done();
}
