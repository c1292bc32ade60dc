//! Where a captured list needs barriers, and where its buffers lie.
//!
//! Nothing runs while a list is captured, so both are found when it is whole. Barriers divide the commands into
//! *epochs*: a barrier stands before a command that touches bytes of the current epoch if one of the two writes. A
//! buffer lives from the epoch of its first use to that of its last, and two buffers may share bytes if no epoch has
//! both: a barrier lies between them already. So that operations which do not depend on each other do not keep all
//! their buffers at once, an epoch also ends when buffers that are done with have taken so many bytes of it. Buffers
//! are placed by falling size, each as low as those that live beside it allow (Pisarchyk and Lee, "Efficient Memory
//! Management for Deep Neural Net Inference", 2020: greedy by size).

use std::ops::RangeInclusive;
use thalweg_hal::{BINDING_ALIGNMENT, Binding, Command, List};

/// After so many bytes of buffers that are done with, an epoch ends: one barrier more, for memory that can be used
/// again.
const DONE_BYTES: u64 = 8 << 20;

/// A buffer of a captured list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// Written before the list runs.
    pub(crate) input: bool,
    /// Read after it has run.
    pub(crate) output: bool,
}

/// What [`plan`] comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The commands, with barriers.
    pub(crate) commands: Vec<Command>,
    /// By buffer, its first byte.
    pub(crate) offsets: Vec<u64>,
    /// Bytes of all buffers together.
    pub(crate) bytes: u64,
}

/// Plans a list without barriers. `buffer_of` says which buffer a binding is of; what is of none is never written.
pub(crate) fn plan(list: &List, buffers: &[Buffer], buffer_of: impl Fn(&Binding) -> Option<usize>) -> Plan {
    let mut commands = Vec::with_capacity(2 * list.commands.len());
    let mut lives: Vec<Option<RangeInclusive<usize>>> =
        buffers.iter().map(|buffer| buffer.input.then_some(0..=0)).collect();
    let mut last = vec![0; buffers.len()];
    for (index, command) in list.commands.iter().enumerate() {
        list.bindings_of(command).iter().filter_map(&buffer_of).for_each(|buffer| last[buffer] = index);
    }
    // Bytes of the current epoch's buffers that are done with.
    let mut done = 0;
    // What the current epoch has done, by buffer.
    let mut touched: Vec<Vec<Binding>> = vec![Vec::new(); buffers.len()];
    let mut epoch = 0;
    for (index, command) in list.commands.iter().enumerate() {
        let bindings = || list.bindings_of(command).iter().filter_map(|binding| Some((buffer_of(binding)?, *binding)));
        let conflicts = |(buffer, binding): (usize, Binding)| {
            let writes = |other: &Binding| binding.access.writes() || other.access.writes();
            touched[buffer].iter().any(|other| writes(other) && binding.overlaps(other))
        };
        if done >= DONE_BYTES || bindings().any(conflicts) {
            done = 0;
            commands.push(Command::Barrier);
            epoch += 1;
            touched.iter_mut().for_each(Vec::clear);
        }
        for (buffer, binding) in bindings() {
            touched[buffer].push(binding);
            let start = lives[buffer].as_ref().map_or(epoch, |life| *life.start());
            lives[buffer] = Some(start..=epoch);
            if last[buffer] == index && !buffers[buffer].output {
                done += buffers[buffer].bytes;
            }
        }
        commands.push(*command);
    }
    for (_, life) in buffers.iter().zip(&mut lives).filter(|(buffer, _)| buffer.output) {
        // One that nothing writes is copied out as it is.
        let start = life.as_ref().map_or(0, |life| *life.start());
        *life = Some(start..=usize::MAX);
    }
    let (offsets, bytes) = place(buffers, &lives);
    Plan { commands, offsets, bytes }
}

/// By buffer, where it starts; and how many bytes all of them take. One that is never used takes none.
fn place(buffers: &[Buffer], lives: &[Option<RangeInclusive<usize>>]) -> (Vec<u64>, u64) {
    let mut offsets = vec![0; buffers.len()];
    let mut order: Vec<_> = (0..buffers.len()).filter(|at| lives[*at].is_some() && buffers[*at].bytes > 0).collect();
    order.sort_by_key(|at| std::cmp::Reverse(buffers[*at].bytes));
    // Those that have a place, by it.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut total = 0;
    let beside = |a: &Option<RangeInclusive<usize>>, b: &Option<RangeInclusive<usize>>| match (a, b) {
        (Some(a), Some(b)) => a.start() <= b.end() && b.start() <= a.end(),
        _ => false,
    };
    for at in order {
        let bytes = buffers[at].bytes.next_multiple_of(BINDING_ALIGNMENT);
        let mut offset = 0;
        for &other in placed.iter().filter(|other| beside(&lives[at], &lives[**other])) {
            if offset + bytes <= offsets[other] {
                break;
            }
            offset = offset.max(offsets[other] + buffers[other].bytes.next_multiple_of(BINDING_ALIGNMENT));
        }
        offsets[at] = offset;
        total = total.max(offset + bytes);
        let index = placed.partition_point(|other| offsets[*other] <= offset);
        placed.insert(index, at);
    }
    (offsets, total)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use thalweg_hal::{Access, IndexRange};

    /// A list of commands by what they do to which buffers, whole.
    fn list(commands: &[&[(usize, Access)]], buffers: &[Buffer]) -> List {
        let mut list = List::default();
        for command in commands {
            let bindings = IndexRange { start: list.bindings.len() as u32, len: command.len() as u32 };
            list.bindings.extend(command.iter().map(|(buffer, access)| Binding {
                memory: *buffer as u32,
                access: *access,
                offset: 0,
                bytes: buffers[*buffer].bytes,
            }));
            list.commands.push(Command::Copy { bindings });
        }
        list
    }

    /// Everything that has to hold of any plan, from the commands alone.
    fn check(list: &List, buffers: &[Buffer], plan: &Plan) {
        let mut epoch = 0;
        let mut done: Vec<(usize, usize, Access)> = Vec::new();
        for command in &plan.commands {
            if *command == Command::Barrier {
                epoch += 1;
                continue;
            }
            for binding in list.bindings_of(command) {
                let buffer = binding.memory as usize;
                let here = plan.offsets[buffer]..plan.offsets[buffer] + buffers[buffer].bytes;
                assert!(here.start.is_multiple_of(BINDING_ALIGNMENT) && here.end <= plan.bytes);
                for (other, when, access) in &done {
                    let there = plan.offsets[*other]..plan.offsets[*other] + buffers[*other].bytes;
                    let shared = here.start < there.end && there.start < here.end;
                    let writes = binding.access.writes() || access.writes();
                    assert!(!(shared && writes && *when == epoch), "an access of {other} beside one of {buffer}");
                }
            }
            done.extend(list.bindings_of(command).iter().map(|b| (b.memory as usize, epoch, b.access)));
        }
        // What a buffer holds stays until its last use: nobody else writes there between two uses of it.
        let uses = |buffer: usize| done.iter().filter(move |(other, ..)| *other == buffer).map(|(_, when, _)| *when);
        for (buffer, kind) in buffers.iter().enumerate() {
            let from = if kind.input { Some(0) } else { uses(buffer).min() };
            let to = if kind.output { Some(usize::MAX) } else { uses(buffer).max() };
            let (Some(from), Some(to)) = (from, to) else { continue };
            for (other, when, access) in &done {
                let shared = plan.offsets[*other] < plan.offsets[buffer] + kind.bytes
                    && plan.offsets[buffer] < plan.offsets[*other] + buffers[*other].bytes;
                let clobbers = *other != buffer && access.writes() && shared && (from..=to).contains(when);
                assert!(!clobbers, "{other} is written over {buffer}");
            }
        }
    }

    #[test]
    fn a_chain_needs_a_barrier_a_step_and_the_bytes_of_two() {
        let buffer = |input, output| Buffer { bytes: 1000, input, output };
        let buffers = [buffer(true, false), buffer(false, false), buffer(false, false), buffer(false, true)];
        let steps: Vec<_> = (0..3).map(|at| [(at, Access::Read), (at + 1, Access::Write)]).collect();
        let list = list(&steps.iter().map(|step| &step[..]).collect::<Vec<_>>(), &buffers);
        let plan = plan(&list, &buffers, |binding| Some(binding.memory as usize));
        check(&list, &buffers, &plan);
        assert_eq!(plan.commands.iter().filter(|command| **command == Command::Barrier).count(), 2);
        assert_eq!(plan.bytes, 2 * 1024);
    }

    #[test]
    fn what_does_not_depend_needs_no_barrier() {
        let buffers = [Buffer { bytes: 4, input: true, output: false }; 4];
        let list =
            list(&[&[(0, Access::Read), (1, Access::Write)], &[(2, Access::Read), (3, Access::Write)]], &buffers);
        let plan = plan(&list, &buffers, |binding| Some(binding.memory as usize));
        check(&list, &buffers, &plan);
        assert_eq!(plan.commands.len(), 2);
    }

    // audit: C13
    #[test]
    fn random_programs_are_ordered_and_no_buffer_is_written_over_another_that_lives() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        let mut saved = 0;
        for _ in 0..300 {
            let count = random.usize(1..12);
            let buffers: Vec<_> = (0..count)
                .map(|_| Buffer { bytes: random.u64(0..5000), input: random.bool(), output: random.u8(..6) == 0 })
                .collect();
            let steps: Vec<Vec<_>> = (0..random.usize(0..30))
                .map(|_| {
                    let mut all: Vec<_> = (0..count).collect();
                    random.shuffle(&mut all);
                    let access = [Access::Read, Access::Write, Access::ReadWrite];
                    all.into_iter().take(3).map(|at| (at, access[random.usize(..3)])).collect()
                })
                .collect();
            let list = list(&steps.iter().map(Vec::as_slice).collect::<Vec<_>>(), &buffers);
            let plan = plan(&list, &buffers, |binding| Some(binding.memory as usize));
            check(&list, &buffers, &plan);
            let apart: u64 = buffers.iter().map(|buffer| buffer.bytes.next_multiple_of(BINDING_ALIGNMENT)).sum();
            assert!(plan.bytes <= apart);
            saved += apart - plan.bytes;
        }
        assert!(saved > 0, "nothing ever shares bytes");
    }
}
