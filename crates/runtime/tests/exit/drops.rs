//! Everything is dropped, in any order and by any thread, while the device works.

use crate::Case;
use crate::program::{BYTES, Double, Known, Program, is_closed, step};
use std::any::Any;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread;
use thalweg_runtime::{MutableStorage, Stream};

// audit: F4 (cpu, mock)
pub const CASES: [Case; 1] = [Case { name: "drops_in_any_order", on: Double::ALL, run: drops_in_any_order }];

/// Whatever can be dropped.
type Thing = Box<dyn Any + Send>;

fn drops_in_any_order(program: &Program) {
    let mut random = program.random(0);
    let mut things = Vec::<Thing>::new();
    for round in 0..3 {
        let device = program.open();
        for _ in 0..4 {
            let stream = Stream::new(&device).unwrap();
            let current = Stream::current(&device).unwrap();
            let mut known = Known::upload(&device, &mut random).unwrap();
            let weights = Known::frozen(&device, &mut random).unwrap();
            for _ in 0..200 {
                known.advance(random.u32(..), &stream).unwrap();
                things.push(Box::new(known.mix(&weights, &current).unwrap()));
            }
            let (event, timed) = (stream.record_event(), current.record_timed_event().unwrap());
            let mut finished = Box::pin(event.finished());
            let _ = finished.as_mut().poll(&mut Context::from_waker(Waker::noop())); // ready or not
            let mutable = MutableStorage::new(stream.allocate(BYTES).unwrap(), BYTES).unwrap();
            known.advance(random.u32(..), &stream).unwrap();
            things.push(Box::new((mutable, event)));
            things.push(Box::new(timed));
            things.push(Box::new(finished));
            things.push(Box::new(stream.or_busy()));
            things.push(Box::new(stream.attach(async {})));
            things.push(Box::new((stream, known)));
            things.push(Box::new(Arc::new(weights)));
        }
        let (worker, mut random_there) = (device.clone(), program.random(1 + round));
        let mut known = Known::upload(&device, &mut random).unwrap();
        let weights = Known::frozen(&device, &mut random).unwrap();
        let work = move || {
            let mut step = || step(&worker, &mut random_there, &mut known, &weights);
            let end = (0..20).try_for_each(|_| step());
            assert!(end.is_ok() || is_closed(&end), "{end:?}"); // the process may end first
        };
        things.push(Box::new(thread::spawn(work)));
        things.push(Box::new(device));
    }
    random.shuffle(&mut things);
    let (others, others_done) = mpsc::channel();
    for _ in 0..4 {
        let (share, done) = (things.split_off(things.len() * 4 / 5), others.clone());
        thread::spawn(move || {
            share.into_iter().for_each(drop);
            done.send(()).unwrap();
        });
    }
    things.into_iter().for_each(drop);
    // Two are waited for; the others end with the process, if not before.
    (0..2).for_each(|_| others_done.recv().unwrap());
    std::mem::forget(others_done);
    program.done();
}
