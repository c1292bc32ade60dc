//! Objects, pools, blocks and messages.

use crate::program::Program;
use crate::rig::{Rig, as_event, device, encoder, on_completion, read, safe_options, size};
use metal_sim::rules::*;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject, ClassBuilder, NSObject, Sel};
use objc2::{ClassType, ffi, msg_send, sel};
use objc2_foundation::NSString;
use objc2_metal::*;
use std::panic::catch_unwind;

extern "C-unwind" fn keeps_all(_: &AnyObject, _: Sel) {}

pub const PROGRAMS: &[Program] = &[
    Program::breaks(USE_AFTER_RELEASE, "a_message_to_a_dead_object", || {
        let event = device().newSharedEvent().expect("an event");
        let address = Retained::as_ptr(&event);
        drop(event);
        // SAFETY: none; it is the mistake that is to be found.
        unsafe { &*address }.signaledValue();
    }),
    Program::breaks(USE_AFTER_RELEASE, "one_release_too_many", || {
        let event = device().newSharedEvent().expect("an event");
        let address = Retained::as_ptr(&event).cast_mut().cast();
        drop(event);
        // SAFETY: none; it is the mistake that is to be found.
        unsafe { ffi::objc_release(address) };
    }),
    Program::breaks(USE_AFTER_RELEASE, "an_object_in_a_pool_is_released", || {
        autoreleasepool(|_| {
            let event = device().newSharedEvent().expect("an event");
            let address = Retained::as_ptr(&event).cast_mut();
            let _ = Retained::autorelease_ptr(event);
            // SAFETY: none; it is the mistake that is to be found.
            unsafe { ffi::objc_release(address.cast()) };
        });
    }),
    Program::breaks(DEALLOC, "a_dealloc_without_super", || {
        let mut builder = ClassBuilder::new(c"Keeper", NSObject::class()).expect("a new class");
        // SAFETY: the method's type; that it does not call its superclass is the mistake that is to be found.
        unsafe { builder.add_method(sel!(dealloc), keeps_all as extern "C-unwind" fn(_, _)) };
        let class: &AnyClass = builder.register();
        // SAFETY: `new` returns an object.
        drop::<Retained<NSObject>>(unsafe { msg_send![class, new] });
    }),
    Program::breaks(UNRECOGNIZED, "a_message_that_nobody_answers", || {
        let event = device().newSharedEvent().expect("an event");
        // SAFETY: none; it is the mistake that is to be found.
        unsafe { ffi::objc_msg_lookup(Retained::as_ptr(&event).cast_mut().cast(), sel!(commit)) };
    }),
    Program::breaks(POOL, "a_pool_is_popped_twice", || {
        // SAFETY: the second time is the mistake that is to be found.
        unsafe {
            let pool = ffi::objc_autoreleasePoolPush();
            ffi::objc_autoreleasePoolPop(pool);
            ffi::objc_autoreleasePoolPop(pool);
        }
    }),
    Program::breaks(POOL, "a_pool_of_another_thread", || {
        // SAFETY: the pop is the mistake that is to be found.
        let pool = unsafe { ffi::objc_autoreleasePoolPush() } as usize;
        let thread = std::thread::spawn(move || {
            // SAFETY: as above.
            unsafe {
                ffi::objc_autoreleasePoolPush();
                ffi::objc_autoreleasePoolPop(pool as *mut _);
            }
        });
        drop(thread.join());
    }),
    Program::breaks(WITHOUT_POOL, "autoreleased_without_a_pool", || drop(device().name()))
        .with(&[("METAL_SIM_POOLS", "1")]),
    Program::ends("what_has_no_pool_is_counted", || {
        let device = device();
        drop(device.name());
        assert_eq!(metal_sim::autoreleased_without_pool(), 1);
        autoreleasepool(|_| drop(device.name()));
        assert_eq!(metal_sim::autoreleased_without_pool(), 1);
    }),
    Program::breaks(FAST_MATH, "fast_math_by_default", || {
        drop(device().newLibraryWithSource_options_error(&NSString::from_str("kernel"), None));
    }),
    Program::breaks(FAST_MATH, "fast_math_by_wish", || {
        let options = safe_options();
        options.setMathMode(MTLMathMode::Relaxed);
        drop(device().newLibraryWithSource_options_error(&NSString::from_str("kernel"), Some(&options)));
    }),
    Program::breaks(LEAK, "a_leak", || {
        std::mem::forget(device());
        metal_sim::check_leaks();
    }),
    Program::ends("all_is_well", || {
        autoreleasepool(|_| {
            let rig = Rig::new();
            let data = rig.buffer(&std::array::from_fn::<_, 128, _>(|at| at as u32));
            let event = rig.device.newSharedEvent().expect("an event");
            let fence = rig.device.newFence().expect("a fence");
            let commands = rig.queue.commandBufferWithUnretainedReferences().expect("a command buffer");
            let encoder = encoder(&commands);
            encoder.waitForFence(&fence);
            encoder.setComputePipelineState(&rig.turn);
            // SAFETY: the kernel's arguments.
            unsafe {
                encoder.setBuffer_offset_atIndex(Some(&data), 0, 0);
                encoder.setThreadgroupMemoryLength_atIndex(256, 0);
            }
            encoder.dispatchThreadgroups_threadsPerThreadgroup(size(2), size(64));
            encoder.memoryBarrierWithScope(MTLBarrierScope::Buffers);
            rig.step(&encoder, &data, [2, 5]);
            encoder.updateFence(&fence);
            encoder.endEncoding();
            commands.encodeSignalEvent_value(as_event(&event), 7);
            let held = event.clone();
            on_completion(&commands, move |_| assert_eq!(held.signaledValue(), 7));
            commands.commit();
            assert!(event.waitUntilSignaledValue_timeoutMS(7, 60_000));
            commands.waitUntilCompleted();
            let expected: Vec<u32> = (0..128).map(|at| at / 64 * 64 + 63 - at % 64).collect();
            assert_eq!(read(&data)[1..], expected[1..]);
            assert_eq!(read(&data)[0], 63 * 2 + 5);
        });
        metal_sim::check_leaks();
        assert_eq!(metal_sim::autoreleased_without_pool(), 0);
    })
    .with(&[("METAL_SIM_POOLS", "1")]),
    Program::ends("encodings_are_checked", || {
        let event = device().newSharedEvent().expect("an event");
        let right = catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: what the method returns.
            let _: u64 = unsafe { msg_send![&event, signaledValue] };
        }));
        assert!(right.is_ok());
        let wrong = catch_unwind(std::panic::AssertUnwindSafe(|| {
            // SAFETY: none; it is the mistake that is to be found. The register holds what is asked for.
            let _: u32 = unsafe { msg_send![&event, signaledValue] };
        }));
        assert!(wrong.is_err() || !cfg!(debug_assertions), "a wrong type was let through");
    }),
    Program::ends("strings_come_back", || {
        for text in ["", "plain", "größer → 大"] {
            let string = NSString::from_str(text);
            assert_eq!(string.to_string(), text);
            assert_eq!(string, NSString::from_str(text));
        }
    }),
];
