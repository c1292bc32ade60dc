//! Transfers: copies to the host against the writes that they read, and the first fill of memory against its next
//! owner.

use super::*;
use crate::Error;
use thalweg_hal::HostAccess;

/// x = f(x)
static TOUCH: KernelSource = KernelSource {
    name: Cow::Borrowed("touch"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|_| Ok(())),
};

/// A device that the host does not see, with undefined new memory, behind a validator that knows what was ever written.
fn discrete(memory_limit: u64) -> (Device, Arc<Validated>) {
    let mut silent = Silent::like(&*MockDevice::new(MockConfig::discrete(0)));
    silent.info.host_access = HostAccess::None;
    let validated = Validated::with_first_writes(Arc::new(silent));
    let config = Config::default().memory_limit(memory_limit).staging_limit(memory_limit / 2);
    (Device::without_reaper(Arc::<Validated>::clone(&validated), config).unwrap(), validated)
}

fn world(memory_limit: u64) -> Arc<World> {
    let (device, validated) = discrete(memory_limit);
    let pipeline = device.pipeline(&TOUCH).unwrap();
    let streams: Vec<_> = (0..2).map(|_| Stream::new(&device).unwrap()).collect();
    Arc::new(World { device, validated, pipeline, streams, storages: Vec::new() })
}

fn touch(world: &World, stream: usize, storage: &Storage) {
    let work = Work::Dispatch { pipeline: &world.pipeline, params: &[], extent: [1; 3] };
    let operand = Operand { access: Access::ReadWrite, ..Operand::read(storage, 0, BYTES) };
    world.streams[stream].record(&work, &[operand]).unwrap();
}

/// A download finds the list of the last write open, being submitted, or submitted, and another write behind it: the
/// copy is ordered against both, in whichever list it is, and what it waits for ends.
// audit: C29
#[test]
fn loom_download_against_a_foreign_write() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let world = world(1 << 20);
        let storage = Arc::new(world.streams[0].allocate(BYTES).unwrap());
        touch(&world, 0, &storage);
        let flush = spawn(&world, |world| world.streams[0].flush().unwrap());
        let write = {
            let (world, storage) = (Arc::clone(&world), Arc::clone(&storage));
            thread::spawn(move || touch(&world, 0, &storage))
        };
        let download = world.streams[1].scope(|| storage.download(0, BYTES as usize)).unwrap();
        assert_eq!(download.wait().unwrap().len(), BYTES as usize);
        join([flush, write]);
        world.judge();
    });
}

/// Memory for one of two streams. Each fills it with its first list, if it is the first to have it; the other gets it
/// filled, and ordered after that, or is told that there is none.
// audit: C13
#[test]
fn loom_first_fill_against_a_stream_that_takes_the_span() {
    bounded(PREEMPTIONS_OF_THREE, || {
        let world = world(256);
        let program = |own: usize| {
            let world = Arc::clone(&world);
            thread::spawn(move || match world.streams[own].allocate(BYTES) {
                // Read as it came.
                Ok(storage) => touch(&world, own, &storage),
                Err(Error::OutOfMemory(_)) => {}
                Err(error) => panic!("{error}"),
            })
        };
        join([program(0), program(1)]);
        world.judge();
        world.device.synchronize().unwrap();
        world.device.trim();
        assert_eq!(world.device.memory_snapshot().stats.reserved, 0);
    });
}
