//! The product in f64.

use super::Params;

/// `out[batch.., m, n]`. Panics if the parameters reach outside of an operand.
pub fn matmul(params: &Params, a: &[f32], b: &[f32]) -> Vec<f64> {
    let element = |data: &[f32], matrix: &super::Matrix, i: u32, r: u32, c: u32| {
        let (mut at, mut rest) = (matrix.offset + r * matrix.row_stride + c * matrix.column_stride, i);
        for axis in (0..super::LEADING).rev() {
            at += rest % params.batch[axis] * matrix.batch_strides[axis];
            rest /= params.batch[axis];
        }
        f64::from(data[at as usize])
    };
    let mut out = Vec::new();
    for i in 0..params.batch.iter().product() {
        for r in 0..params.m {
            for c in 0..params.n {
                let products = (0..params.k).map(|k| element(a, &params.a, i, r, k) * element(b, &params.b, i, k, c));
                out.push(products.sum());
            }
        }
    }
    out
}
