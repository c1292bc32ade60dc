//! Devices with dear waits: a thread that hands a list over first waits on the host, as long as its policy allows.

use super::world::{Known, fresh_seed, streams};
use crate::{Config, Device, Error, Stream};
use std::sync::Arc;
use std::time::Duration;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_doubles::mock::{MockConfig, MockDevice};

fn mock(waits_are_dear: bool) -> Arc<MockDevice> {
    let seed = fresh_seed();
    println!("seed {seed}");
    MockDevice::new(MockConfig { seed, waits_are_dear, ..MockConfig::default() })
}

/// Two streams, each of which reads what the other has just written, and a check of what comes of it.
fn cross([a, b]: &[Stream; 2], rounds: u32) {
    let (mut x, mut y) = (Known::fill(a, 1).unwrap(), Known::fill(b, 2).unwrap());
    for salt in 0..rounds {
        x = x.combine(&y, salt, a).unwrap();
        y = y.combine(&x, salt, b).unwrap();
    }
    assert!(x.is_right().unwrap() && y.is_right().unwrap());
}

#[test]
fn where_waits_are_dear_no_list_has_any() {
    for dear in [false, true] {
        let mock = mock(dear);
        let device = Device::new(Arc::<MockDevice>::clone(&mock), Config::default()).unwrap();
        // Kept to the end: a stream that is given back is flushed by the reaper, which leaves the waits of its next
        // owner, if there is one already, to the device.
        let pairs: [[Stream; 2]; 5] = std::array::from_fn(|_| streams(&device));
        cross(&pairs[0], 50);
        std::thread::scope(|scope| pairs[1..].iter().for_each(|pair| drop(scope.spawn(|| cross(pair, 20)))));
        device.synchronize().unwrap();
        assert!(device.counters().foreign_flushes >= 100, "{:?}", device.counters());
        assert_eq!(mock.device_waits() == 0, dear, "{} waits", mock.device_waits());
    }
}

#[test]
fn who_may_not_wait_leaves_the_waits_to_the_device() {
    let mock = mock(true);
    let faulty = Faulty::new(Arc::<MockDevice>::clone(&mock), Plan { signals: Strike::Always, ..Plan::default() });
    let device = Device::new(Arc::<Faulty>::clone(&faulty), Config::default()).unwrap();
    let [a, b] = streams(&device);
    let known = Known::fill(&a, 1).unwrap();
    let busy = b.or_busy();
    // Nothing is seen to complete: a wait would never end.
    let copy = known.copy(&busy).unwrap();
    busy.flush().unwrap();
    assert_eq!((mock.device_waits(), b.state().len()), (1, 1));
    // The reaper does not wait either.
    let again = copy.copy(&a).unwrap();
    let event = a.record_event();
    while a.state().submitted() < 2 {
        assert!(!event.query());
        std::thread::yield_now();
    }
    assert_eq!(mock.device_waits(), 2);
    faulty.release();
    assert!(again.is_right().unwrap() && copy.is_right().unwrap() && known.is_right().unwrap());
}

#[test]
fn a_flush_out_of_time_leaves_the_waits_to_the_device() {
    let mock = mock(true);
    let faulty = Faulty::new(Arc::<MockDevice>::clone(&mock), Plan { signals: Strike::Always, ..Plan::default() });
    let device = Device::new(Arc::<Faulty>::clone(&faulty), Config::default()).unwrap();
    let [a, b] = streams(&device);
    let copy = Known::fill(&a, 1).unwrap().copy(&b).unwrap();
    let event = b.record_event();
    assert!(matches!(event.synchronize(Some(Duration::from_millis(20))), Err(Error::Timeout)));
    // What was recorded is with the device all the same.
    assert_eq!((mock.device_waits(), b.state().submitted()), (1, 1));
    faulty.release();
    assert!(copy.is_right().unwrap() && event.query());
}

#[test]
fn who_waits_for_a_device_that_is_lost_is_told() {
    let faulty = Faulty::new(mock(true), Plan { signals: Strike::Always, ..Plan::default() });
    let device = Device::new(Arc::<Faulty>::clone(&faulty), Config::default()).unwrap();
    let [a, b] = streams(&device);
    let copy = Known::fill(&a, 1).unwrap().copy(&b).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| copy.is_right());
        // The wait on the host is for the first stream's list, which nobody sees complete.
        while a.state().submitted() < 1 {
            std::thread::yield_now();
        }
        faulty.lose();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Device(_))));
    });
}
