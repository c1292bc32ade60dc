//! A device is lost while it is in use.

use crate::Case;
use crate::close::wait_in_every_way;
use crate::program::{Double, Known, Program, block_on};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use thalweg_doubles::faulty::{Plan, Strike, is_injected};
use thalweg_runtime::{Device, Error, Result, Stream};

pub const CASES: [Case; 3] = [
    // audit: C22 (mock)
    Case { name: "lost_while_threads_wait", on: Double::ALL, run: lost_while_threads_wait },
    Case { name: "lost_by_refusing_everything", on: Double::ALL, run: lost_by_refusing_everything },
    // audit: C22 (mock, mock_discrete)
    Case { name: "lost_under_load", on: Double::ALL, run: lost_under_load },
];

fn is_lost<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Device(thalweg_hal::Error::DeviceLost { .. })))
}

/// A lost device answers so, to everything, and closes.
fn refuses(device: &Device, said: fn(&Result<()>) -> bool) {
    assert!(said(&device.check()));
    assert!(said(&device.synchronize()));
    assert!(said(&block_on(device.finished())));
    assert!(said(&Stream::new(device).map(drop)));
    let closed = device.close(Duration::from_secs(10));
    assert!(said(&closed), "{closed:?}");
}

fn lost_while_threads_wait(program: &Program) {
    let (faulty, device) = program.hanging(Plan { signals: Strike::Always, ..Plan::default() });
    let waiting = wait_in_every_way(&device);
    faulty.lose();
    for thread in waiting {
        let end = thread.join().unwrap();
        assert!(is_lost(&end), "{end:?}");
    }
    refuses(&device, is_lost);
    program.done();
}

/// The device itself wakes nobody here: it does not know that it is lost.
fn lost_by_refusing_everything(program: &Program) {
    let injected = |result: &Result<()>| matches!(result, Err(Error::Device(error)) if is_injected(error));
    let (faulty, device) = program.hanging(Plan { signals: Strike::Always, ..Plan::default() });
    let waiting = wait_in_every_way(&device);
    let stream = Stream::new(&device).unwrap();
    faulty.set(Plan { submissions: Strike::Always, ..Plan::default() });
    // A wait for a download may be refused first.
    let refused = Known::fill(&stream, 1).and_then(|known| {
        drop(stream.flush());
        known.check()
    });
    assert!(injected(&refused), "{refused:?}");
    for thread in waiting {
        let end = thread.join().unwrap();
        assert!(injected(&end), "{end:?}");
    }
    refuses(&device, injected);
    program.done();
}

fn lost_under_load(program: &Program) {
    let (faulty, device) = program.hanging(Plan::default());
    let (ready, is_ready) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (device, random, ready) = (device.clone(), program.random(thread), ready.clone());
            thread::spawn(move || {
                let (_known, end) = crate::program::work(&device, random, |round| {
                    if round == 20 {
                        ready.send(()).unwrap();
                    }
                    true
                });
                end
            })
        })
        .collect();
    (0..8).for_each(|_| is_ready.recv().unwrap());
    faulty.lose();
    for thread in threads {
        let end = thread.join().unwrap();
        // What was recorded and refused has failed; a reader may be told that first.
        assert!(is_lost(&end) || matches!(end, Err(Error::Failed(_))), "{end:?}");
    }
    refuses(&device, is_lost);
    program.done();
}
