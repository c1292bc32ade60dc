//! General matrix products.

use super::dispatch;
use super::kernels::kernel;
use crate::layout::{Axes, Layout, broadcast};
use crate::{Error, Result, Tensor};
use thalweg_kernels::matmul::{LEADING, MATMUL, Matrix, Params};

impl Tensor {
    /// The matrix product of `[.., m, k]` and `[.., k, n]`, both f32 or both f16: `[.., m, n]`. Leading axes broadcast,
    /// as NumPy's `matmul` has it: equal, or 1, or missing in one of the two. Operands may be any views, and are not
    /// copied. For weights that are used again and again, [`linear`](Self::linear) is faster.
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
        let fits = match other.shape() {
            [others @ .., rows, n] if rows == k => {
                broadcast("matmul", "the second operand", leading, others).ok().map(|leading| (leading, *n))
            }
            _ => None,
        };
        let Some((batch, n)) = fits else {
            let expected = format!("axes that broadcast with {leading:?}, followed by [{k}, columns]");
            let given = other.shape().to_vec();
            return Err(Error::Shape { operation: "matmul", what: "the second operand", given, expected });
        };
        let mut shape = batch.clone();
        shape.extend([*m, n]);
        let layout = Layout::contiguous("matmul", &shape)?;
        if *k == 0 {
            return Self::filled(self.device(), layout, self.dtype, 0);
        }
        let (a, b) = (self.matrix(&batch)?, other.matrix(&batch)?);
        let mut lengths = [1; LEADING];
        // Within u32, by the operands' layouts.
        let count = |n: usize| n as u32;
        lengths[LEADING - batch.len()..].iter_mut().zip(&batch).for_each(|(to, from)| *to = count(*from));
        let params = Params { batch: lengths, m: count(*m), k: count(*k), n: count(n), a, b };
        let items = batch.iter().product::<usize>() * m;
        dispatch(source, &[self.whole(), other.whole()], self.device(), (layout, self.dtype), &params, items)
    }

    /// Where the elements of a batch of matrices lie, if the leading axes are repeated to these.
    fn matrix(&self, batch: &[usize]) -> Result<Matrix> {
        let Layout { shape, strides, offset } = &self.layout;
        let own = shape.len() - 2;
        // Those alone: with the others there may be more elements than a tensor has.
        let leading =
            Layout { shape: Axes::from_slice(&shape[..own]), strides: strides[..own].into(), offset: *offset };
        let view = leading.broadcast_to("matmul", "an operand", batch)?.view();
        let [.., a, b, c, d] = view.strides;
        let [row_stride, column_stride] = [strides[own], strides[own + 1]].map(|stride| stride as u32);
        Ok(Matrix { offset: view.offset, batch_strides: [a, b, c, d], row_stride, column_stride })
    }
}
