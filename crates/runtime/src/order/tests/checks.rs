//! What has to hold when a program has run.

use super::device::{CELL, Key};
use super::player::{Event, Player, Result, Settled, Slot};
use super::program::PARTS;
use super::reference::{Reference, Roots, place, refusal};
use crate::base::error::Failure;
use crate::order::point::Point;
use crate::order::uses::Write;
use thalweg_hal::{Command, Error};

impl Player {
    /// Hands over what is left, has all of it run and settle, and compares everything with the reference.
    pub(super) fn finish(mut self) -> Result {
        (0..self.streams.len()).try_for_each(|stream| self.flush(stream))?;
        self.device.finish()?;
        // Lists that read from others settle after them, in as many rounds as there are lists at most.
        let left = |player: &Self| player.streams.iter().map(|stream| stream.in_flight.len()).sum::<usize>();
        for _ in 0..=left(&self) {
            (0..self.streams.len()).for_each(|stream| self.settle(stream));
        }
        if left(&self) > 0 {
            return Err("a list never settles".into());
        }
        let seen = &self.device.seen;
        let mut reference = Reference::new(&self.device.failing, &self.refused, seen);
        self.recorded.iter().try_for_each(|recorded| reference.apply(recorded))?;
        self.check_results(&reference)?;
        self.check_contents(&reference)?;
        self.check_waits()?;
        self.check_times()
    }

    fn settled_lists(&self) -> impl Iterator<Item = &Settled> {
        self.streams.iter().flat_map(|stream| &stream.done)
    }

    /// Of every command of every list: it has failed if the reference says so, and for one of its reasons.
    fn check_results(&self, reference: &Reference<'_>) -> Result {
        for Settled { at, list, outcome, marks } in self.settled_lists() {
            for (index, command) in (0..).zip(&list.commands) {
                let key = (at.stream, at.value, index);
                let timestamp = (*command == Command::Timestamp && !marks.contain(index)).then(|| self.timestamp(key));
                let expected = reference.failed.get(&key).or(timestamp.as_ref());
                compare(key, outcome.result(index), expected.filter(|roots| !roots.is_empty()))?;
            }
        }
        Ok(())
    }

    /// Why an event's timestamp was not taken; nothing if it was.
    fn timestamp(&self, key @ (stream, value, _): Key) -> Roots {
        let refused = self.refused.contains(&(stream, value)).then(|| refusal((stream, value)));
        let failed = self.device.seen.not_taken.contains(&key).then(|| format!("{key:?}"));
        refused.or(failed).into_iter().collect()
    }

    /// What is in memory at the end, and what its uses tell those who ask for it.
    fn check_contents(&self, reference: &Reference<'_>) -> Result {
        for slot in &self.slots {
            let Slot { memory, uses, defined, .. } = slot;
            for (index, uses) in uses.iter().enumerate() {
                let parts = if slot.uses.len() == 1 { 0..PARTS } else { index..index + 1 };
                if defined[parts.clone()].contains(&false) {
                    continue;
                }
                let place = place(memory.id(), parts.start as u64 * CELL, parts.len() as u64 * CELL);
                let mut roots = Roots::new();
                for (cell, expected) in place.1.clone().zip(reference.content(&place)) {
                    match expected {
                        Err(failed) => roots.extend(failed),
                        Ok(expected) if self.device.cell(place.0, cell) == Some(expected) => {}
                        Ok(expected) => {
                            let found = self.device.cell(place.0, cell);
                            return Err(format!(
                                "order: cell {cell} of {} has {found:?}, expected {expected}",
                                place.0
                            ));
                        }
                    }
                }
                let told = uses.writes.iter().find_map(|write: &Write| write.result().err());
                let told = told.map_or(Ok(()), Err);
                compare((u32::MAX, place.0, index as u32), told, (!roots.is_empty()).then_some(&roots))?;
            }
        }
        Ok(())
    }

    /// What was recorded after a stream was told to wait ran after what it waits for.
    fn check_waits(&self) -> Result {
        let times = &self.device.seen.times;
        for (Point { stream, value }, later) in &self.after {
            let before = times.iter().filter(|((s, v, _), _)| s == stream && v <= value);
            let Some(last) = before.map(|(_, (_, last))| *last).max() else { continue };
            if times.get(later).is_some_and(|(first, _)| *first < last) {
                return Err(format!("order: {later:?} ran before list {value} of stream {stream}, for which it waits"));
            }
        }
        Ok(())
    }

    /// Timestamps come after and before what they are to.
    fn check_times(&self) -> Result {
        for Event { at, command, outcome } in &self.events {
            let Some(command) = command.or(outcome.end()) else {
                return Err(format!("times: {at:?} has no timestamp at its end"));
            };
            let key = (at.stream, at.value, command);
            match outcome.time(command) {
                Some(time) => self.check_time(key, time.as_nanos() as u64, true)?,
                None if self.timestamp(key).is_empty() => return Err(format!("times: no time of {key:?}")),
                None => {}
            }
        }
        for Settled { at, outcome, marks, .. } in self.settled_lists() {
            let key = |command| (at.stream, at.value, command);
            let (start, end) = marks.ends();
            // With others beside them, those around a command say only about when it ran.
            let serialized = self.sessions.iter().any(|session| session.is_serialized() && marks.is_of(*session));
            let around = || marks.commands().iter().filter(|_| serialized);
            let border = start.into_iter().chain(end).chain(around().map(|mark| mark.before));
            for (mark, orders_later) in border.map(|mark| (mark, true)).chain(around().map(|mark| (mark.after, false)))
            {
                if outcome.time(mark).is_some() {
                    return Err(format!("times: {:?} is the profiler's, and told to others", key(mark)));
                }
                if let Some(time) = marks.time(mark) {
                    self.check_time(key(mark), time, orders_later)?;
                }
            }
        }
        Ok(())
    }

    /// A timestamp was taken after everything before it on its stream; and before everything after it, if a barrier
    /// orders that.
    fn check_time(&self, at: Key, time: u64, orders_later: bool) -> Result {
        for (key, (first, last)) in self.device.seen.times.iter().filter(|(key, _)| key.0 == at.0) {
            if if *key < at { *last > time } else { orders_later && *first < time } {
                return Err(format!("times: {at:?} was taken at {time}, {key:?} ran at {first} to {last}"));
            }
        }
        Ok(())
    }
}

fn compare(at: Key, found: std::result::Result<(), Failure>, expected: Option<&Roots>) -> Result {
    let root = found.err().map(|failure| match &*failure.source {
        Error::DeviceLost { device } => device.clone(),
        error => error.to_string(),
    });
    match (root, expected) {
        (None, None) => Ok(()),
        (Some(root), Some(expected)) if expected.contains(&root) => Ok(()),
        (root, expected) => Err(format!("failure: {at:?} was told {root:?}, expected {expected:?}")),
    }
}
