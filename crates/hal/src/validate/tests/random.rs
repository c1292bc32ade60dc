//! Random programs against a naive oracle: explicit edges between explicit nodes, and a search.

use super::rig::{Rig, Step, Touch, fresh, list, one_in, submit};
use crate::{Access, Error, Memory, TimelinePoint, Violation};
use fastrand::Rng;
use std::ops::Range;
use std::sync::Arc;

/// A range of a memory, by the memory's index.
#[derive(Clone, Debug)]
struct Operand {
    memory: usize,
    access: Access,
    bytes: Range<u64>,
}

/// `None` is a barrier.
type Work = Option<Vec<Operand>>;

#[derive(Clone, Debug)]
enum Action {
    Submit { queue: usize, waits: Vec<(usize, u64)>, value: u64, work: Vec<Work>, device_refuses: bool },
    Reach { queue: usize, value: u64 },
    Host { operand: Operand },
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    RefusedByDevice,
    Unordered,
    WaitNotSubmitted,
    ValueNotRising,
    HostAccess,
}

/// The program so far, as a graph. An edge means that the one has ended before the other starts.
#[derive(Clone, Default)]
struct Oracle {
    /// Edges that end at each node.
    into: Vec<Vec<usize>>,
    /// Commands and barriers, in order of submission: queue, node, operands.
    commands: Vec<(usize, usize, Work)>,
    /// Accepted signals: queue, value, node.
    signals: Vec<(usize, u64, usize)>,
    /// What the host has seen: nodes.
    seen: Vec<usize>,
    reached: Vec<(usize, u64)>,
}

impl Oracle {
    fn node(&mut self, from: Vec<usize>) -> usize {
        self.into.push(from);
        self.into.len() - 1
    }

    /// Whether there is a path.
    fn before(&self, first: usize, second: usize) -> bool {
        let mut visited = vec![false; self.into.len()];
        let mut stack = vec![second];
        while let Some(node) = stack.pop() {
            if node == first {
                return true;
            }
            if !std::mem::replace(&mut visited[node], true) {
                stack.extend(&self.into[node]);
            }
        }
        false
    }

    fn conflict(one: &Operand, other: &Operand) -> bool {
        one.memory == other.memory
            && (one.access.writes() || other.access.writes())
            && (one.bytes.start.max(other.bytes.start) < one.bytes.end.min(other.bytes.end))
    }

    /// Earlier commands that conflict with the operands and have no path to the node.
    fn unordered(&self, operands: &[Operand], node: usize) -> Vec<usize> {
        let conflicting = self.commands.iter().enumerate().filter(|(_, (_, other, work))| {
            *other != node
                && work.iter().flatten().any(|earlier| operands.iter().any(|new| Self::conflict(earlier, new)))
        });
        conflicting.filter(|(_, (_, other, _))| !self.before(*other, node)).map(|(at, _)| at).collect()
    }

    /// Whether a device may do this: raise a timeline to a value that a list signals, and to no other.
    fn may_come(&self, action: &Action) -> bool {
        let Action::Reach { queue, value } = action else { return true };
        *value == 0 || self.signals.iter().any(|(at, signalled, _)| at == queue && signalled == value)
    }

    /// The action's outcome; a submission that is not accepted leaves no trace.
    fn act(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Reach { queue, value } => {
                self.reached.push((*queue, *value));
                let ends = self.signals.iter().filter(|(at, v, _)| at == queue && v <= value);
                self.seen.extend(ends.map(|(_, _, node)| *node).collect::<Vec<_>>());
                Outcome::Accepted
            }
            Action::Host { operand } => {
                let mut trial = self.clone();
                let node = trial.node(self.seen.clone());
                match trial.unordered(std::slice::from_ref(operand), node).is_empty() {
                    true => Outcome::Accepted,
                    false => Outcome::HostAccess,
                }
            }
            Action::Submit { device_refuses, .. } => {
                let mut trial = self.clone();
                let outcome = trial.submit(action);
                match outcome {
                    Outcome::Accepted if *device_refuses => Outcome::RefusedByDevice,
                    Outcome::Accepted => {
                        *self = trial;
                        outcome
                    }
                    _ => outcome,
                }
            }
        }
    }

    fn submit(&mut self, action: &Action) -> Outcome {
        let Action::Submit { queue, waits, value, work, .. } = action else { unreachable!() };
        let mut from = self.seen.clone();
        for wait in waits {
            let reached = self.reached.iter().any(|(at, value)| *at == wait.0 && *value >= wait.1);
            if reached || wait.1 == 0 {
                continue;
            }
            let signals = self.signals.iter().filter(|(at, value, _)| *at == wait.0 && *value >= wait.1);
            match signals.min_by_key(|(_, value, _)| *value) {
                Some((_, _, node)) => from.push(*node),
                None => return Outcome::WaitNotSubmitted,
            }
        }
        if *value == 0 || self.signals.iter().any(|(at, signalled, _)| at == queue && signalled >= value) {
            return Outcome::ValueNotRising;
        }
        let start = self.node(from);
        let mut ends = vec![start];
        for work in work {
            let of_queue = self.commands.iter().filter(|command| command.0 == *queue);
            let mut from = vec![start];
            match work {
                None => from.extend(of_queue.map(|command| command.1)),
                Some(_) => from.extend(of_queue.filter(|command| command.2.is_none()).map(|command| command.1)),
            }
            let node = self.node(from);
            if let Some(operands) = work
                && !self.unordered(operands, node).is_empty()
            {
                return Outcome::Unordered;
            }
            self.commands.push((*queue, node, work.clone()));
            ends.push(node);
        }
        ends.extend(self.commands.iter().filter(|command| command.0 == *queue).map(|command| command.1));
        ends.extend(self.signals.iter().filter(|(at, _, _)| at == queue).map(|(_, _, node)| *node));
        let end = self.node(ends);
        self.signals.push((*queue, *value, end));
        Outcome::Accepted
    }

    /// Adds barriers and waits to a submission until nothing in it is unordered.
    fn repair(&self, action: &mut Action) {
        loop {
            let mut trial = self.clone();
            if trial.submit(action) != Outcome::Unordered {
                return;
            }
            let Action::Submit { queue, waits, work, .. } = action else { unreachable!() };
            // The command at which the trial stopped: those before it were entered.
            let at = trial.commands.len() - self.commands.len();
            let node = trial.into.len() - 1;
            let culprit = trial.unordered(work[at].as_ref().unwrap(), node)[0];
            let (other_queue, other_node, _) = &trial.commands[culprit];
            if other_queue == queue {
                work.insert(at, None);
            } else {
                let signal = self.signals.iter().find(|(_, _, end)| self.before(*other_node, *end)).unwrap();
                waits.push((signal.0, signal.1));
            }
        }
    }
}

struct Size {
    memories: usize,
    queues: usize,
}

fn operand(random: &mut Rng, size: &Size, taken: &[Operand]) -> Option<Operand> {
    let access = [Access::Read, Access::Read, Access::Write, Access::ReadWrite][random.usize(..4)];
    let start = 256 * random.usize(..6) as u64;
    let bytes = start..start + [1, 128, 256, 256, 300, 1024][random.usize(..6)];
    let new = Operand { memory: random.usize(..size.memories), access, bytes };
    let aliases = |old: &Operand| {
        let (old_bytes, new_bytes) = (&old.bytes, &new.bytes);
        old.memory == new.memory && old_bytes.start < new_bytes.end && new_bytes.start < old_bytes.end
    };
    let written = |old: &Operand| old.access.writes() || new.access.writes();
    (!taken.iter().any(|old| aliases(old) && written(old))).then_some(new)
}

/// A random program. With `repaired`, every list has all the barriers and waits that it needs.
fn program(random: &mut Rng, size: &Size, repaired: bool) -> Vec<Action> {
    let mut oracle = Oracle::default();
    let mut next_values = vec![0_u64; size.queues];
    let mut reached = vec![0_u64; size.queues];
    let mut actions = Vec::new();
    for _ in 0..4 + random.usize(..14) {
        let mut action = match random.usize(..8) {
            0 => {
                let queue = random.usize(..size.queues);
                // Only a signal raises a timeline: no value between two is ever seen.
                let signals = oracle.signals.iter().filter(|(at, value, _)| *at == queue && *value > reached[queue]);
                let ahead: Vec<u64> = signals.map(|(_, value, _)| *value).collect();
                if !ahead.is_empty() {
                    reached[queue] = ahead[random.usize(..ahead.len())];
                }
                Action::Reach { queue, value: reached[queue] }
            }
            1 => match operand(random, size, &[]) {
                Some(operand) => Action::Host { operand },
                None => continue,
            },
            _ => {
                let work = (0..random.usize(..6)).map(|_| {
                    let mut operands = Vec::new();
                    for _ in 0..1 + random.usize(..3) {
                        operands.extend(operand(random, size, &operands));
                    }
                    (!one_in(random, 3)).then_some(operands)
                });
                let work = work.collect();
                let waits = (0..random.usize(..3)).map(|_| {
                    let other = random.usize(..size.queues);
                    (other, random.usize(..next_values[other] as usize + 1 + usize::from(!repaired)) as u64)
                });
                let waits = waits.collect();
                let queue = random.usize(..size.queues);
                // Now and then with a gap, or not rising.
                let rising = repaired || !one_in(random, 8);
                let value = next_values[queue] + u64::from(rising) + random.usize(..2) as u64 * u64::from(rising);
                Action::Submit { queue, waits, value, work, device_refuses: one_in(random, 6) }
            }
        };
        if repaired && matches!(action, Action::Submit { .. }) {
            oracle.repair(&mut action);
        }
        let outcome = oracle.act(&action);
        if repaired && !matches!(outcome, Outcome::Accepted | Outcome::RefusedByDevice) {
            // A host access or a wait that no protection can be added to.
            continue;
        }
        if let (Action::Submit { queue, value, .. }, Outcome::Accepted) = (&action, outcome) {
            next_values[*queue] = *value;
        }
        actions.push(action);
    }
    actions
}

/// Runs a program on a fresh validator.
fn run(actions: &[Action], size: &Size) -> (Vec<Outcome>, u64) {
    let mut rig = Rig::new(size.queues);
    let memories: Vec<Arc<dyn Memory>> = (0..size.memories).map(|_| rig.memory()).collect();
    let touch =
        |operand: &Operand| -> Touch { (memories[operand.memory].clone(), operand.access, operand.bytes.clone()) };
    let outcomes = actions.iter().map(|action| {
        let result = match action {
            Action::Reach { queue, value } => {
                rig.reach(*queue, *value);
                Ok(())
            }
            Action::Host { operand } => {
                let memory = &memories[operand.memory];
                match operand.access {
                    Access::Read => rig.host_read(memory, operand.bytes.clone()),
                    _ => rig.host_write(memory, operand.bytes.clone()),
                }
            }
            Action::Submit { queue, waits, value, work, device_refuses } => {
                let steps: Vec<Step> = work
                    .iter()
                    .map(|work| match work {
                        None => Step::Barrier,
                        Some(operands) => Step::Touch(operands.iter().map(&touch).collect()),
                    })
                    .collect();
                let waits: Vec<TimelinePoint> = waits.iter().map(|(at, value)| rig.wait(*at, *value)).collect();
                let accepts = !device_refuses;
                rig.double.at_next_submit(move || accepts);
                submit(&mut *rig.queues[*queue], &list(&steps), &waits, *value)
            }
        };
        match result {
            Ok(()) => Outcome::Accepted,
            Err(Error::Driver { .. }) => Outcome::RefusedByDevice,
            Err(Error::Invalid(Violation::Unordered { .. })) => Outcome::Unordered,
            Err(Error::Invalid(Violation::WaitNotSubmitted { .. })) => Outcome::WaitNotSubmitted,
            Err(Error::Invalid(Violation::ValueNotRising { .. })) => Outcome::ValueNotRising,
            Err(Error::Invalid(Violation::HostAccess { .. })) => Outcome::HostAccess,
            Err(other) => panic!("{other}"),
        }
    });
    (outcomes.collect(), rig.device.report().violations)
}

#[track_caller]
fn compare(actions: &[Action], size: &Size) -> Vec<Outcome> {
    let mut oracle = Oracle::default();
    let expected: Vec<Outcome> = actions.iter().map(|action| oracle.act(action)).collect();
    let (outcomes, violations) = run(actions, size);
    if outcomes != expected {
        for (at, action) in actions.iter().enumerate() {
            println!("{at}: {action:?}\n   expected {:?}, got {:?}", expected[at], outcomes[at]);
        }
        panic!("the validator and the oracle disagree");
    }
    let accepted = |outcome: &&Outcome| matches!(outcome, Outcome::Accepted | Outcome::RefusedByDevice);
    assert_eq!(violations as usize, outcomes.len() - outcomes.iter().filter(accepted).count());
    outcomes
}

fn size(random: &mut Rng) -> Size {
    Size { memories: 1 + random.usize(..3), queues: 1 + random.usize(..4) }
}

/// All submissions' protections, as (action, barrier at or wait at).
fn protections(actions: &[Action]) -> Vec<(usize, bool, usize)> {
    let mut found = Vec::new();
    for (action, submission) in actions.iter().enumerate() {
        if let Action::Submit { waits, work, .. } = submission {
            found.extend((0..waits.len()).map(|at| (action, false, at)));
            found.extend((0..work.len()).filter(|at| work[*at].is_none()).map(|at| (action, true, at)));
        }
    }
    found
}

#[test]
fn protected_programs_are_silent_and_a_missing_protection_is_told_when_it_matters() {
    let mut random = fresh();
    let (mut told, mut harmless) = (0, 0);
    for _ in 0..2000 {
        let size = size(&mut random);
        let actions = program(&mut random, &size, true);
        let outcomes = compare(&actions, &size);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Accepted | Outcome::RefusedByDevice)));

        let protections = protections(&actions);
        if protections.is_empty() {
            continue;
        }
        let (action, barrier, at) = protections[random.usize(..protections.len())];
        let mut weaker = actions.clone();
        let Action::Submit { waits, work, .. } = &mut weaker[action] else { unreachable!() };
        match barrier {
            true => drop(work.remove(at)),
            false => drop(waits.remove(at)),
        }
        // A list that is refused now signals nothing, and no device reaches a value that nobody signals.
        let mut oracle = Oracle::default();
        weaker.retain(|action| {
            let possible = oracle.may_come(action);
            if possible {
                oracle.act(action);
            }
            possible
        });
        match compare(&weaker, &size).contains(&Outcome::Unordered) {
            true => told += 1,
            false => harmless += 1,
        }
    }
    println!("protections taken out: {told} mattered, {harmless} did not");
    assert!(told > 200 && harmless > 200, "{told} {harmless}");
}

// audit: C28
#[test]
fn arbitrary_programs_are_judged_as_the_oracle_does() {
    let mut random = fresh();
    let mut all = Vec::new();
    for _ in 0..3000 {
        let size = size(&mut random);
        let actions = program(&mut random, &size, false);
        all.extend(compare(&actions, &size));
    }
    use Outcome::{Accepted, HostAccess, RefusedByDevice, Unordered, ValueNotRising, WaitNotSubmitted};
    for outcome in [Accepted, RefusedByDevice, Unordered, WaitNotSubmitted, ValueNotRising, HostAccess] {
        let count = all.iter().filter(|other| **other == outcome).count();
        println!("{outcome:?}: {count}");
        assert!(count > 200, "{outcome:?}: {count}");
    }
}
