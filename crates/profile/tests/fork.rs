//! A forked child that has a profiler and profiled devices. A process of its own: nothing else runs beside it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)] // a failed step is a failed test

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_profile::{Detail, ProfileOptions, Profiler};
use thalweg_runtime::{Config, Device, Error, Operand, Stream, Work, range};

/// How long a child may take before the system ends it: one that waits for a lock would wait for ever.
const DEADLINE: u32 = 100;

/// Calls `body` in a child, which must end by itself and not panic.
fn in_a_child(body: impl FnOnce()) {
    // SAFETY: what the child calls is what is under test: of the system's own locks it needs the allocator's alone,
    // which the C library makes usable in a child.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a call without preconditions.
        unsafe { libc::alarm(DEADLINE) };
        let ended = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: nothing runs after it; the handlers are the parent's test harness's.
        unsafe { libc::_exit(i32::from(ended.is_err())) }
    }
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the status is ours to be written.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    let status = <ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(status);
    assert!(status.success(), "the forked child: {status}");
}

fn work(device: &Device) {
    let stream = Stream::current(device).unwrap();
    let mut storage = stream.allocate(256).unwrap();
    stream.record(&Work::Fill(7), &[Operand::write(&mut storage)]).unwrap();
    storage.read(0, &mut [0; 4]).unwrap();
    drop(range("a round"));
}

// audit: C23
#[test]
fn exit_a_forked_child_has_no_profile_and_leaves_the_parents_alone() {
    let open = || Device::new(MockDevice::new(MockConfig::default()), Config::default()).unwrap();
    let full = || ProfileOptions::new().detail(Detail::Full);
    let (device, over) = (open(), &AtomicBool::new(false));
    let profiler = Profiler::start(&device, full()).unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    work(&device);
                }
            });
        }
        // Also if this thread panics, the others end.
        let _end = End(over);
        for _ in 0..40 {
            let own = [open(), open()];
            let [stopped, dropped] = [0, 1].map(|at| Profiler::start(&own[at], full()).unwrap());
            own.iter().for_each(work);
            in_a_child(|| {
                assert_eq!(stopped.stop().events(), 0);
                drop(dropped);
                for device in [&device, &own[0]] {
                    let refused = Profiler::start(device, full()).err();
                    assert!(matches!(refused, Some(Error::Device(thalweg_hal::Error::ForkedChild))), "{refused:?}");
                }
            });
        }
    });
    let profile = profiler.stop();
    assert!(profile.events() > 0 && profile.kernels().kernels[0].count > 0, "{profile:?}");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
