//! The same values in another place: an operator must see through the layout of these tensors.

use crate::array::Array;
use crate::shapes::shuffled;
use thalweg_doubles::testing::Random;
use thalweg_runtime::{Device, Stream};
use thalweg_tensor::{Element, Result, Tensor};

/// A tensor of these values: plain, frozen, behind others at an offset that a binding may have or may not have, inside
/// of a larger tensor, with its axes stored in another order, or several of these, as the seed decides. It is made on
/// this thread's stream or another.
///
/// # Errors
/// If there is no memory.
pub fn disguised<T: Element>(device: &Device, array: &Array<T>, seed: u64) -> Result<Tensor> {
    let random = &mut Random::new(seed);
    if random.below(4) > 0 {
        return hidden(device, array, random);
    }
    let other = Stream::new(device)?;
    other.scope(|| hidden(device, array, random))
}

fn hidden<T: Element>(device: &Device, array: &Array<T>, random: &mut Random) -> Result<Tensor> {
    let rank = array.shape.len();
    let order = match random.below(3) {
        0 => shuffled(rank, random),
        _ => (0..rank).collect(),
    };
    let stored = array.permute(&order);
    let margins: Vec<_> = match random.below(3) {
        0 => vec![(0, 0); rank],
        _ => (0..rank).map(|_| (random.below(3) as usize, random.below(3) as usize)).collect(),
    };
    let shape: Vec<_> = stored.shape.iter().zip(&margins).map(|(n, (before, after))| before + n + after).collect();
    // What surrounds the values is zero: an operator that reads it computes something else.
    let outer = Array::from_indices(&shape, |index| {
        let own: Option<Vec<_>> = index.iter().zip(&margins).map(|(i, (before, _))| i.checked_sub(*before)).collect();
        let inside = own.filter(|own| own.iter().zip(&stored.shape).all(|(i, n)| i < n));
        inside.map_or(T::zeroed(), |own| stored.at(&own))
    });
    let mut tensor = placed(device, &outer, random)?.reshape(&shape)?;
    for (axis, (before, _)) in margins.iter().enumerate() {
        tensor = tensor.narrow(axis, *before, stored.shape[axis])?;
    }
    let mut back = vec![0; rank];
    order.iter().enumerate().for_each(|(at, axis)| back[*axis] = at);
    let tensor = tensor.permute(&back)?;
    assert_eq!(tensor.shape(), array.shape);
    Ok(tensor)
}

/// The values on one axis.
fn placed<T: Element>(device: &Device, array: &Array<T>, random: &mut Random) -> Result<Tensor> {
    let elements = array.values.len();
    // In elements: bindings start at multiples of 64.
    let before = [0, 64, 128, random.below(200) as usize][random.below(4) as usize];
    let values = [&vec![T::zeroed(); before][..], &array.values].concat();
    let all = match random.below(3) {
        0 => Tensor::frozen_from_slice(device, &values, &[values.len()]),
        1 => Tensor::from_slice(device, &values, &[values.len()]),
        // Written on the device, so that reading it has to be ordered after that.
        _ => Tensor::from_slice(device, &values, &[values.len(), 1])
            .and_then(|tensor| tensor.broadcast_to(&[values.len(), 2]))
            .and_then(|tensor| tensor.contiguous())
            .and_then(|tensor| tensor.narrow(1, 1, 1))
            .and_then(|tensor| tensor.reshape(&[values.len()])),
    };
    all?.narrow(0, before, elements)
}
