//! Who runs next: the lane that has used the least time. Plain data without a clock or a lock; the run queue holds it.
//!
//! Every lane has a *virtual time*: how long workers have run for it, those that helped included. Of the runnable lanes
//! that with the least goes first, and of equals the one that became runnable first. So lanes that always have
//! something to run get equal shares, however long their lists are, and one that needs less than its share goes before
//! them.
//!
//! **Turns.** A lane that runs gives way to one that has used less by the *lead*. Equals so run for a lead at a time:
//! with every change of lanes a worker's cache has to be filled anew, with the weights of another layer. One that has
//! used less than its share is further behind than that, and need not wait for a turn to end.
//!
//! **Ageing.** The *floor* is the least virtual time of all lanes that run or are runnable, and only rises: it says how
//! much a lane has had that always took its share. A lane that comes back after idleness is lifted to [`CREDIT`] below
//! the floor, and a new lane starts at [`ENTRY`] above it. So a lane that waits is overtaken by what the others have in
//! credit and no more: neither a sleeper that saved up hours nor an endless row of new lanes keeps it waiting.

use std::collections::BTreeMap;
use std::time::Duration;

/// How much of its unused share a lane keeps while it is idle: beyond a lead, what a short call of a small model takes,
/// which is then over before those that never pause have their next turn.
const CREDIT: Duration = Duration::from_millis(20);

/// What a new lane has used, as it were: it comes behind those that wait for their next turn.
const ENTRY: Duration = Duration::from_millis(1);

/// The runnable lanes, and what those have used that run.
pub struct Fair<T> {
    /// By virtual time, then by the order of arrival.
    waiting: BTreeMap<(Duration, u64), T>,
    /// The virtual time of the lane that each worker runs.
    running: Vec<Option<Duration>>,
    floor: Duration,
    /// By how much less one has to have used to be given way to.
    lead: Duration,
    /// How many have arrived.
    arrivals: u64,
}

impl<T> Fair<T> {
    /// Nobody, with so many workers and this lead.
    pub fn new(workers: usize, lead: Duration) -> Self {
        Self { waiting: BTreeMap::new(), running: vec![None; workers], floor: Duration::ZERO, lead, arrivals: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The virtual time of a new lane.
    pub fn newcomer(&self) -> Duration {
        self.floor + ENTRY
    }

    /// A lane has become runnable, that had this virtual time when it last ran.
    pub fn enter(&mut self, time: Duration, lane: T) {
        let time = time.max(self.floor.saturating_sub(CREDIT));
        self.waiting.insert((time, self.arrivals), lane);
        self.arrivals += 1;
    }

    /// The worker runs the first of those that wait.
    pub fn pick(&mut self, worker: usize) -> Option<T> {
        let ((time, _), lane) = self.waiting.pop_first()?;
        self.running[worker] = Some(time);
        Some(lane)
    }

    /// The worker's lane has used so much more.
    pub fn charge(&mut self, worker: usize, used: Duration) {
        if let Some(time) = &mut self.running[worker] {
            *time += used;
        }
        let waiting = self.waiting.keys().next().map(|(time, _)| *time);
        let least = self.running.iter().flatten().copied().chain(waiting).min();
        self.floor = self.floor.max(least.unwrap_or_default());
    }

    /// Whether one waits that the worker's lane has to give way to.
    pub fn has_rival(&self, worker: usize) -> bool {
        let first = self.waiting.keys().next().map(|(time, _)| *time);
        first.zip(self.running[worker]).is_some_and(|(first, own)| first.saturating_add(self.lead) <= own)
    }

    /// The worker's lane stops running: its virtual time.
    pub fn leave(&mut self, worker: usize) -> Duration {
        self.running[worker].take().unwrap_or_default()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A machine of one worker without a clock: each turn lets the first run for so long, at most a slice.
    struct Machine {
        fair: Fair<usize>,
        /// Of each lane, its virtual time while it is idle, and what it has used in truth.
        lanes: Vec<(Duration, Duration)>,
    }

    impl Machine {
        fn new() -> Self {
            Self { fair: Fair::new(1, MS), lanes: Vec::new() }
        }

        fn lane(&mut self) -> usize {
            self.lanes.push((self.fair.newcomer(), Duration::ZERO));
            self.lanes.len() - 1
        }

        fn wake(&mut self, lane: usize) {
            self.fair.enter(self.lanes[lane].0, lane);
        }

        /// Runs the first for a slice; it is idle afterwards.
        fn turn(&mut self, slice: Duration) -> usize {
            let lane = self.fair.pick(0).expect("somebody waits");
            self.fair.charge(0, slice);
            self.lanes[lane] = (self.fair.leave(0), self.lanes[lane].1 + slice);
            lane
        }

        fn used(&self, lane: usize) -> Duration {
            self.lanes[lane].1
        }
    }

    #[test]
    fn those_who_never_pause_share_by_time_however_long_their_slices_are() {
        let mut machine = Machine::new();
        let lanes: Vec<_> = [1, 2, 7, 20].map(|slice| (machine.lane(), slice)).into();
        lanes.iter().for_each(|(lane, _)| machine.wake(*lane));
        for _ in 0..4_000 {
            let (lane, slice) =
                *lanes.iter().find(|(lane, _)| machine.fair.waiting.values().next() == Some(lane)).unwrap();
            assert_eq!(machine.turn(MS * slice), lane);
            machine.wake(lane);
        }
        let used: Vec<_> = lanes.iter().map(|(lane, _)| machine.used(*lane)).collect();
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(*most - *least <= MS * 21, "{used:?}");
    }

    #[test]
    fn equals_run_in_the_order_in_which_they_came() {
        let mut machine = Machine::new();
        let lanes: Vec<_> = (0..5).map(|_| machine.lane()).collect();
        for lane in [3, 0, 4, 1, 2] {
            machine.wake(lanes[lane]);
        }
        let order: Vec<_> = (0..5).map(|_| machine.turn(MS)).collect();
        assert_eq!(order, [3, 0, 4, 1, 2]);
        assert_eq!(machine.fair.len(), 0);
    }

    #[test]
    fn a_short_call_after_idleness_overtakes_those_that_never_pause() {
        let mut machine = Machine::new();
        let (short, long) = (machine.lane(), [(); 8].map(|()| machine.lane()));
        long.into_iter().for_each(|lane| machine.wake(lane));
        for _ in 0..50 {
            for _ in 0..100 {
                let lane = machine.turn(MS);
                machine.wake(lane);
            }
            // A call of three lists.
            for _ in 0..3 {
                machine.wake(short);
                assert_eq!(machine.turn(MS), short);
            }
        }
    }

    /// Without ageing the sleeper has an hour in hand, and those awake would wait for so long.
    // audit: F11
    #[test]
    fn a_sleeper_saves_up_its_credit_and_no_more() {
        let mut machine = Machine::new();
        let (sleeper, awake) = (machine.lane(), machine.lane());
        machine.wake(awake);
        for _ in 0..3_600 {
            machine.turn(MS * 1_000);
            machine.wake(awake);
        }
        machine.wake(sleeper);
        let before = machine.used(sleeper);
        while machine.turn(MS) == sleeper {
            machine.wake(sleeper);
        }
        let ahead = machine.used(sleeper) - before;
        assert!(ahead >= CREDIT && ahead <= CREDIT + 2 * MS, "{ahead:?}");
    }

    /// If they started at the floor it would never rise, and those who have used anything would wait for ever.
    // audit: F11
    #[test]
    fn an_endless_row_of_new_lanes_keeps_nobody_waiting() {
        let mut machine = Machine::new();
        let old = machine.lane();
        machine.wake(old);
        for _ in 0..100 {
            machine.turn(MS);
            machine.wake(old);
        }
        // Eight wait at any time, and each that has run goes and is replaced.
        let arrive = |machine: &mut Machine| {
            let new = machine.lane();
            machine.wake(new);
        };
        (0..8).for_each(|_| arrive(&mut machine));
        let before = machine.used(old);
        for _ in 0..9_000 {
            if machine.turn(MS) == old { machine.wake(old) } else { arrive(&mut machine) }
        }
        let used = machine.used(old) - before;
        assert!(used >= 900 * MS, "the old lane had {used:?} of 9 s among nine");
    }

    /// Lanes that pause just long enough to be idle each time keep nobody waiting either: pausing earns what was not
    /// used, once.
    #[test]
    fn a_lane_that_pauses_after_every_list_gets_no_more_than_its_share() {
        let mut machine = Machine::new();
        let (pausing, steady) = (machine.lane(), machine.lane());
        machine.wake(steady);
        for _ in 0..10_000 {
            machine.wake(pausing);
            for _ in 0..1_000 {
                let lane = machine.turn(MS);
                if lane == pausing {
                    break;
                }
                machine.wake(lane);
            }
        }
        let (pausing, steady) = (machine.used(pausing), machine.used(steady));
        assert!(pausing <= steady + CREDIT + 2 * MS, "{pausing:?} beside {steady:?}");
    }

    #[test]
    fn a_lane_gives_way_to_one_that_has_used_less_by_the_lead() {
        let mut fair = Fair::new(2, 4 * MS);
        fair.enter(Duration::ZERO, 'a');
        assert_eq!(fair.pick(1), Some('a'));
        assert!(!fair.has_rival(1) && !fair.has_rival(0));
        fair.charge(1, 5 * MS);
        // Nobody else was there, so that is what everybody has had.
        assert_eq!(fair.newcomer(), 6 * MS);
        fair.enter(6 * MS, 'b');
        fair.charge(1, 4 * MS);
        assert!(!fair.has_rival(1));
        fair.charge(1, MS);
        assert!(fair.has_rival(1));
        assert_eq!(fair.leave(1), 10 * MS);
        assert!(!fair.has_rival(1));
        assert_eq!(fair.pick(0), Some('b'));
        fair.enter(10 * MS, 'a');
        // The other has been idle for a while, and need not wait for the turn to end.
        fair.charge(0, 2 * MS);
        assert!(!fair.has_rival(0));
        fair.enter(Duration::ZERO, 'c');
        assert!(fair.has_rival(0));
    }
}
