//! Reading from async tasks.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::{Random, benches, block_on, check, disguised, shapes};
use proptest::prelude::*;
use std::future::IntoFuture;
use thalweg_runtime::Stream;
use thalweg_tensor::{Binary, Error, Tensor};

#[test]
fn every_tensor_reads_as_it_does_from_a_thread() {
    check(file!(), 60, (shapes(1500), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        let array = Array::new(shape, |_| random.bits() as i32);
        let tensor = disguised(device, &array, random.bits());
        let stream = Stream::new(device).unwrap();
        assert_eq!(block_on(stream.attach(tensor.to_vec_async::<i32>())).unwrap(), array.values);
        let sum = tensor.add(&tensor).unwrap();
        let expected: Vec<_> = array.values.iter().map(|v| v.wrapping_mul(2)).collect();
        assert_eq!(block_on(sum.to_vec_async::<i32>()).unwrap(), expected);
        // Of a tensor that is gone, for a thread and a task.
        let pending = sum.download::<i32>().unwrap();
        drop(sum);
        let task = pending.clone();
        assert_eq!(*pending.wait().unwrap(), expected);
        assert_eq!(*block_on(task.into_future()).unwrap(), expected);
    });
}

#[test]
fn a_failure_reaches_the_task_and_a_wrong_type_is_refused() {
    for bench in benches(Random::new(9).bits()) {
        let x = Tensor::full(&bench.device, 4u32, &[3]).unwrap();
        let failed = x.binary(Binary::Div, &Tensor::zeros::<u32>(&bench.device, &[]).unwrap()).unwrap();
        let error = block_on(failed.to_vec_async::<u32>()).unwrap_err();
        assert!(matches!(error, Error::Runtime(thalweg_runtime::Error::Failed(_))), "{error}");
        let error = block_on(x.to_vec_async::<f32>()).unwrap_err();
        assert!(matches!(error, Error::DType { operation: "to_vec_async", .. }), "{error}");
        assert_eq!(block_on(x.to_vec_async::<u32>()).unwrap(), [4; 3]);
        let error = failed.download::<u32>().unwrap().wait().unwrap_err();
        assert!(matches!(error, thalweg_runtime::Error::Failed(_)), "{error}");
        assert!(matches!(x.download::<f32>(), Err(Error::DType { operation: "download", .. })));
        bench.finish();
    }
}
