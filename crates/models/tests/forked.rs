//! A forked child has the model and none of its threads: it is told so, whatever locks the parent's threads held at
//! that moment. In a process of its own, because it forks.
#![cfg(unix)]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use support::{cpu, seed, written};
use thalweg_models::testing::SmallEncoder;
use thalweg_models::{EmbeddingModel, Error, Result};
use thalweg_runtime::Error::Device;

fn is_told<T>(result: Result<T>) -> bool {
    let Err(Error::Runtime(Device(error))) = result else { return false };
    matches!(error, thalweg_hal::Error::ForkedChild)
}

// audit: C23
#[test]
fn a_forked_child_is_told_before_any_lock() {
    let directory = written(&SmallEncoder::new(seed(), 1, 16));
    let model = EmbeddingModel::load(&cpu(), directory.path()).expect("a good model");
    let tokens = model.tokenize(&["the river flows"]).expect("tokens");
    let done = AtomicBool::new(false);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        for _ in 0..2 {
            // Somebody is always somewhere inside.
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    model.embed(&["the deep river flows", "one bank"]).expect("embeddings");
                }
            });
        }
        let child = |_| {
            // SAFETY: the child calls what is under test, which takes no lock there, and then leaves without unwinding.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: no handler is set for the signal, so it ends a child that hangs.
                    unsafe { libc::alarm(60) };
                    let told = [
                        is_told(model.embed(&["the river flows"])),
                        is_told(model.tokenize(&["the river flows"])),
                        is_told(model.embed_tokens(&tokens)),
                    ];
                    // SAFETY: ends the process at once, without the parent's exit handlers.
                    unsafe { libc::_exit(i32::from(told != [true; 3])) }
                }
                child => {
                    let mut status = -1;
                    // SAFETY: a child of this process, and a place for its status.
                    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
                    (waited == child, status)
                }
            }
        };
        let statuses = (0..20).map(child).collect();
        done.store(true, Ordering::Relaxed);
        statuses
    });
    assert_eq!(
        statuses,
        [(true, 0); 20],
        "(waited for, its status): 256 is a child that was not told, 14 one that hung"
    );
}
