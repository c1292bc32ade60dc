//! The encoder's operators on random packed batches against f64, on every device; and the same bits for a sequence alone
//! and in any batch.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::disguise::disguised;
use common::{ROUNDING, Random, assert_within, check};
use proptest::prelude::*;
use thalweg_kernels::testing::bits;
use thalweg_kernels::{attention, embedding, linear, pool};
use thalweg_runtime::Device;
use thalweg_tensor::{Activation, PackedMatrix, Pooling, Tensor};

/// An array of values in -1..1, and the tensor.
fn units(device: &Device, shape: &[usize], random: &mut Random) -> (Vec<f32>, Tensor) {
    let array = Array::new(shape, |_| random.unit());
    let tensor = disguised(device, &array, random.bits());
    (array.values, tensor)
}

/// A list of indices, and the tensor.
fn list(device: &Device, values: Vec<u32>, random: &mut Random) -> (Vec<u32>, Tensor) {
    let array = Array { shape: vec![values.len()], values };
    let tensor = disguised(device, &array, random.bits());
    (array.values, tensor)
}

/// Lengths of sequences; where each starts, and how many rows there are.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![3 => 1..=6usize, 1 => 7..=70usize], 0..=6)
}

fn offsets(lengths: &[usize]) -> (Vec<u32>, usize) {
    let mut offsets = vec![0];
    lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + *length as u32));
    let rows = offsets[lengths.len()] as usize;
    (offsets, rows)
}

#[test]
fn the_sum_of_three_embeddings() {
    let tables = [1..50u32, 1..50u32, 1..5u32];
    check(file!(), 100, (tables, 0..80usize, 1..100usize, any::<u64>()), |device, (rows, n, width, seed)| {
        let random = &mut Random::new(*seed);
        let tables = rows.map(|rows| units(device, &[rows as usize, *width], random));
        let ids = rows.map(|rows| (0..*n).map(|_| random.below(rows)).collect::<Vec<_>>());
        let ids = ids.map(|ids| list(device, ids, random));
        let result =
            Tensor::embed([&tables[0].1, &tables[1].1, &tables[2].1], [&ids[0].1, &ids[1].1, &ids[2].1]).unwrap();
        assert_eq!(result.shape(), [*n, *width]);
        let pairs: Vec<_> = tables.iter().zip(&ids).map(|(table, ids)| (&table.0[..], &ids.0[..])).collect();
        // Two roundings, of sums of at most 2 and 3.
        let expected = embedding::reference::embed_sum(&pairs, *width);
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, |_| 5.0 * ROUNDING);
    });
}

#[test]
fn dense_layers() {
    check(file!(), 100, (0..40usize, 1..150usize, 1..100usize, any::<u64>()), |device, (n, inputs, outputs, seed)| {
        let random = &mut Random::new(*seed);
        let (x, input) = units(device, &[*n, *inputs], random);
        let weight = random.units(outputs * inputs);
        let packed = PackedMatrix::new(device, &weight, *outputs, *inputs).unwrap();
        assert_eq!((packed.outputs(), packed.inputs()), (*outputs, *inputs));
        let (biases, bias) = units(device, &[*outputs], random);
        for activation in Activation::ALL {
            let result = input.linear(&packed, &bias, activation).unwrap();
            assert_eq!(result.shape(), [*n, *outputs]);
            let expected = linear::reference::linear(&x, &weight, &biases, *inputs, activation);
            let magnitudes: Vec<f64> = (0..n * outputs)
                .map(|at| {
                    let (row, column) = (&x[at / outputs * inputs..], &weight[at % outputs * inputs..]);
                    let products = row.iter().zip(column).take(*inputs).map(|(x, w)| f64::from((x * w).abs()));
                    products.sum::<f64>() + f64::from(biases[at % outputs].abs())
                })
                .collect();
            // A rounding for each term, of the sum of the magnitudes (Higham, section 3.1); no activation is steeper than
            // 1.2, and each is itself within a few units in the last place.
            let tolerance = |at: usize| {
                let sum = 1.2 * (*inputs as f64 + 2.0) * ROUNDING * magnitudes[at];
                sum + 16.0 * ROUNDING * expected[at].abs().max(1.0)
            };
            assert_within(&result.to_vec::<f32>().unwrap(), &expected, tolerance);
        }
    });
}

#[test]
fn attention_of_packed_sequences() {
    check(file!(), 100, (lengths(), 1..=4usize, 1..=40usize, any::<u64>()), |device, (lengths, heads, dim, seed)| {
        let random = &mut Random::new(*seed);
        let (starts, n) = offsets(lengths);
        let width = heads * dim;
        let (qkv, input) = units(device, &[n, 3 * width], random);
        let (starts, offsets) = list(device, starts, random);
        let result = input.attention(&offsets, *heads).unwrap();
        assert_eq!(result.shape(), [n, width]);
        let scale = 1.0 / (*dim as f64).sqrt();
        let expected = attention::reference::attention(&qkv, &starts, *heads, *dim, scale as f32);
        // A score is a sum of `dim` products of at most 1, off by a rounding for each, and scaled; the weights are off by
        // twice that and by a rounding for each term of their sum; the values are at most 1.
        let longest = lengths.iter().copied().max().unwrap_or(0) as f64;
        let tolerance = (2.0 * (*dim as f64).powi(2) * scale + 2.0 * longest + 32.0) * ROUNDING;
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, |_| tolerance);
    });
}

#[test]
fn pooling_of_packed_sequences() {
    check(file!(), 100, (lengths(), 1..100usize, any::<u64>()), |device, (lengths, width, seed)| {
        let random = &mut Random::new(*seed);
        let (starts, n) = offsets(lengths);
        let (x, input) = units(device, &[n, *width], random);
        let (starts, offsets) = list(device, starts, random);
        for pooling in Pooling::ALL {
            let result = input.pool(&offsets, pooling).unwrap();
            assert_eq!(result.shape(), [lengths.len(), *width]);
            let expected = pool::reference::pool(&x, &starts, *width, pooling);
            // A mean is off by a rounding for each of its terms, which are at most 1; the others are exact.
            let tolerance = |at: usize| match pooling {
                Pooling::Mean => (lengths[at / width] as f64 + 1.0) * ROUNDING,
                _ => 0.0,
            };
            assert_within(&result.to_vec::<f32>().unwrap(), &expected, tolerance);
        }
    });
}

/// A layer of an encoder: every operator that a batch goes through.
struct Layer {
    heads: usize,
    joined: PackedMatrix,
    up: PackedMatrix,
    down: PackedMatrix,
    biases: [Tensor; 3],
    norm: [Tensor; 2],
}

impl Layer {
    fn new(device: &Device, heads: usize, dim: usize, random: &mut Random) -> Self {
        let width = heads * dim;
        let mut matrix = |outputs: usize, inputs: usize| {
            PackedMatrix::new(device, &random.units(outputs * inputs), outputs, inputs).unwrap()
        };
        let (joined, up, down) = (matrix(3 * width, width), matrix(4 * width, width), matrix(width, 4 * width));
        let mut vector = |len: usize| units(device, &[len], random).1;
        let biases = [vector(3 * width), vector(4 * width), vector(width)];
        let norm = [vector(width), vector(width)];
        Self { heads, joined, up, down, biases, norm }
    }

    /// The rows after the layer, and each sequence's pooled row.
    fn run(&self, x: &[f32], lengths: &[usize]) -> [Vec<u32>; 2] {
        let (starts, n) = offsets(lengths);
        let device = self.norm[0].device();
        let x = Tensor::from_slice(device, x, &[n, self.up.inputs()]).unwrap();
        let offsets = Tensor::from_slice(device, &starts, &[starts.len()]).unwrap();
        let joined = x.linear(&self.joined, &self.biases[0], Activation::None).unwrap();
        let attended = joined.attention(&offsets, self.heads).unwrap();
        let x = attended.add_layer_norm(&x, &self.norm[0], &self.norm[1], 1e-12).unwrap();
        let inner = x.linear(&self.up, &self.biases[1], Activation::Gelu).unwrap();
        let outer = inner.linear(&self.down, &self.biases[2], Activation::None).unwrap();
        let x = outer.layer_norm(&self.norm[0], &self.norm[1], 1e-12).unwrap();
        let pooled = x.pool(&offsets, Pooling::Mean).unwrap().normalize().unwrap();
        [x, pooled].map(|tensor| bits(&tensor.to_vec::<f32>().unwrap()))
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_in_any_batch() {
    let batch = proptest::collection::vec(prop_oneof![3 => 1..=20usize, 1 => 21..=300usize], 1..=8);
    let layer = (1..=4usize, 1..=40usize);
    // On every device: they differ in how they split and order the work.
    check(file!(), 40, (batch, layer, any::<u64>()), |device, (lengths, (heads, dim), seed)| {
        let random = &mut Random::new(*seed);
        let layer = Layer::new(device, *heads, *dim, random);
        let width = heads * dim;
        let (starts, n) = offsets(lengths);
        let x = random.units(n * width);
        let [rows, pooled] = layer.run(&x, lengths);
        for (sequence, length) in lengths.iter().enumerate() {
            let own = starts[sequence] as usize * width..starts[sequence + 1] as usize * width;
            let [alone, alone_pooled] = layer.run(&x[own.clone()], &[*length]);
            assert!(rows[own] == alone[..], "the rows of sequence {sequence} differ");
            assert!(pooled[sequence * width..][..width] == alone_pooled[..], "the pooled row of sequence {sequence}");
        }
    });
}

#[test]
fn a_batch_of_nothing_stays_nothing() {
    for bench in common::benches(Random::new(13).bits()) {
        let device = &bench.device;
        let offsets = Tensor::from_slice(device, &[0u32], &[1]).unwrap();
        let x = Tensor::zeros::<f32>(device, &[0, 6]).unwrap();
        let weight = PackedMatrix::new(device, &[1.0; 12], 2, 6).unwrap();
        let bias = Tensor::zeros::<f32>(device, &[2]).unwrap();
        let ids = Tensor::zeros::<u32>(device, &[0]).unwrap();
        for (result, shape) in [
            (x.linear(&weight, &bias, Activation::Gelu), [0, 2]),
            (x.attention(&offsets, 2), [0, 2]),
            (x.pool(&offsets, Pooling::Max), [0, 6]),
            (Tensor::embed([&x, &x, &x], [&ids, &ids, &ids]), [0, 6]),
        ] {
            let result = result.unwrap();
            assert_eq!(result.shape(), shape);
            assert_eq!(result.to_vec::<f32>().unwrap(), []);
        }
        bench.finish();
    }
}
