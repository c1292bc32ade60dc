//! Reports on their way from the inner device to the caller: held back with their values, and rewritten where the list
//! is to have failed, or is not the one that the caller submitted.

use std::collections::BTreeMap;
use thalweg_hal::{Report, Reported};

/// The reports of one timeline.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Those of values that may not be seen yet, by rising value, as the inner device gave them.
    held: Vec<Report>,
    /// What to do with those of a value. Entered before the inner device gets the list, gone once the value was seen.
    rewrites: BTreeMap<u64, Rewrite>,
}

/// How reports on one list differ from the inner device's.
#[derive(Debug)]
pub(super) enum Rewrite {
    /// These commands have failed, and that is all there is to say.
    Fail(Vec<u32>),
    /// The inner device's list lacks barriers: the caller's index of each command in it.
    Renumber(Vec<u32>),
}

impl Reports {
    /// Enters a rewrite for a list that is about to be submitted.
    pub(super) fn expect(&mut self, value: u64, rewrite: Rewrite) {
        self.rewrites.insert(value, rewrite);
    }

    /// The list was not taken.
    pub(super) fn forget(&mut self, value: u64) {
        self.rewrites.remove(&value);
    }

    /// Takes those on values up to `visible`. All reports on these have been given, now or before.
    pub(super) fn take(&mut self, given: Vec<Report>, visible: u64) -> Vec<Report> {
        self.held.extend(given);
        let shown = self.held.partition_point(|report| report.value <= visible);
        let mut reports = Vec::new();
        for report in self.held.drain(..shown) {
            let command = match self.rewrites.get(&report.value) {
                None => report.command,
                Some(Rewrite::Fail(_)) => continue,
                // An index past the list stays one.
                Some(Rewrite::Renumber(indices)) => indices.get(report.command as usize).copied().unwrap_or(u32::MAX),
            };
            reports.push(Report { command, ..report });
        }
        self.rewrites.retain(|value, rewrite| {
            let open = *value > visible;
            if let (false, Rewrite::Fail(commands)) = (open, rewrite) {
                let failed = || Reported::Failed(super::injected("command"));
                reports.extend(commands.iter().map(|command| Report {
                    value: *value,
                    command: *command,
                    what: failed(),
                }));
            }
            open
        });
        reports.sort_by_key(|report| report.value);
        reports
    }
}
