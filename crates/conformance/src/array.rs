//! Arrays on the host, indexed one element at a time: what views and operators are compared with.

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// The lengths of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The elements.
    pub values: Vec<T>,
}

/// Every index of a shape, the last axis fastest.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |outer, axis| {
        outer.iter().flat_map(|index| (0..*axis).map(move |last| [&index[..], &[last]].concat())).collect()
    })
}

impl<T: Copy> Array<T> {
    /// The elements that `value` makes of their positions.
    pub fn new(shape: &[usize], mut value: impl FnMut(usize) -> T) -> Self {
        let values = (0..shape.iter().product()).map(&mut value).collect();
        Self { shape: shape.to_vec(), values }
    }

    /// The elements that `value` makes of their indices.
    pub fn from_indices(shape: &[usize], value: impl Fn(&[usize]) -> T) -> Self {
        Self { shape: shape.to_vec(), values: indices(shape).iter().map(|index| value(index)).collect() }
    }

    /// The element at an index. Panics if there is none.
    pub fn at(&self, index: &[usize]) -> T {
        assert_eq!(index.len(), self.shape.len());
        self.values[index.iter().zip(&self.shape).fold(0, |at, (i, length)| at * length + i)]
    }

    /// As the tensor's function of the name.
    pub fn permute(&self, order: &[usize]) -> Self {
        let shape: Vec<_> = order.iter().map(|axis| self.shape[*axis]).collect();
        Self::from_indices(&shape, |index| {
            let mut own = vec![0; order.len()];
            order.iter().zip(index).for_each(|(axis, i)| own[*axis] = *i);
            self.at(&own)
        })
    }

    /// As the tensor's function of the name.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = len;
        Self::from_indices(&shape, |index| {
            let mut own = index.to_vec();
            own[axis] += start;
            self.at(&own)
        })
    }

    /// As the tensor's function of the name.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        assert_eq!(self.values.len(), shape.iter().product::<usize>());
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
