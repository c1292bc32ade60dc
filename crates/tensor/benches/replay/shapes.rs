//! Traces of encoders, from their shapes: what one forward pass allocates and frees, in the order in which
//! `crates/models/src/encoder.rs` does, by threads that take turns at random.

use super::trace::{Event, Trace};
use std::collections::VecDeque;

/// An encoder's shape.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    pub layers: usize,
    pub width: u64,
    pub intermediate: u64,
}

/// all-MiniLM-L6-v2.
pub const MINI_LM: Encoder = Encoder { layers: 6, width: 384, intermediate: 1536 };
/// A wider one with fewer layers, beside it.
pub const WIDE: Encoder = Encoder { layers: 4, width: 768, intermediate: 3072 };

/// A step of a request. Its allocations are numbered from 0.
#[derive(Clone, Copy)]
enum Step {
    Allocate(u64),
    Free(usize),
    Wait,
}

impl Encoder {
    /// One text of so many tokens: f32, nothing padded.
    fn request(self, tokens: u64) -> Vec<Step> {
        let mut pass = Pass::default();
        let rows = |width: u64| 4 * tokens * width;
        let (width, wide) = (rows(self.width), rows(self.intermediate));
        // Ids, positions, types, and where the sequences start.
        let inputs = [4 * tokens, 4 * tokens, 4 * tokens, 8].map(|bytes| pass.allocate(bytes));
        let embedded = pass.allocate(width);
        let mut hidden = pass.allocate(width);
        pass.free(embedded);
        for _ in 0..self.layers {
            let qkv = pass.allocate(3 * width);
            let attention = pass.allocate(width);
            pass.free(qkv);
            let mixed = pass.allocate(width);
            pass.free(attention);
            let attended = pass.allocate(width);
            pass.free(mixed);
            pass.free(hidden);
            let up = pass.allocate(wide);
            let down = pass.allocate(width);
            pass.free(up);
            hidden = pass.allocate(width);
            pass.free(down);
            pass.free(attended);
        }
        let pooled = pass.allocate(4 * self.width);
        pass.free(hidden);
        let unit = pass.allocate(4 * self.width);
        pass.free(pooled);
        inputs.into_iter().for_each(|input| pass.free(input));
        pass.0.push(Step::Wait);
        pass.free(unit);
        pass.0
    }
}

#[derive(Default)]
struct Pass(Vec<Step>);

impl Pass {
    fn allocate(&mut self, bytes: u64) -> usize {
        let id = self.0.iter().filter(|step| matches!(step, Step::Allocate(_))).count();
        self.0.push(Step::Allocate(bytes));
        id
    }

    fn free(&mut self, id: usize) {
        self.0.push(Step::Free(id));
    }
}

/// Threads that each make so many requests of 1 to 256 tokens (most are short) of their model, taking turns at random.
/// What a request leaves, its result, is freed by the next thread where `handed_on` says so.
pub fn record(seed: u64, models: &[Encoder], requests: usize, handed_on: bool) -> Trace {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut trace = Trace::default();
    let mut ids = 0;
    let mut left = vec![requests; models.len()];
    let mut under_way: Vec<(VecDeque<Step>, Vec<usize>)> = vec![Default::default(); models.len()];
    while left.iter().any(|left| *left > 0) || under_way.iter().any(|(steps, _)| !steps.is_empty()) {
        let thread = random.usize(0..models.len());
        let (steps, names) = &mut under_way[thread];
        if steps.is_empty() {
            if left[thread] == 0 {
                continue;
            }
            left[thread] -= 1;
            // Twice at random: the shorter.
            let tokens = random.u64(1..=256).min(random.u64(1..=256));
            (*steps, *names) = (models[thread].request(tokens).into(), Vec::new());
        }
        // A thread gets on with a few steps at a time.
        for _ in 0..random.usize(1..12) {
            let Some(step) = steps.pop_front() else { break };
            match step {
                Step::Allocate(bytes) => {
                    names.push(ids);
                    trace.push(thread, Event::Allocate { id: ids, bytes });
                    ids += 1;
                }
                Step::Free(at) => {
                    let by = if handed_on && steps.is_empty() { (thread + 1) % models.len() } else { thread };
                    trace.push(by, Event::Free { id: names[at] });
                }
                Step::Wait => trace.push(thread, Event::Wait),
            }
        }
    }
    trace
}
