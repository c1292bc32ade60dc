//! The product in f64.

use super::Params;

/// `out[batch, m, n]`. Panics if the parameters reach outside of an operand.
pub fn matmul(params: &Params, a: &[f32], b: &[f32]) -> Vec<f64> {
    let element = |data: &[f32], matrix: &super::Matrix, i: u32, r: u32, c: u32| {
        let at = matrix.offset + i * matrix.batch_stride + r * matrix.row_stride + c * matrix.column_stride;
        f64::from(data[at as usize])
    };
    let mut out = Vec::new();
    for i in 0..params.batch {
        for r in 0..params.m {
            for c in 0..params.n {
                let products = (0..params.k).map(|k| element(a, &params.a, i, r, k) * element(b, &params.b, i, k, c));
                out.push(products.sum());
            }
        }
    }
    out
}
