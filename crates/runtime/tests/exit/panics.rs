//! Panics while recording, and on the device.

use crate::Case;
use crate::program::{BYTES, Double, Known, Program, work};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use thalweg_hal::{Access, KernelSource};
use thalweg_runtime::{Device, Error, Operand, Storage, Stream, Work};

pub const CASES: [Case; 2] = [
    // audit: C2 (mock)
    Case { name: "panic_in_a_scope", on: Double::ALL, run: panic_in_a_scope },
    // audit: C24 (cpu, mock_discrete)
    Case { name: "panic_in_a_kernel", on: Double::HOST, run: panic_in_a_kernel },
];

static PANIC: KernelSource = KernelSource {
    name: Cow::Borrowed("panic"),
    bindings: Cow::Borrowed(&[Access::Read, Access::Write]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|_| panic!("on purpose")),
};

/// Threads that must not notice.
fn start_others(program: &Program, device: &Device) -> Vec<thread::JoinHandle<()>> {
    let start = |thread| {
        let (device, random) = (device.clone(), program.random(thread));
        thread::spawn(move || {
            let (known, end) = work(&device, random, |round| round < 200);
            end.unwrap();
            known.check().unwrap();
        })
    };
    (10..14).map(start).collect()
}

fn panic_in_a_scope(program: &Program) {
    program.expect_panics();
    let device = program.open();
    let others = start_others(program, &device);
    let stream = Stream::new(&device).unwrap();
    let known = Arc::new(Mutex::new(Known::upload(&device, &mut program.random(0)).unwrap()));
    for round in 1..50 {
        let (device, stream, known) = (device.clone(), stream.clone(), Arc::clone(&known));
        let mut random = program.random(round);
        let thread = thread::spawn(move || {
            let nested = || {
                let current = Stream::current(&device).unwrap();
                assert_eq!(current.id(), stream.id());
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                for _ in 0..random.u32(1..40) {
                    known.advance(random.u32(..), &current).unwrap();
                }
                panic!("on purpose");
            };
            if round % 2 == 0 {
                stream.scope(nested);
            } else {
                // Caught on the thread: it has left the scope, and the inner of two alone.
                let other = Stream::new(&device).unwrap();
                other.scope(|| {
                    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.scope(nested)));
                    assert!(caught.is_err());
                    assert_eq!(Stream::current(&device).unwrap().id(), other.id());
                });
                assert!(![stream.id(), other.id()].contains(&Stream::current(&device).unwrap().id()));
            }
        });
        assert_eq!(thread.join().is_err(), round % 2 == 0);
    }
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.check().unwrap();
    known.advance(5, &stream).unwrap();
    stream.scope(|| known.advance(6, &Stream::current(&device).unwrap())).unwrap();
    known.check().unwrap();
    others.into_iter().for_each(|thread| thread.join().unwrap());
    device.close(Duration::from_secs(10)).unwrap();
    program.done();
}

fn panic_in_a_kernel(program: &Program) {
    program.expect_panics();
    let device = program.open();
    let others = start_others(program, &device);
    let stream = Stream::new(&device).unwrap();
    let pipeline = device.pipeline(&PANIC).unwrap();
    let mut random = program.random(0);
    let mut fine = Known::upload(&device, &mut random).unwrap();
    for _ in 0..50 {
        let mut broken = stream.allocate(BYTES).unwrap();
        let work = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [4, 1, 1] };
        stream.record(&work, &[fine.operand(), Operand::write(&mut broken)]).unwrap();
        // It read what this changes, and nothing else: no dependant.
        fine.advance(random.u32(..), &stream).unwrap();
        let elsewhere = Stream::new(&device).unwrap();
        let mut copy = elsewhere.allocate(BYTES).unwrap();
        let operands = [Operand::read(&broken, 0, BYTES), Operand::write(&mut copy)];
        elsewhere.record(&Work::Copy, &operands).unwrap();
        let failed = |storage: &Storage| match storage.read(0, &mut [0; 4]) {
            Err(Error::Failed(failure)) => failure.operation == "panic" && failure.to_string().contains("on purpose"),
            _ => false,
        };
        assert!(failed(&copy) && failed(&broken));
        if random.bool() {
            fine.check().unwrap();
        }
    }
    fine.check().unwrap();
    others.into_iter().for_each(|thread| thread.join().unwrap());
    device.close(Duration::from_secs(10)).unwrap();
    program.done();
}
