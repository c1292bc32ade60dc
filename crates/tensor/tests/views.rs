//! Random chains of views against naive indexing, for every element type, on every device.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::{Array, shapes};
use common::disguise::{disguised, shuffled};
use common::{Random, check};
use proptest::prelude::*;
use std::fmt::Debug;
use thalweg_runtime::{Device, Stream};
use thalweg_tensor::{Element, Tensor};

/// A step of a chain; the numbers are cut to what the tensor at hand has.
#[derive(Clone, Debug)]
enum Step {
    Permute(u64),
    Transpose(usize, usize),
    Narrow(usize, usize, usize),
    Broadcast(u64),
    Reshape(u64),
    Contiguous,
    Freeze,
    /// The same tensor, used on another stream from here on.
    Elsewhere(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<u64>().prop_map(Step::Permute),
        1 => any::<(usize, usize)>().prop_map(|(first, second)| Step::Transpose(first, second)),
        4 => any::<(usize, usize, usize)>().prop_map(|(axis, start, len)| Step::Narrow(axis, start, len)),
        2 => any::<u64>().prop_map(Step::Broadcast),
        2 => any::<u64>().prop_map(Step::Reshape),
        1 => Just(Step::Contiguous),
        1 => Just(Step::Freeze),
        1 => (0..2usize).prop_map(Step::Elsewhere),
    ];
    proptest::collection::vec(step, 0..8)
}

/// The most elements of a broadcast view.
const MOST: usize = 6000;

fn apply<T: Element>(step: &Step, tensor: Tensor, array: Array<T>) -> (Tensor, Array<T>) {
    let rank = array.shape.len();
    match *step {
        Step::Permute(seed) => {
            let order = shuffled(rank, &mut Random::new(seed));
            (tensor.permute(&order).unwrap(), array.permute(&order))
        }
        Step::Transpose(first, second) if rank > 0 => {
            let (first, second) = (first % rank, second % rank);
            let mut order: Vec<_> = (0..rank).collect();
            order.swap(first, second);
            (tensor.transpose(first, second).unwrap(), array.permute(&order))
        }
        Step::Narrow(axis, start, len) if rank > 0 => {
            let axis = axis % rank;
            let start = start % (array.shape[axis] + 1);
            let len = len % (array.shape[axis] - start + 1);
            (tensor.narrow(axis, start, len).unwrap(), array.narrow(axis, start, len))
        }
        Step::Broadcast(seed) => {
            let shape = broadcast(&array.shape, &mut Random::new(seed));
            (tensor.broadcast_to(&shape).unwrap(), array.broadcast_to(&shape))
        }
        Step::Reshape(seed) => {
            let shape = reshaped(array.values.len(), &mut Random::new(seed));
            (tensor.reshape(&shape).unwrap(), array.reshape(&shape))
        }
        Step::Contiguous => (tensor.contiguous().unwrap(), array),
        Step::Freeze => (tensor.freeze().unwrap(), array),
        _ => (tensor, array),
    }
}

/// A shape that this one broadcasts to.
fn broadcast(shape: &[usize], random: &mut Random) -> Vec<usize> {
    let mut target = shape.to_vec();
    for axis in &mut target {
        if *axis == 1 && random.below(2) == 0 {
            *axis = [0, 2, 3, 4, 5][random.below(5) as usize];
        }
    }
    while target.len() < 6 && random.below(2) == 0 {
        target.insert(0, 1 + random.below(3) as usize);
    }
    if target.iter().product::<usize>() <= MOST { target } else { shape.to_vec() }
}

/// Another shape of as many elements.
fn reshaped(elements: usize, random: &mut Random) -> Vec<usize> {
    if elements == 0 {
        return [vec![0], vec![3, 0], vec![0, 1, 7]][random.below(3) as usize].clone();
    }
    let mut left = elements;
    let mut shape = Vec::new();
    while shape.len() < 5 && (left > 1 || random.below(3) == 0) {
        let divisors: Vec<_> = (1..=left).filter(|divisor| left.is_multiple_of(*divisor)).collect();
        let axis = divisors[random.below(divisors.len() as u32) as usize];
        shape.push(axis);
        left /= axis;
    }
    if left > 1 {
        shape.push(left);
    }
    shape
}

fn chain<T: Element + PartialEq + Debug>(
    device: &Device,
    (shape, steps, seed): &(Vec<usize>, Vec<Step>, u64),
    number: fn(usize) -> T,
) {
    let mut array = Array::new(shape, number);
    let mut tensor = disguised(device, &array, *seed);
    let streams = [Stream::current(device).unwrap(), Stream::new(device).unwrap()];
    let mut stream = &streams[0];
    for step in steps {
        if let Step::Elsewhere(other) = step {
            stream = &streams[*other];
        }
        (tensor, array) = stream.scope(|| apply(step, tensor, array));
        assert_eq!(tensor.shape(), array.shape);
        assert_eq!(tensor.elements(), array.values.len());
        assert_eq!(tensor.dtype(), T::DTYPE);
    }
    assert_eq!(stream.scope(|| tensor.to_vec::<T>()).unwrap(), array.values);
}

fn cases() -> impl Strategy<Value = (Vec<usize>, Vec<Step>, u64)> {
    (shapes(1500), steps(), any::<u64>())
}

#[test]
fn chains_of_views_of_f32() {
    check(file!(), 300, cases(), |device, case| chain(device, case, |at| at as f32 + 0.5));
}

#[test]
fn chains_of_views_of_u32() {
    check(file!(), 300, cases(), |device, case| chain(device, case, |at| u32::MAX - at as u32));
}

#[test]
fn chains_of_views_of_i32() {
    check(file!(), 300, cases(), |device, case| chain(device, case, |at| -1 - at as i32));
}

#[test]
fn filled_tensors() {
    check(file!(), 100, (shapes(1500), any::<u32>()), |device, (shape, bits)| {
        let elements: usize = shape.iter().product();
        let value = f32::from_bits(bits & 0xbfff_ffff); // finite, so that it equals itself
        assert_eq!(Tensor::full(device, value, shape).unwrap().to_vec::<f32>().unwrap(), vec![value; elements]);
        assert_eq!(Tensor::full(device, *bits, shape).unwrap().to_vec::<u32>().unwrap(), vec![*bits; elements]);
        assert_eq!(Tensor::zeros::<i32>(device, shape).unwrap().to_vec::<i32>().unwrap(), vec![0; elements]);
    });
}

#[test]
fn a_view_of_an_empty_tensor_is_empty_wherever_it_starts() {
    for bench in common::benches(Random::new(7).bits()) {
        let empty = Tensor::from_slice::<f32>(&bench.device, &[], &[4, 0]).unwrap();
        let last = empty.narrow(0, 3, 1).unwrap();
        assert_eq!(last.to_vec::<f32>().unwrap(), []);
        assert_eq!(last.freeze().unwrap().to_vec::<f32>().unwrap(), []);
        assert_eq!(last.add(&last).unwrap().shape(), [1, 0]);
        bench.finish();
    }
}
