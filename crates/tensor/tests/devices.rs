//! Tensors that go from one device to another.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::{Random, block_on, check, cpu, disguised, mock, shapes};
use proptest::prelude::*;
use thalweg_runtime::{Device, Stream};
use thalweg_tensor::{Binary, Element, Error, Tensor, f16};

/// There and back, by either way, as what it is: a tensor, a view, frozen, or still to be computed.
fn travels<T: Element + PartialEq + std::fmt::Debug>(from: &Device, to: &Device, array: &Array<T>, seed: u64) {
    let tensor = disguised(from, array, seed);
    let stream = Stream::new(from).unwrap();
    for moved in [tensor.to_device(to).unwrap(), block_on(stream.attach(tensor.to_device_async(to))).unwrap()] {
        assert!(moved.device().is_same(to));
        assert_eq!((moved.shape(), moved.dtype(), moved.is_frozen()), (tensor.shape(), T::DTYPE, tensor.is_frozen()));
        assert_eq!(moved.to_vec::<T>().unwrap(), array.values);
        let here = moved.to_device(to).unwrap();
        assert!(here.device().is_same(to));
        assert_eq!(moved.to_device(from).unwrap().to_vec::<T>().unwrap(), array.values);
        assert_eq!(block_on(here.to_device_async(to)).unwrap().to_vec::<T>().unwrap(), array.values);
    }
}

#[test]
fn tensors_go_to_other_devices_and_back() {
    check(file!(), 40, (shapes(1500), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        let bench = mock(random.bits());
        let ints = Array::new(shape, |_| random.bits() as i32);
        let halves = Array::new(shape, |_| f16::from_f32(random.unit()));
        for other in [&bench.device, &cpu()] {
            for (from, to) in [(device, other), (other, device)] {
                travels(from, to, &ints, random.bits());
                travels(from, to, &halves, random.bits());
            }
        }
        bench.finish();
    });
}

#[test]
fn frozen_tensors_stay_frozen_and_a_failure_is_told() {
    let (here, bench) = (cpu(), mock(Random::new(3).bits()));
    let there = &bench.device;
    let x = Tensor::from_slice(&here, &[1u32, 2, 3], &[3]).unwrap();
    assert!(!x.to_device(there).unwrap().is_frozen());
    assert!(x.freeze().unwrap().to_device(there).unwrap().is_frozen());
    assert!(block_on(x.freeze().unwrap().to_device_async(there)).unwrap().is_frozen());
    let failed = x.binary(Binary::Div, &Tensor::zeros::<u32>(&here, &[]).unwrap()).unwrap();
    for error in [failed.to_device(there).unwrap_err(), block_on(failed.to_device_async(there)).unwrap_err()] {
        assert!(matches!(error, Error::Runtime(thalweg_runtime::Error::Failed(_))), "{error}");
    }
    // Where it is already, nothing is copied, nor waited for.
    assert!(failed.to_device(&here).is_ok());
}
