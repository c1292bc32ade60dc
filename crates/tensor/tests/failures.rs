//! Failures that come when the data is read: they reach what depends on them, and nothing else.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::{Random, benches};
use thalweg_runtime::{Device, Stream};
use thalweg_tensor::{AttentionOptions, Error, Pooling, Result, Tensor};

/// The kernel failed, and said this.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T>, says: &str) {
    let error = result.unwrap_err();
    let Error::Runtime(thalweg_runtime::Error::Failed(failure)) = &error else { panic!("{error}") };
    assert!(matches!(*failure.source, thalweg_hal::Error::Kernel { .. }), "{error}");
    assert!(error.to_string().contains(says), "\"{error}\" does not say \"{says}\"");
    assert!(!error.is_retryable());
}

/// An operation that fails on the device, and what it says.
type Failing = (Box<dyn Fn(&Device) -> Tensor>, &'static str);

fn failing() -> Vec<Failing> {
    fn u32s(device: &Device, values: &[u32]) -> Tensor {
        Tensor::from_slice(device, values, &[values.len()]).unwrap()
    }
    fn embed(device: &Device, bad: usize) -> Tensor {
        let table = Tensor::full(device, 1.0f32, &[4, 6]).unwrap();
        let ids = [0, 1, 2].map(|at| u32s(device, if at == bad { &[0, 4, 1] } else { &[0, 1, 3] }));
        Tensor::embed([&table; 3], [&ids[0], &ids[1], &ids[2]]).unwrap()
    }
    fn packed(device: &Device) -> Tensor {
        Tensor::full(device, 1.0f32, &[4, 6]).unwrap()
    }
    fn attended(device: &Device, offsets: &[u32], options: &AttentionOptions) -> Tensor {
        let x = packed(device).reshape(&[4, 2, 3]).unwrap();
        x.attention(&x, &x, &u32s(device, offsets), options).unwrap()
    }
    fn biased(device: &Device, reach: usize) -> Tensor {
        let bias = Tensor::full(device, 1.0f32, &[2, 2 * reach + 1]).unwrap();
        attended(device, &[0, 1, 4], &AttentionOptions::new().relative_bias(&bias))
    }
    let mut all: Vec<Failing> = vec![
        (Box::new(|device| biased(device, 1)), "sequence 1 has 3 rows; the relative bias, which reaches 1,"),
        (Box::new(|device| embed(device, 0)), "word id 4 at position 1 is outside of a table of 4"),
        (Box::new(|device| embed(device, 1)), "position id 4"),
        (Box::new(|device| embed(device, 2)), "type id 4"),
        (
            Box::new(|device| u32s(device, &[7, 8]).div(&u32s(device, &[1, 0])).unwrap()),
            "integer division by 0 at element 1",
        ),
        (
            Box::new(|device| {
                let x = Tensor::full(device, -7i32, &[3]).unwrap();
                x.div(&Tensor::zeros::<i32>(device, &[]).unwrap()).unwrap()
            }),
            "integer division by 0 at element 0",
        ),
    ];
    let offsets: [(&'static [u32], _); 5] = [
        (&[0, 3, 2, 4], "offsets must rise"),
        (&[0, 2, 2, 4], "offsets must rise"),
        (&[0, 2, 3], "offsets run from 0 to 3, expected 0 to 4"),
        (&[1, 4], "offsets run from 1 to 4, expected 0 to 4"),
        (&[0, u32::MAX], "expected 0 to 4"),
    ];
    for (offsets, says) in offsets {
        all.push((Box::new(move |device| attended(device, offsets, &AttentionOptions::new())), says));
        all.push((Box::new(move |device| packed(device).pool(&u32s(device, offsets), Pooling::Mean).unwrap()), says));
    }
    all
}

// audit: C24
#[test]
fn a_failure_follows_the_data() {
    let seed = Random::new(std::process::id().into()).bits();
    println!("seed {seed}");
    for bench in benches(seed) {
        let device = &bench.device;
        let stream = Stream::current(device).unwrap();
        let elsewhere = Stream::new(device).unwrap();
        for (make, says) in failing() {
            // A failure is a list's: what is recorded beside it in one list fails with it, so each part has its own.
            let before = Tensor::full(device, 2.0f32, &[8]).unwrap();
            stream.flush().unwrap();
            let bad = make(device);
            let flat = bad.reshape(&[bad.elements()]).unwrap();
            let dependent = flat.add(&flat).unwrap();
            stream.flush().unwrap();
            let view = dependent.narrow(0, 1, 1).unwrap();
            let later = elsewhere.scope(|| view.contiguous().unwrap());
            stream.flush().unwrap();
            let after = before.mul(&before).unwrap();
            stream.flush().unwrap();

            let read = |tensor: &Tensor| match tensor.dtype() {
                thalweg_tensor::DType::F32 => tensor.to_vec::<f32>().map(drop),
                thalweg_tensor::DType::U32 => tensor.to_vec::<u32>().map(drop),
                _ => tensor.to_vec::<i32>().map(drop),
            };
            assert_eq!(after.to_vec::<f32>().unwrap(), [4.0; 8]);
            for tensor in [&later, &view, &dependent, &bad, &bad] {
                failed(read(tensor), says);
            }
            failed(view.freeze(), says);
            assert_eq!(before.to_vec::<f32>().unwrap(), [2.0; 8]);
            // Its memory is used again, on its stream, and holds what is put there.
            drop((bad, flat, dependent, view, later));
            let again = after.add(&before).unwrap();
            assert_eq!(again.to_vec::<f32>().unwrap(), [6.0; 8]);
        }
        bench.finish();
    }
}

#[test]
fn an_id_outside_of_its_table_is_found_wherever_the_kernel_is_split() {
    for bench in benches(17) {
        let device = &bench.device;
        let table = Tensor::full(device, 1.0f32, &[10, 64]).unwrap().freeze().unwrap();
        let n = 3000;
        for at in [0, 1, n / 2, n - 1] {
            let mut ids = vec![9u32; n];
            ids[at] = 10;
            let ids = Tensor::from_slice(device, &ids, &[n]).unwrap();
            let rows = Tensor::embed([&table; 3], [&ids; 3]).unwrap();
            failed(rows.to_vec::<f32>(), &format!("id 10 at position {at}"));
        }
        bench.finish();
    }
}
