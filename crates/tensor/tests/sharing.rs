//! One tensor, any number of threads.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::{Random, benches};
use std::sync::Barrier;
use thalweg_tensor::{PackedMatrix, Tensor};

const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn cloned<T: Clone>() {}
    shared::<Tensor>();
    cloned::<Tensor>();
    shared::<PackedMatrix>();
};

// audit: C29
#[test]
fn threads_read_one_tensor_and_hand_results_around() {
    let seed = Random::new(std::process::id().into()).bits();
    println!("seed {seed}");
    const THREADS: usize = 6;
    const ROUNDS: i32 = 20;
    for bench in benches(seed) {
        let device = &bench.device;
        // Recorded here, and not even submitted when the others start.
        let shared = Tensor::full(device, 3i32, &[40, 5]).unwrap().transpose(0, 1).unwrap();
        let shared = shared.add(&shared).unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| std::sync::mpsc::channel::<Tensor>()).unzip();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for (thread, inbox) in receivers.into_iter().enumerate() {
                let (outbox, shared, start) = (senders[(thread + 1) % THREADS].clone(), &shared, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..ROUNDS {
                        let own = Tensor::full(device, round, &[1]).unwrap();
                        outbox.send(shared.mul(&own).unwrap()).unwrap();
                        // The neighbour's, of the same round, perhaps still running.
                        let sum = inbox.recv().unwrap().add(shared).unwrap().narrow(1, 3, 7).unwrap();
                        assert_eq!(sum.to_vec::<i32>().unwrap(), [6 * round + 6; 35]);
                    }
                });
            }
        });
        bench.finish();
    }
}
