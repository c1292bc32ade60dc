//! General matrix products.

use super::dispatch;
use super::kernels::kernel;
use crate::layout::{Axes, Layout};
use crate::{Error, Result, Tensor};
use thalweg_kernels::matmul::{MATMUL, Matrix, Params};

impl Tensor {
    /// The matrix product of `[.., m, k]` and `[.., k, n]`, both f32 or both f16, with the same leading axes:
    /// `[.., m, n]`. Operands may be views; more than one leading axis is merged, by a copy if it must be. For weights
    /// that are used again and again, [`linear`](Self::linear) is faster.
    ///
    /// # Errors
    /// If the tensors are of another type or of two, or the shapes do not match.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        let source = kernel(&MATMUL, self.dtype, "matmul", "the first operand")?;
        other.expect_dtype("matmul", "the second operand", self.dtype)?;
        let [leading @ .., m, k] = self.shape() else {
            let (given, expected) = (self.shape().to_vec(), "at least two axes".to_owned());
            return Err(Error::Shape { operation: "matmul", what: "the first operand", given, expected });
        };
        let expected_leading = leading;
        let n = match other.shape() {
            [leading @ .., rows, n] if leading == expected_leading && rows == k => *n,
            given => {
                let expected = format!("{leading:?} followed by [{k}, columns]");
                return Err(Error::Shape {
                    operation: "matmul",
                    what: "the second operand",
                    given: given.to_vec(),
                    expected,
                });
            }
        };
        let mut shape = Axes::from_slice(leading);
        shape.extend([*m, n]);
        let layout = Layout::contiguous("matmul", &shape)?;
        let batch: usize = leading.iter().product();
        let (a, b) = (self.merged([batch, *m, *k])?, other.merged([batch, *k, n])?);
        let count = |n: usize| n as u32; // within u32, by the operands' layouts
        let (a_at, b_at) = (a.matrix(), b.matrix());
        let params = Params { batch: count(batch), m: count(*m), k: count(*k), n: count(n), a: a_at, b: b_at };
        if *k == 0 {
            return Self::filled(self.device(), layout, self.dtype, 0);
        }
        dispatch(source, &[a.whole(), b.whole()], self.device(), (layout, self.dtype), &params, batch * m)
    }

    /// This as three axes: the leading ones are merged.
    fn merged(&self, shape: [usize; 3]) -> Result<Self> {
        match self.shape().len() {
            3 => Ok(self.clone()),
            2 => self.broadcast_to(&shape),
            _ => self.reshape(&shape),
        }
    }

    /// Where the elements of a tensor of three axes lie.
    fn matrix(&self) -> Matrix {
        let view = self.layout.view();
        let [.., batch_stride, row_stride, column_stride] = view.strides;
        Matrix { offset: view.offset, batch_stride, row_stride, column_stride }
    }
}
