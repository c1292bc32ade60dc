//! What a backend takes for itself, counted where it asks the driver.

use super::world::{Found, Known, found};
use crate::{Config, Device, Error, Graph, Stream};
use std::sync::Arc;
use std::time::Duration;
use thalweg_hal::pieces::SEGMENTS;
use thalweg_vulkan::{VulkanDevice, testing};

const STREAMS: u32 = 32;
const GRAPHS: u32 = 100;
/// Lists of all streams; `THALWEG_STRESS_OPERATIONS` sets another number.
const LISTS: u32 = 6400;

/// Lists and prepared lists that have something to report, on as many streams as a device has by itself: all of what
/// the driver was asked for is in the budget, and beside the arena's segments there are few.
fn busy(driver: Arc<VulkanDevice>) {
    let lists = std::env::var("THALWEG_STRESS_OPERATIONS").map_or(LISTS, |lists| lists.parse().unwrap());
    let hal: Arc<dyn thalweg_hal::Device> = Arc::<VulkanDevice>::clone(&driver);
    let overhead = Arc::clone(hal.overhead());
    // Nothing goes back while it is counted.
    let device = Device::new(hal, Config::default().decay(Duration::ZERO)).unwrap();
    let stats = device.memory();
    assert_eq!((stats.overhead, stats.allocations), (overhead.bytes(), 1));
    assert_eq!((stats.reserved, testing::allocations(&driver)), (stats.overhead, 1));
    let [odd, even] = [7, 8].map(|start| Known::upload(&device, start, 2).unwrap());
    let capture = |_| {
        let graph = Graph::capture(&device, &[super::world::BYTES], |inputs| {
            let (stream, input) = (Stream::current(&device)?, Known::of(inputs.into_iter().next(), 0));
            let first = input.odd_copy_captured(&stream)?;
            Ok::<_, Error>(vec![Known::of(Some(first), 0).odd_copy_captured(&stream)?])
        });
        graph.unwrap()
    };
    let graphs: Vec<Graph> = (0..GRAPHS).map(capture).collect();
    std::thread::scope(|scope| {
        for thread in 0..STREAMS {
            let (device, graphs, odd, even) = (&device, &graphs, &odd, &even);
            scope.spawn(move || {
                let stream = Stream::new(device).unwrap();
                for list in 0..lists / STREAMS {
                    let good: Vec<_> = (0..1 + list % 5).map(|_| odd.odd_copy(&stream).unwrap()).collect();
                    let bad = even.odd_copy(&stream).unwrap();
                    let graph = &graphs[((thread + STREAMS * list) % GRAPHS) as usize];
                    let input = if list % 2 == 0 { odd } else { even };
                    let made = stream.scope(|| graph.replay(&[input.read()])).unwrap().remove(0);
                    stream.flush().unwrap();
                    // Rarely, so that as many lists as may be are on their way.
                    if list % 100 == 99 {
                        assert!(good.iter().all(|known| known.look() == Found::Right));
                        assert!(matches!(bad.look(), Found::Failed(_)), "{:?}", bad.look());
                        let mut bytes = vec![0; super::world::BYTES as usize];
                        let replayed = found(made.read(0, &mut bytes).map(|()| odd.is(&bytes)));
                        assert!(replayed == Found::Right || (list % 2 == 1 && matches!(replayed, Found::Failed(_))));
                    }
                }
            });
        }
    });
    device.synchronize().unwrap();
    let stats = device.memory();
    println!("{lists} lists: {overhead:?}, {} driver allocations", testing::allocations(&driver));
    // There were as many at any time: none of them is given back.
    assert!((1..=SEGMENTS as u64).contains(&overhead.allocations()), "{overhead:?}");
    assert_eq!((stats.overhead, stats.allocations), (overhead.bytes(), u64::from(testing::allocations(&driver))));
    let snapshot = device.memory_snapshot();
    let segments: u64 = snapshot.segments.iter().map(|segment| segment.bytes).sum();
    assert_eq!(segments + snapshot.stats.in_transit + overhead.bytes(), snapshot.stats.reserved);
    assert_eq!(snapshot.segments.len() as u64 + overhead.allocations(), snapshot.stats.allocations);
    assert_eq!(thalweg_vulkan::validation_messages(), 0);
}

// audit: C32
#[test]
fn stress_busy_streams_take_few_driver_allocations_on_vulkan() {
    if let Some(device) = testing::device() {
        busy(device);
    }
}

// audit: C32
#[test]
fn stress_busy_streams_take_few_driver_allocations_on_a_discrete_device() {
    if let Some(device) = testing::discrete() {
        busy(device);
    }
}
