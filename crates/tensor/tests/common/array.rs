//! Arrays on the host, indexed one element at a time: what views and operators are compared with.

use proptest::prelude::*;

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    pub shape: Vec<usize>,
    pub values: Vec<T>,
}

/// Every index of a shape, the last axis fastest.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |outer, axis| {
        outer.iter().flat_map(|index| (0..*axis).map(move |last| [&index[..], &[last]].concat())).collect()
    })
}

impl<T: Copy> Array<T> {
    pub fn new(shape: &[usize], mut value: impl FnMut(usize) -> T) -> Self {
        let values = (0..shape.iter().product()).map(&mut value).collect();
        Self { shape: shape.to_vec(), values }
    }

    pub fn from_indices(shape: &[usize], value: impl Fn(&[usize]) -> T) -> Self {
        Self { shape: shape.to_vec(), values: indices(shape).iter().map(|index| value(index)).collect() }
    }

    pub fn at(&self, index: &[usize]) -> T {
        assert_eq!(index.len(), self.shape.len());
        self.values[index.iter().zip(&self.shape).fold(0, |at, (i, length)| at * length + i)]
    }

    pub fn permute(&self, order: &[usize]) -> Self {
        let shape: Vec<_> = order.iter().map(|axis| self.shape[*axis]).collect();
        Self::from_indices(&shape, |index| {
            let mut own = vec![0; order.len()];
            order.iter().zip(index).for_each(|(axis, i)| own[*axis] = *i);
            self.at(&own)
        })
    }

    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        Self::from_indices(&shape, |index| {
            let mut own = index.to_vec();
            own[axis] += start;
            self.at(&own)
        })
    }

    pub fn reshape(&self, shape: &[usize]) -> Self {
        assert_eq!(self.values.len(), shape.iter().product());
        Self { shape: shape.to_vec(), values: self.values.clone() }
    }

    /// From the innermost axis on; an axis of length 1 is repeated.
    pub fn broadcast_to(&self, shape: &[usize]) -> Self {
        let missing = shape.len() - self.shape.len();
        Self::from_indices(shape, |index| {
            let own: Vec<_> =
                index[missing..].iter().zip(&self.shape).map(|(i, length)| if *length == 1 { 0 } else { *i }).collect();
            self.at(&own)
        })
    }
}

/// Shapes of 0 to 6 axes, some of length 0 and many of length 1, of at most `most` elements.
pub fn shapes(most: usize) -> impl Strategy<Value = Vec<usize>> {
    let axis = prop_oneof![1 => Just(0), 6 => Just(1), 20 => 2..=6usize, 3 => 7..=300usize];
    proptest::collection::vec(axis, 0..=6).prop_map(move |mut shape| {
        let mut elements = 1;
        for axis in &mut shape {
            if elements * (*axis).max(1) > most {
                *axis = 1;
            }
            elements *= (*axis).max(1);
        }
        shape
    })
}
