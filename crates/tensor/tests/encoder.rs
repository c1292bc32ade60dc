//! The encoder's operators on the host: the same bits for a sequence alone and in any batch.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::Array;
use common::{Random, check, disguised};
use proptest::prelude::*;
use thalweg_doubles::testing::bits;
use thalweg_runtime::Device;
use thalweg_tensor::{Activation, AttentionOptions, PackedMatrix, Pooling, Tensor};

/// Values in -1..1.
fn units(device: &Device, shape: &[usize], random: &mut Random) -> Tensor {
    let array = Array::new(shape, |_| random.unit());
    disguised(device, &array, random.bits())
}

/// Where each sequence starts, and how many rows there are.
fn offsets(lengths: &[usize]) -> (Vec<u32>, usize) {
    let mut offsets = vec![0];
    lengths.iter().for_each(|length| offsets.push(offsets[offsets.len() - 1] + *length as u32));
    let rows = offsets[lengths.len()] as usize;
    (offsets, rows)
}

/// A layer of an encoder: every operator that a batch goes through.
struct Layer {
    heads: usize,
    options: AttentionOptions,
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
        let mut vector = |len: usize| units(device, &[len], random);
        let biases = [vector(3 * width), vector(4 * width), vector(width)];
        let norm = [vector(width), vector(width)];
        let mut options = AttentionOptions::new().causal(random.below(2) == 0);
        if random.below(2) == 0 {
            options = options.window(random.below(40) as usize);
        }
        if random.below(2) == 0 {
            options = options.relative_bias(&units(device, &[heads, 2 * 300 + 1], random));
        }
        Self { heads, options, joined, up, down, biases, norm }
    }

    /// The rows after the layer, and each sequence's pooled row.
    fn run(&self, x: &[f32], lengths: &[usize]) -> [Vec<u32>; 2] {
        let (starts, n) = offsets(lengths);
        let device = self.norm[0].device();
        let x = Tensor::from_slice(device, x, &[n, self.up.inputs()]).unwrap();
        let offsets = Tensor::from_slice(device, &starts, &[starts.len()]).unwrap();
        let joined = x.linear(&self.joined, &self.biases[0], Activation::None).unwrap();
        let width = self.up.inputs();
        let part = |at: usize| {
            joined.narrow(1, at * width, width).unwrap().reshape(&[n, self.heads, width / self.heads]).unwrap()
        };
        let attended = part(0).attention(&part(1), &part(2), &offsets, &self.options).unwrap();
        let x = attended.add_layer_norm(&x, &self.norm[0], &self.norm[1], 1e-12).unwrap();
        let inner = x.linear(&self.up, &self.biases[1], Activation::Gelu).unwrap();
        let outer = inner.linear(&self.down, &self.biases[2], Activation::None).unwrap();
        let x = outer.layer_norm(&self.norm[0], &self.norm[1], 1e-12).unwrap();
        let pooled = x.pool(&offsets, Pooling::Mean).unwrap().normalize().unwrap();
        [x, pooled].map(|tensor| bits(&tensor.to_vec::<f32>().unwrap()))
    }
}

// audit: C27
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
