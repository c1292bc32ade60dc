//! Random chains of views against naive indexing, and the copies that make them contiguous.

use super::case;
use crate::array::Array;
use crate::outcome::ensure;
use crate::{Case, Context, Outcome, equal, shapes};
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_runtime::Stream;
use thalweg_tensor::{Element, Tensor, f16};

pub(super) const CASES: &[Case] = &[
    case("views_f32", 150, |cx| chain(cx, |at| at as f32 + 0.5)),
    case("views_f16", 150, |cx| chain(cx, |at| f16::from_bits(at as u16))),
    case("views_u32", 150, |cx| chain(cx, |at| u32::MAX - at as u32)),
    case("views_i32", 150, |cx| chain(cx, |at| -1 - at as i32)),
    case("views_of_six_axes", 40, six_axes),
    case("views_of_nothing", 1, nothing),
];

/// The most elements of a broadcast view.
const MOST: usize = 6000;

/// Up to seven views, one of another, some of them on another stream.
fn chain<T: Element + PartialEq + Debug>(cx: &mut Context<'_>, number: fn(usize) -> T) -> Outcome {
    let shape = shapes::shape(&mut cx.random, 1500);
    let mut array = Array::new(&shape, number);
    let mut tensor = cx.disguised(&array)?;
    let streams = [Stream::current(&cx.device)?, Stream::new(&cx.device)?];
    let (mut stream, mut chain) = (&streams[0], Vec::new());
    for _ in 0..cx.between(0, 7) {
        if cx.random.below(8) == 0 {
            stream = &streams[cx.between(0, 1)];
        }
        let step = stream.scope(|| step(&tensor, &array, &mut cx.random));
        let name;
        (name, tensor, array) = step?;
        chain.push(name);
        ensure!(tensor.shape() == array.shape, "{chain:?}: shape {:?}, not {:?}", tensor.shape(), array.shape);
        ensure!(tensor.elements() == array.values.len(), "{chain:?}: {} elements", tensor.elements());
    }
    stream.scope(|| equal((&shape, &chain), &tensor, &array.shape, &array.values))
}

/// One view, its name, and the array that it is a view of.
fn step<T: Element>(
    tensor: &Tensor,
    array: &Array<T>,
    random: &mut Random,
) -> Outcome<(&'static str, Tensor, Array<T>)> {
    let rank = array.shape.len();
    let below = |random: &mut Random, bound: usize| random.below(bound as u32) as usize;
    Ok(match random.below(12) {
        0..=2 => {
            let order = shapes::shuffled(rank, random);
            ("permute", tensor.permute(&order)?, array.permute(&order))
        }
        3 if rank > 0 => {
            let (first, second) = (below(random, rank), below(random, rank));
            let mut order: Vec<_> = (0..rank).collect();
            order.swap(first, second);
            ("transpose", tensor.transpose(first, second)?, array.permute(&order))
        }
        4..=6 if rank > 0 => {
            let axis = below(random, rank);
            let start = below(random, array.shape[axis] + 1);
            let len = below(random, array.shape[axis] - start + 1);
            ("narrow", tensor.narrow(axis, start, len)?, array.narrow(axis, start, len))
        }
        7 | 8 => {
            let shape = broadcast(&array.shape, random);
            ("broadcast_to", tensor.broadcast_to(&shape)?, array.broadcast_to(&shape))
        }
        9 | 10 => {
            let shape = reshaped(array.values.len(), random);
            ("reshape", tensor.reshape(&shape)?, array.reshape(&shape))
        }
        11 if random.below(2) == 0 => ("freeze", tensor.freeze()?, array.clone()),
        _ => ("contiguous", tensor.contiguous()?, array.clone()),
    })
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

/// Every axis there can be, in any order, of which every one has been cut; copied as a whole.
fn six_axes(cx: &mut Context<'_>) -> Outcome {
    let shape: Vec<_> = (0..6).map(|_| cx.between(2, 5)).collect();
    let values = Array::new(&shape, |_| cx.random.bits() as i32);
    let all = Tensor::from_slice(&cx.device, &values.values, &shape)?;
    let order = shapes::shuffled(6, &mut cx.random);
    let (mut tensor, mut array) = (all.permute(&order)?, values.permute(&order));
    for axis in 0..6 {
        let start = cx.between(0, array.shape[axis] - 1);
        let len = cx.between(1, array.shape[axis] - start);
        (tensor, array) = (tensor.narrow(axis, start, len)?, array.narrow(axis, start, len));
    }
    equal((&shape, &order), &tensor.contiguous()?, &array.shape, &array.values)
}

/// A view of an empty tensor is empty wherever it starts.
fn nothing(cx: &mut Context<'_>) -> Outcome {
    let empty = Tensor::from_slice::<f32>(&cx.device, &[], &[4, 0])?;
    let last = empty.narrow(0, 3, 1)?;
    equal::<f32>("narrow", &last, &[1, 0], &[])?;
    equal::<f32>("freeze", &last.freeze()?, &[1, 0], &[])?;
    equal::<f32>("add", &last.add(&last)?, &[1, 0], &[])
}
