//! The device's clock beside the host's.
//!
//! Nothing is known of how they relate, so that is measured: the device is asked for its time while the host looks at
//! its own before and after. The device's reading lies between the two, so half of what is between is the uncertainty;
//! of several tries the shortest counts. Measured at the start and at the stop, which gives the rate as well; in
//! between a straight line is assumed.

use std::time::{Duration, Instant};
use thalweg_runtime::{Device, Result, Stream};

/// How often the clocks are read for one calibration, at most.
const TRIES: usize = 12;
/// How long that may take. It is tried once in any case.
const BUDGET: Duration = Duration::from_millis(50);
/// How long a device may take to answer. One that is busy for so long is not worth asking.
const PATIENCE: Duration = Duration::from_secs(1);

/// One reading of both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) device: u64,
    /// Since the listener was made; the middle of the time in which the device read its own.
    pub(crate) host: u64,
    /// How far that may be off, either way.
    pub(crate) uncertainty: u64,
}

/// Reads both clocks.
///
/// # Errors
/// What the device says; that it took too long.
pub(crate) fn read(device: &Device, time: impl Fn(Instant) -> u64) -> Result<Reading> {
    // A stream of its own, so that nobody's list is handed over early for it; where there is none left, the thread's.
    let stream = Stream::new(device).or_else(|_| Stream::current(device))?;
    let begun = Instant::now();
    let mut best: Option<Reading> = None;
    for _ in 0..TRIES {
        let before = Instant::now();
        let event = stream.record_timed_event()?;
        event.synchronize(Some(PATIENCE))?;
        let after = Instant::now();
        let (before, after) = (time(before), time(after));
        let uncertainty = (after - before).div_ceil(2);
        let reading =
            Reading { device: event.device_time()?.as_nanos() as u64, host: before + uncertainty, uncertainty };
        if best.is_none_or(|best| reading.uncertainty < best.uncertainty) {
            best = Some(reading);
        }
        if begun.elapsed() > BUDGET {
            break;
        }
    }
    Ok(best.expect("tried at least once"))
}

/// From the device's time to the host's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// At the start, and at the stop.
    pub(crate) readings: [Option<Reading>; 2],
}

impl Clock {
    /// The host's time at a moment of the device's clock; `None` without a reading. What would be before that is at 0.
    pub(crate) fn host(&self, device: u64) -> Option<u64> {
        let (from, to) = match self.readings {
            [Some(from), Some(to)] => (from, to),
            [Some(only), None] | [None, Some(only)] => (only, only),
            [None, None] => return None,
        };
        let distance = i128::from(device) - i128::from(from.device);
        let (rise, run) =
            match (i128::from(to.host) - i128::from(from.host), i128::from(to.device) - i128::from(from.device)) {
                (rise, run) if rise > 0 && run > 0 => (rise, run),
                _ => (1, 1),
            };
        let host = i128::from(from.host) + distance * rise / run;
        Some(u64::try_from(host.max(0)).unwrap_or(u64::MAX))
    }

    /// The larger of the readings' uncertainties.
    pub(crate) fn uncertainty(&self) -> Option<Duration> {
        self.readings.iter().flatten().map(|reading| Duration::from_nanos(reading.uncertainty)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_met_and_times_between_them_keep_their_order() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let mut reading = |base: u64| Reading {
                device: base + random.u64(..1 << 40),
                host: base + random.u64(..1 << 40),
                uncertainty: random.u64(..1000),
            };
            let (first, last) = (reading(0), reading(1 << 41));
            let clock = Clock { readings: [Some(first), Some(last)] };
            assert_eq!(clock.host(first.device), Some(first.host), "seed {seed}");
            assert_eq!(clock.host(last.device), Some(last.host), "seed {seed}");
            let mut times: Vec<u64> = (0..20).map(|_| random.u64(first.device..last.device)).collect();
            times.sort_unstable();
            assert!(times.iter().map(|time| clock.host(*time)).is_sorted(), "seed {seed}");
            let one = Clock { readings: [None, Some(last)] };
            assert_eq!(one.host(last.device + 17), Some(last.host + 17), "seed {seed}");
            let larger = first.uncertainty.max(last.uncertainty);
            assert_eq!(clock.uncertainty(), Some(Duration::from_nanos(larger)), "seed {seed}");
        }
        assert_eq!(Clock::default().host(5), None);
    }
}
