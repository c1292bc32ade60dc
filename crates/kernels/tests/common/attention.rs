//! Random calls of attention: every option, views of every sort, and what a row must not notice.

use thalweg_doubles::testing::Random;
use thalweg_kernels::attention::{Params, reference};
use thalweg_kernels::heads::Heads;

/// Operands and parameters of one call.
#[derive(Clone, Debug)]
pub struct Call {
    pub params: Params,
    /// Queries, keys and values, with NaN around the elements of their views.
    pub operands: [Vec<f32>; 3],
    pub offsets: Vec<u32>,
    /// NaN, if there is none.
    pub bias: Vec<f32>,
}

impl Call {
    /// Any options, for sequences of these lengths and heads of so many columns. All steps of views are multiples of
    /// `step`.
    pub fn random(random: &mut Random, lengths: &[u32], head_dim: u32, step: u32) -> Self {
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        let (n, longest) = (offsets[lengths.len()], lengths.iter().copied().max().unwrap());
        let (kv_heads, shared) = (1 + random.below(3), 1 + random.below(2));
        let heads = kv_heads * shared;
        let scale = (1.0 + 4.0 * random.unit().abs()) / (head_dim as f32).sqrt();
        let mut params = Params { kv_heads, ..Params::new(heads, head_dim, lengths.len() as u32, scale) };
        // A window to both sides, a causal mask, both, or neither.
        let window = random.below(longest + 1);
        let choice = random.below(6);
        if choice < 3 {
            (params.before, params.after) = (window, window);
        }
        if choice % 3 == 2 {
            params.after = 0;
        }
        let mut bias = vec![f32::NAN; 2];
        if random.below(3) == 0 {
            params.reach = longest - 1 + random.below(3);
            bias = random.units((heads * (2 * params.reach + 1)) as usize).iter().map(|value| 3.0 * value).collect();
        }
        let (query, q) = view(random, n, heads, head_dim, step);
        let (key, k) = view(random, n, kv_heads, head_dim, step);
        let (value, v) = view(random, n, kv_heads, head_dim, step);
        let params = Params { query, key, value, ..params };
        Self { params, operands: [q, k, v], offsets, bias }
    }

    /// Plain attention of random values.
    pub fn plain(random: &mut Random, lengths: &[u32], heads: u32, head_dim: u32) -> Self {
        let mut offsets = vec![0];
        lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + length));
        let len = (offsets[lengths.len()] * heads * head_dim) as usize;
        let params = Params::new(heads, head_dim, lengths.len() as u32, 1.0 / (head_dim as f32).sqrt());
        Self { params, operands: [(); 3].map(|()| random.units(len)), offsets, bias: vec![f32::NAN; 2] }
    }

    /// With a value that is not finite somewhere in the queries, keys or values.
    pub fn poisoned(mut self, random: &mut Random) -> Self {
        let which = random.below(3) as usize;
        let Params { heads, kv_heads, head_dim, query, key, value, .. } = self.params;
        let view = [query, key, value][which];
        let row = random.below(self.rows());
        let head = random.below([heads, kv_heads, kv_heads][which]);
        let start = (view.offset + row * view.row_stride + head * view.head_stride) as usize;
        // An infinity times 0 would be NaN; in values alone it stays what it is.
        let poison = if which == 2 && random.below(2) == 0 { f32::INFINITY } else { f32::NAN };
        if random.below(2) == 0 {
            self.operands[which][start..start + head_dim as usize].fill(poison);
        } else {
            self.operands[which][start + random.below(head_dim) as usize] = poison;
        }
        self
    }

    /// With every value as a type holds it.
    pub fn rounded(mut self, round: impl Fn(f32) -> f32) -> Self {
        for values in self.operands.iter_mut().chain([&mut self.bias]) {
            values.iter_mut().for_each(|value| *value = round(*value));
        }
        self
    }

    pub fn rows(&self) -> u32 {
        self.offsets[self.offsets.len() - 1]
    }

    /// Elements of the result.
    pub fn elements(&self) -> usize {
        (self.rows() * self.params.heads * self.params.head_dim) as usize
    }

    pub fn expected(&self) -> Vec<f64> {
        let [query, key, value] = &self.operands;
        reference::attention(&self.params, [query, key, value], &self.offsets, &self.bias)
    }

    /// The inputs in the order of the bindings, with floats as `T`.
    pub fn bytes<T: bytemuck::Pod>(&self, of: impl Fn(f32) -> T) -> Vec<Vec<u8>> {
        let floats = |values: &[f32]| -> Vec<u8> {
            let values: Vec<T> = values.iter().map(|value| of(*value)).collect();
            bytemuck::cast_slice(&values).to_vec()
        };
        let mut inputs: Vec<_> = self.operands.iter().map(|values| floats(values)).collect();
        inputs.extend([bytemuck::cast_slice(&self.offsets).to_vec(), floats(&self.bias)]);
        inputs
    }
}

/// A view of `[n, heads, head_dim]` and what it is of: contiguous, with gaps, with a head's rows together, or with one
/// row for all. Between the elements is NaN.
pub fn view(random: &mut Random, n: u32, heads: u32, head_dim: u32, step: u32) -> (Heads, Vec<f32>) {
    let width = head_dim.next_multiple_of(step);
    let mut gap = |most: u32| random.below(most / step + 1) * step;
    let [offset, column_gap, outer_gap] = [gap(20), gap(8), gap(8)];
    let view = match random.below(8) {
        0..3 => Heads { offset: 0, ..Heads::contiguous(heads, width) },
        3 => {
            let row_stride = width + column_gap;
            Heads { offset, row_stride, head_stride: n * row_stride + outer_gap }
        }
        4 => Heads { offset, row_stride: 0, head_stride: width },
        _ => {
            let head_stride = width + column_gap;
            Heads { offset, row_stride: heads * head_stride + outer_gap, head_stride }
        }
    };
    let last = view.offset + (n - 1) * view.row_stride + (heads - 1) * view.head_stride + head_dim;
    let behind = random.below(3);
    let mut values = vec![f32::NAN; (last.next_multiple_of(step) + behind) as usize];
    for row in 0..n {
        for head in 0..heads {
            let start = (view.offset + row * view.row_stride + head * view.head_stride) as usize;
            values[start..start + head_dim as usize].copy_from_slice(&random.units(head_dim as usize));
        }
    }
    (view, values)
}
