//! A cache that grows in place: one thread writes rows, another reads what is there so far.
//!
//! Run with `cargo run --release --example 04_cache`.

use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg::{MutableTensor, Tensor};

const ROWS: usize = 256;
const ROWS_PER_PART: usize = 16;
const WIDTH: usize = 64;

fn main() -> thalweg::Result<()> {
    let device = thalweg::open("cpu")?;
    // Parts of 16 rows: what goes on in one part keeps nobody waiting in another.
    let cache = MutableTensor::zeros::<f32>(&device, &[ROWS, WIDTH], ROWS_PER_PART)?;
    let used = MutableTensor::zeros::<u32>(&device, &[cache.parts(), WIDTH], 1)?;
    let filled = AtomicUsize::new(0);

    std::thread::scope(|scope| -> thalweg::Result<()> {
        let writer = scope.spawn(|| -> thalweg::Result<()> {
            for start in (0..ROWS).step_by(ROWS_PER_PART) {
                let rows = Tensor::full(&device, start as f32, &[ROWS_PER_PART, WIDTH])?;
                cache.write(start, &rows)?;
                // Release: a thread that sees the number records its reads after this write.
                filled.store(start + ROWS_PER_PART, Ordering::Release);
            }
            Ok(())
        });

        let one = Tensor::full(&device, 1u32, &[1, WIDTH])?;
        let mut reads = 0;
        loop {
            let rows = filled.load(Ordering::Acquire);
            // A copy, made on the device: the writer goes on, and this does not change.
            let snapshot = cache.read(0..rows)?;
            for (row, values) in snapshot.to_vec::<f32>()?.chunks(WIDTH).enumerate() {
                let expected = (row / ROWS_PER_PART * ROWS_PER_PART) as f32;
                assert!(values.iter().all(|value| *value == expected), "row {row} is whole");
            }
            for part in 0..rows / ROWS_PER_PART {
                // Additions lose nothing, even if others add at the same time.
                used.add(part, &one)?;
            }
            reads += 1;
            if rows == ROWS {
                break;
            }
            std::thread::yield_now();
        }
        writer.join().expect("the writer does not panic")?;

        let counts = used.read(0..cache.parts())?.to_vec::<u32>()?;
        println!("{reads} reads while {ROWS} rows were written");
        println!("the first part was read {} times, the last {}", counts[0], counts[counts.len() - 1]);
        assert!(counts[0] >= counts[counts.len() - 1] && counts[counts.len() - 1] == 1, "the last part came last");
        Ok(())
    })
}
