//! The lists of a stream that the device has and that have not settled.

use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicU64, Ordering};
use crate::order::point::{Point, Points};
use crate::order::results::{InFlight, results};
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg_hal::{List, Report, Timeline};

/// How many emptied lists a stream keeps for their capacity.
pub(super) const SPARE_LISTS: usize = 4;

/// The lists of a stream that have not settled.
#[derive(Debug)]
pub(crate) struct InFlightLists {
    lists: Mutex<Lists>,
    /// Written under `lists`, after the list's outcome.
    settled: AtomicU64,
}

#[derive(Debug, Default)]
struct Lists {
    in_flight: VecDeque<InFlight>,
    /// What the device said of lists that have not settled.
    reported: Vec<Report>,
    spare: Vec<List>,
}

impl Default for InFlightLists {
    fn default() -> Self {
        Self { lists: Mutex::new(Rank::InFlight, Lists::default()), settled: AtomicU64::new(0) }
    }
}

impl InFlightLists {
    #[inline]
    pub(crate) fn settled(&self) -> u64 {
        // Acquire: pairs with the Release in `settle_front`; the results and what the list wrote are visible.
        self.settled.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, list: InFlight) {
        self.lists.lock().in_flight.push_back(list);
    }

    /// The device did not take the newest list.
    pub(crate) fn refuse(&self, at: Point, error: Arc<thalweg_hal::Error>) {
        let mut lists = self.lists.lock();
        if let Some(newest) = lists.in_flight.back_mut().filter(|newest| newest.at == at) {
            newest.refused = Some(error);
        }
    }

    /// The value that settles next, if any is in flight.
    pub(crate) fn next(&self) -> Option<u64> {
        self.lists.lock().in_flight.front().map(|list| list.at.value)
    }

    pub(crate) fn spare_list(&self) -> List {
        self.lists.lock().spare.pop().unwrap_or_default()
    }

    /// Of the oldest list, those of other streams that it reads from.
    pub(super) fn read_from(&self, stream: u32) -> Points {
        let lists = self.lists.lock();
        let edges = lists.in_flight.front().into_iter().flat_map(|front| &front.edges);
        edges.map(|edge| edge.writer.by.at).filter(|at| at.stream != stream).collect()
    }

    /// Settles the oldest list, if it is within `completed` and nothing it read from is open: somebody else may have
    /// settled the one that the caller looked at. `see` is shown the list before anybody sees that it has settled.
    pub(super) fn settle_front(
        &self,
        completed: u64,
        timeline: &dyn Timeline,
        settled: impl Fn(u32) -> u64,
        see: impl FnOnce(&InFlight),
    ) -> Option<InFlight> {
        let mut lists = self.lists.lock();
        let ready = |front: &InFlight| {
            let is_known = |at: Point| at.stream == front.at.stream || settled(at.stream) >= at.value;
            front.at.value <= completed && front.edges.iter().all(|edge| is_known(edge.writer.by.at))
        };
        if !lists.in_flight.front().is_some_and(ready) {
            return None;
        }
        lists.reported.extend(timeline.take_reports());
        let mut front = lists.in_flight.pop_front()?;
        // They come by rising value, and every lower one has settled.
        let reported = lists.reported.partition_point(|report| report.value <= front.at.value);
        let own = lists.reported.drain(..reported).filter(|report| report.value == front.at.value);
        let mut results = results(&front, own);
        front.marks.take_times(&mut results.times);
        front.outcome.enter(results);
        see(&front);
        // Release: pairs with the Acquire in `settled`.
        self.settled.store(front.at.value, Ordering::Release);
        Some(front)
    }

    /// Keeps an emptied list for its capacity. Its memories and pipelines may be freed here, with no lock held.
    pub(super) fn recycle(&self, list: Arc<List>) {
        // A backend may hold its `Arc` a moment longer; then the list is simply dropped.
        if let Some(mut list) = Arc::into_inner(list) {
            list.clear();
            let mut lists = self.lists.lock();
            if lists.spare.len() < SPARE_LISTS {
                lists.spare.push(list);
            }
        }
    }
}
