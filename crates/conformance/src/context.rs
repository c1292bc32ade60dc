//! What a case has at hand: a device, numbers, operands and comparisons.

use crate::array::Array;
use crate::disguise::disguised;
use crate::outcome::ensure;
use crate::{Backend, Counting, Float, Outcome};
use std::fmt::Debug;
use std::sync::Arc;
use thalweg_doubles::testing::Random;
use thalweg_runtime::{Config, Device};
use thalweg_tensor::{Element, Tensor};

/// One round of a case.
#[derive(Debug)]
pub struct Context<'a> {
    /// The device that is tested.
    pub device: Device,
    /// The numbers of this round.
    pub random: Random,
    backend: &'a Backend,
}

/// A tensor, and the values that it holds, exactly, as f32.
#[derive(Debug)]
pub struct Floats {
    /// In row-major order.
    pub values: Vec<f32>,
    /// The same, in disguise.
    pub tensor: Tensor,
}

impl<'a> Context<'a> {
    pub(crate) fn new(device: Device, random: Random, backend: &'a Backend) -> Self {
        Self { device, random, backend }
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        crate::shapes::between(&mut self.random, from, to)
    }

    /// The values that `value` makes, rounded to the type, and a tensor of them in disguise.
    pub fn floats_of<T: Float>(
        &mut self,
        shape: &[usize],
        mut value: impl FnMut(&mut Random) -> f32,
    ) -> Outcome<Floats> {
        let array = Array::new(shape, |_| T::nearest(value(&mut self.random)));
        let tensor = self.disguised(&array)?;
        Ok(Floats { values: array.values.iter().map(|value| value.widened()).collect(), tensor })
    }

    /// Values between -`scale` and `scale`.
    pub fn floats<T: Float>(&mut self, shape: &[usize], scale: f32) -> Outcome<Floats> {
        self.floats_of::<T>(shape, |random| random.unit() * scale)
    }

    /// A tensor of these values that is, perhaps, a view, frozen, or written on another stream.
    pub fn disguised<T: Element>(&mut self, array: &Array<T>) -> Outcome<Tensor> {
        Ok(disguised(&self.device, array, self.random.bits())?)
    }

    /// A list of indices, in disguise.
    pub fn list(&mut self, values: &[u32]) -> Outcome<Tensor> {
        self.disguised(&Array { shape: vec![values.len()], values: values.to_vec() })
    }

    /// Another device of the same sort, nobody else's, and the count of what it compiles.
    pub fn counted(&mut self) -> Outcome<(Device, Arc<Counting>)> {
        let counting = Counting::new(self.backend.open(self.random.bits())?);
        Ok((Device::new(counting.clone(), Config::default())?, counting))
    }
}

/// Fails unless the tensor has this shape, and each value is as far from what is expected as `tolerance` says of its
/// index, or nearer, beside what rounding it to its type adds. NaN is near NaN, and an infinity near itself.
pub fn close<T: Float>(
    what: impl Debug,
    tensor: &Tensor,
    shape: &[usize],
    expected: &[f64],
    tolerance: impl Fn(usize) -> f64,
) -> Outcome {
    let values = of_shape::<T>(&what, tensor, shape)?;
    ensure!(values.len() == expected.len(), "{what:?}: {} values, expected {}", values.len(), expected.len());
    for (index, (value, expected)) in values.iter().zip(expected).enumerate() {
        let actual = f64::from(value.widened());
        let same = actual == *expected || (actual.is_nan() && expected.is_nan());
        let allowed = tolerance(index) + T::ROUNDING * expected.abs() + T::SMALLEST;
        // What is too great for the type is an infinity of its sign.
        let overflow = [allowed, -allowed].into_iter().any(|allowed| *value == T::nearest((expected + allowed) as f32));
        let distance = (actual - expected).abs();
        ensure!(
            same || overflow || distance <= allowed,
            "{what:?}: value {index} of shape {shape:?} is {actual:e}, expected {expected:e}: {distance:e} apart, at most \
             {allowed:e}"
        );
    }
    Ok(())
}

/// Fails unless the tensor has this shape and exactly these values.
pub fn equal<T: Element + PartialEq + Debug>(
    what: impl Debug,
    tensor: &Tensor,
    shape: &[usize],
    expected: &[T],
) -> Outcome {
    let values = of_shape::<T>(&what, tensor, shape)?;
    ensure!(values.len() == expected.len(), "{what:?}: {} values, expected {}", values.len(), expected.len());
    let wrong = values.iter().zip(expected).position(|(value, expected)| value != expected);
    match wrong {
        None => Ok(()),
        Some(at) => Err(crate::Failure(format!(
            "{what:?}: value {at} of shape {shape:?} is {:?}, expected {:?}",
            values[at], expected[at]
        ))),
    }
}

fn of_shape<T: Element>(what: &impl Debug, tensor: &Tensor, shape: &[usize]) -> Outcome<Vec<T>> {
    ensure!(tensor.shape() == shape, "{what:?}: the result has shape {:?}, expected {shape:?}", tensor.shape());
    ensure!(tensor.dtype() == T::DTYPE, "{what:?}: the result is {}, expected {}", tensor.dtype(), T::DTYPE);
    Ok(tensor.to_vec::<T>()?)
}
