//! A Metal that runs on Linux, behind the real bindings: for tests, and stricter than Metal's own validation.
//!
//! `objc2-metal` and its kin link against a small Objective-C runtime (`rt`). Its classes (`metal`) are written with
//! objc2's own `define_class!`, so that debug builds check each message against the bindings' encodings. Shaders are
//! compiled for the host (`shader`). Queues are threads that take every liberty that Metal documents (`engine`); a
//! program that breaks a rule of Metal (`rules`) is ended with the rule's name.
//!
//! A test binary has to name this crate, if only by `use metal_sim as _;`, so that it is linked.
//!
//! | environment | |
//! |---|---|
//! | `METAL_SIM_SEED` | what the engine's choices follow from; said with every broken rule |
//! | `METAL_SIM_MACOS` | the system's version, 15 if not said; before, there are no residency sets and no math mode |
//! | `METAL_SIM_UNIFIED` | `0`: device and host share no memory |
//! | `METAL_SIM_CACHE` | the folder of compiled shaders; if not said, the user's among temporary files |
//! | `METAL_SIM_CXX` | the compiler of shaders, `clang++-19` if not said |
//! | `METAL_SIM_PATIENCE` | milliseconds until a full or waiting queue is taken for stuck; 10 and 60 s if not said |
//! | `METAL_SIM_POOLS` | `1`: an autorelease without a pool is a broken rule |
//!
//! Captures are only counted: no file is written.

#![cfg(metal_sim)]

mod config;
mod engine;
pub mod faults;
mod fiber;
mod foundation;
mod metal;
mod rt;
pub mod rules;
pub mod shader;

use config::config;
use objc2::ClassType;
pub use rt::pool::autoreleased_without_pool;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Classes that the bindings know as symbols exist before `main`, as they do where the system loads them.
#[used]
#[unsafe(link_section = ".init_array")]
static INSTALL: extern "C" fn() = install;

extern "C" fn install() {
    rt::class::root();
    foundation::SimString::class();
    foundation::SimError::class();
    foundation::SimUrl::class();
    metal::library::SimCompileOptions::class();
    metal::heap::SimHeapDescriptor::class();
    metal::residency::SimResidencySetDescriptor::class();
    metal::command_buffer::SimCommandBufferDescriptor::class();
    metal::capture::SimCaptureManager::class();
    metal::capture::SimCaptureDescriptor::class();
}

/// Objects that live, by class, and blocks on the heap.
pub fn live() -> Vec<(String, usize)> {
    let classes = rt::class::all().into_iter().map(|class| {
        let live = usize::try_from(class.live.load(Ordering::Relaxed)).unwrap_or(0);
        (class.name.to_string_lossy().into_owned(), live)
    });
    let mut live: Vec<_> = classes.chain([("block".to_owned(), rt::block::live())]).filter(|(_, n)| *n > 0).collect();
    live.sort();
    live
}

/// The seed of this process.
pub fn seed() -> u64 {
    config().seed
}

/// How many objects and blocks live.
pub fn leaks() -> u64 {
    live().iter().map(|(_, n)| *n as u64).sum()
}

/// Ends the process, by the rule [`rules::LEAK`], if an object or block still lives. Threads of queues that are gone
/// let go of the last ones in their own time, for which this waits.
pub fn check_leaks() {
    let start = Instant::now();
    while leaks() > 0 {
        if start.elapsed() > Duration::from_secs(5) {
            rules::broken(rules::LEAK, format_args!("{:?}", live()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
