//! Single requests of 24 tokens in a closed loop: each thread makes one, waits for it, makes the next.
//!
//! All threads go through a warm-up straight into the measured time, and a request counts if it *ends* inside that
//! time, whenever it began. So the device is in its stride at both edges, and the rate is plainly requests by seconds.

use crate::measure::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Tokens of a request, the two special ones included.
pub const TOKENS: usize = 24;
/// One token each to the models that are measured; the results say whether that is so.
const WORDS: [&str; 8] = ["river", "stream", "bank", "water", "many", "one", "deep", "fast"];

/// Threads that make the same sort of request.
pub struct Group<'a> {
    /// How many.
    pub threads: usize,
    /// Makes the thread's n-th request, checks the result, and returns the latency. The seed differs by thread and n.
    pub request: &'a (dyn Fn(u64) -> Result<Duration> + Sync),
}

/// A text of [`TOKENS`] tokens; the same for the same seed.
pub fn text(seed: u64) -> String {
    // SplitMix64 (Steele, Lea and Flood, 2014).
    let word = |index: u64| {
        let mut bits = (seed << 5 | index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        WORDS[(bits >> 61) as usize]
    };
    (0..TOKENS as u64 - 2).map(word).collect::<Vec<_>>().join(" ")
}

/// Runs all groups at once. For each, the latencies of what ended inside the window, in no order.
///
/// # Errors
/// The first request that failed, or that no request of a group ended in time.
pub fn run(groups: &[Group<'_>], window: Duration) -> Result<Vec<Vec<Duration>>> {
    let failed = AtomicBool::new(false);
    let open = Instant::now() + window / 4;
    let close = open + window;
    let worker = |group: &Group<'_>, number: u64| {
        let mut latencies = Vec::new();
        for turn in number << 32.. {
            // Relaxed: a hint to stop early; the results travel through the join.
            if Instant::now() >= close || failed.load(Ordering::Relaxed) {
                break;
            }
            let latency = (group.request)(turn).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            if (open..close).contains(&Instant::now()) {
                latencies.push(latency);
            }
        }
        Ok(latencies)
    };
    let worker = &worker;
    thread::scope(|scope| {
        let groups: Vec<Vec<_>> = groups
            .iter()
            .map(|group| (0..group.threads as u64).map(|number| scope.spawn(move || worker(group, number))).collect())
            .collect();
        // All are joined before the first failure is returned.
        let joined: Vec<Vec<Result<Vec<Duration>>>> = groups
            .into_iter()
            .map(|group| group.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume(panic))).collect())
            .collect();
        joined.into_iter().map(merge).collect()
    })
}

fn merge(threads: Vec<Result<Vec<Duration>>>) -> Result<Vec<Duration>> {
    let all = threads.into_iter().collect::<Result<Vec<_>>>()?.concat();
    if all.is_empty() { Err("no request ended inside the measured time; try more --seconds".into()) } else { Ok(all) }
}

fn resume(panic: Box<dyn std::any::Any + Send>) -> ! {
    std::panic::resume_unwind(panic)
}
