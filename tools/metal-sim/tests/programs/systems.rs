//! Older systems, other devices, limits.

use crate::program::Program;
use crate::rig::{Rig, device, encoder, read, run, safe_options};
use objc2::runtime::{AnyObject, NSObjectProtocol};
use objc2::sel;
use objc2_foundation::{NSString, NSURL};
use objc2_metal::*;

pub const PROGRAMS: &[Program] = &[
    Program::ends("macos_15_has_residency_sets_and_a_math_mode", || {
        let (device, options) = (device(), MTLCompileOptions::new());
        assert!(device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:)));
        assert!(device.newCommandQueue().expect("a queue").respondsToSelector(sel!(addResidencySet:)));
        assert!(options.respondsToSelector(sel!(setMathMode:)));
        assert!(!device.respondsToSelector(sel!(newMTL4CommandQueue)));
        assert_eq!(options.mathMode(), MTLMathMode::Fast);
        options.setMathMode(MTLMathMode::Safe);
        assert_eq!(options.mathMode(), MTLMathMode::Safe);
    }),
    Program::ends("macos_14_has_neither", || {
        let rig = Rig::new();
        assert!(rig.set.is_none() && !rig.queue.respondsToSelector(sel!(addResidencySet:)));
        let options = MTLCompileOptions::new();
        assert!(
            !options.respondsToSelector(sel!(setMathMode:)) && options.respondsToSelector(sel!(setFastMathEnabled:))
        );
        let (commands, data) = (rig.commands(), rig.buffer(&[4]));
        let encoder = encoder(&commands);
        encoder.useHeap(&rig.heap);
        rig.step(&encoder, &data, [2, 1]);
        encoder.endEncoding();
        run(&commands);
        assert_eq!(read(&data)[0], 9);
    })
    .with(&[("METAL_SIM_MACOS", "14")]),
    Program::ends("a_device_says_what_it_is", || {
        let device = device();
        assert!(device.hasUnifiedMemory() && device.supportsFamily(MTLGPUFamily::Apple7));
        assert!(!device.supportsFamily(MTLGPUFamily::Apple8) && device.supportsFamily(MTLGPUFamily::Metal3));
        assert_eq!((device.maxThreadgroupMemoryLength(), device.maxThreadsPerThreadgroup().width), (32768, 1024));
        assert_eq!((device.name().to_string(), device.registryID()), ("Simulated GPU".to_owned(), 1));
    }),
    Program::ends("a_device_with_memory_of_its_own", || {
        let device = device();
        assert!(!device.hasUnifiedMemory() && !device.supportsFamily(MTLGPUFamily::Apple1));
    })
    .with(&[("METAL_SIM_UNIFIED", "0")]),
    Program::ends("a_pipeline_says_what_it_takes", || {
        let rig = Rig::new();
        assert_eq!((rig.turn.maxTotalThreadsPerThreadgroup(), rig.turn.threadExecutionWidth()), (64, 32));
        assert_eq!(rig.turn.staticThreadgroupMemoryLength(), 0);
    }),
    Program::ends("a_function_that_asks_for_too_many_threads_has_no_pipeline", || {
        let rig = Rig::new();
        let text = crate::rig::AFFINE.replace("threadgroup(64)", "threadgroup(2048)");
        let library = rig.device.newLibraryWithSource_options_error(&NSString::from_str(&text), Some(&safe_options()));
        let function =
            library.expect("a library").newFunctionWithName(&NSString::from_str("affine")).expect("a function");
        assert!(rig.device.newComputePipelineStateWithFunction_error(&function).is_err());
    }),
    Program::ends("some_hundreds_of_queues_are_too_many", || {
        let device = device();
        let mut queues: Vec<_> = (0..1000).map_while(|_| device.newCommandQueue()).collect();
        assert_eq!(queues.len(), 512);
        queues.pop();
        assert!(device.newCommandQueue().is_some());
    }),
    Program::ends("a_capture_is_on_or_off", || {
        // SAFETY: the manager that the process has.
        let manager = unsafe { MTLCaptureManager::sharedCaptureManager() };
        assert!(manager.supportsDestination(MTLCaptureDestination::GPUTraceDocument));
        let (device, capture) = (device(), MTLCaptureDescriptor::new());
        assert!(manager.startCaptureWithDescriptor_error(&capture).is_err());
        let object: &AnyObject = (*device).as_ref();
        // SAFETY: a device is one of the things that can be captured.
        unsafe { capture.setCaptureObject(Some(object)) };
        capture.setDestination(MTLCaptureDestination::GPUTraceDocument);
        capture.setOutputURL(Some(&NSURL::fileURLWithPath(&NSString::from_str("none.gputrace"))));
        assert!(!manager.isCapturing());
        manager.startCaptureWithDescriptor_error(&capture).expect("a capture");
        assert!(manager.isCapturing() && manager.startCaptureWithDescriptor_error(&capture).is_err());
        manager.stopCapture();
        assert!(!manager.isCapturing());
    }),
];
