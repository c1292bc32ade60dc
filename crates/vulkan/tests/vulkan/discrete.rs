//! What makes a discrete GPU: a device that is opened as one is one in every respect that it has.

use thalweg_doubles::suite::{Gpu, Test, words, zeroed};
use thalweg_hal::{Device, Error, HostAccess, MemoryKind, Violation};
use thalweg_vulkan::{Options, VulkanDevice, adapters, best};

pub const TESTS: &[(&str, Test)] = &[
    ("it_says_that_it_is_one", it_says_that_it_is_one),
    ("memory_that_the_host_does_not_see_says_so", memory_that_the_host_does_not_see_says_so),
    // audit: C32
    ("it_takes_as_many_allocations_as_it_says_and_no_more", it_takes_as_many_allocations_as_it_says_and_no_more),
];

fn it_says_that_it_is_one(gpu: &Gpu) {
    let device = &*gpu.device;
    let info = device.info();
    assert_eq!((info.parallelism, info.limits.max_allocations), (1, 4093));
    assert_eq!((info.host_access, info.zeroed), (HostAccess::None, false));
    let detail = |name: &str| info.details.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    assert_eq!(detail("memory seen by the host"), Some("no"));
    assert_eq!(detail("as a discrete GPU"), Some("yes"));
}

fn memory_that_the_host_does_not_see_says_so(gpu: &Gpu) {
    let device = &*gpu.device;
    let memory = device.allocate(MemoryKind::Device, 256).unwrap();
    // SAFETY: nothing else uses the memory.
    let read = unsafe { device.read(&memory, 0, &mut [0; 4]) };
    // SAFETY: as above.
    let written = unsafe { device.write(&memory, 0, &[0; 4]) };
    for (result, said) in [(read, "reads"), (written, "writes")] {
        let error = result.unwrap_err();
        let Error::Invalid(Violation::NotVisible { access, memory: id }) = error else { panic!("{error:?}") };
        assert_eq!((access, id), (said, memory.id()));
        let text = error.to_string();
        assert!(text.contains("which it does not see") && text.contains("by a command"), "{text}");
    }
    // That is no fault of the device, which goes on.
    assert_eq!(words(device, &zeroed(device, 256), 0, 64), [0; 64]);
}

/// On a device of its own: the limit is the device's.
fn it_takes_as_many_allocations_as_it_says_and_no_more(_: &Gpu) {
    let adapters = adapters().unwrap();
    let device = VulkanDevice::open_with(&adapters[best(&adapters).unwrap()], Options::DISCRETE).unwrap();
    let allocate = || device.allocate(MemoryKind::Device, 256);
    let mut taken = Vec::new();
    let refused = loop {
        match allocate() {
            Ok(memory) => taken.push(memory),
            Err(error) => break error,
        }
        assert!(taken.len() <= 4096);
    };
    assert!(matches!(refused, Error::OutOfMemory { .. }), "{refused}");
    assert!(taken.len() as u64 >= device.info().limits.max_allocations, "{}", taken.len());
    // What is given back is there again.
    drop(taken.pop());
    assert!(allocate().is_ok());
}
