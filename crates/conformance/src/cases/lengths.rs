//! A thousand lengths: shapes travel in the parameters, so no length that is new compiles anything, once each form is
//! in use.

use super::case;
use crate::outcome::ensure;
use crate::{Case, Context, Outcome, shapes};
use thalweg_doubles::testing::Random;
use thalweg_runtime::Device;
use thalweg_tensor::{Activation, AttentionOptions, PackedMatrix, Pooling, Result, Tensor};

pub(super) const CASES: &[Case] = &[case("a_thousand_lengths_compile_nothing_new", 1, lengths)];

const HEADS: usize = 1;
const WIDTH: usize = 8;

/// What a batch goes through in an encoder.
struct Encoder {
    table: Tensor,
    joined: PackedMatrix,
    bias: Tensor,
    norm: Tensor,
}

impl Encoder {
    fn new(device: &Device, random: &mut Random) -> Result<Self> {
        let mut tensor = |shape: &[usize]| {
            let values: Vec<_> = (0..shape.iter().product()).map(|_| random.unit()).collect();
            Tensor::from_slice(device, &values, shape)
        };
        let (table, bias, norm) = (tensor(&[16, WIDTH])?, tensor(&[3 * WIDTH])?, tensor(&[WIDTH])?);
        let joined = PackedMatrix::new(device, &random.units(3 * WIDTH * WIDTH), 3 * WIDTH, WIDTH)?;
        Ok(Self { table, joined, bias, norm })
    }

    fn run(&self, lengths: &[usize], random: &mut Random) -> Result<Tensor> {
        let (device, starts) = (self.table.device(), shapes::offsets(lengths));
        let ids: Vec<_> = (0..lengths.iter().sum()).map(|_| random.below(16)).collect();
        let ids = Tensor::from_slice(device, &ids, &[ids.len()])?;
        let offsets = Tensor::from_slice(device, &starts, &[starts.len()])?;
        let x = Tensor::embed([&self.table; 3], [&ids; 3])?.layer_norm(&self.norm, &self.norm, 1e-5)?;
        let joined = x.linear(&self.joined, &self.bias, Activation::None)?;
        let part = |at: usize| joined.narrow(1, at * WIDTH, WIDTH)?.reshape(&[ids.elements(), HEADS, WIDTH / HEADS]);
        let attended = part(0)?.attention(&part(1)?, &part(2)?, &offsets, &AttentionOptions::new())?;
        let x = attended.add_layer_norm(&x, &self.norm, &self.norm, 1e-5)?;
        if x.shape()[0] % 8 != 1 {
            return x.pool(&offsets, Pooling::Mean)?.normalize();
        }
        // As a model's head might have it, of some lengths, for a software driver takes its time: all rows against the
        // first few.
        let few = x.narrow(0, 0, x.shape()[0].min(20))?;
        let scores = x.matmul(&few.transpose(0, 1)?)?.softmax()?;
        scores.matmul(&few)?.pool(&offsets, Pooling::Mean)?.normalize()
    }
}

fn lengths(cx: &mut Context<'_>) -> Outcome {
    let (device, counting) = cx.counted()?;
    let encoder = Encoder::new(&device, &mut cx.random)?;
    // One row, a few and the most: a dense layer has forms for few rows and for more.
    for lengths in [&[1][..], &[5, 1, 3], &[40; 25]] {
        encoder.run(lengths, &mut cx.random)?.to_vec::<f32>()?;
    }
    let warm = counting.pipelines();
    ensure!(warm > 0, "nothing was compiled at all");
    let mut last = None;
    for length in 1..=1000usize {
        let mut lengths = Vec::new();
        let mut left = length;
        while left > 0 {
            lengths.push(left.min(1 + cx.random.below(40) as usize));
            left -= lengths[lengths.len() - 1];
        }
        last = Some(encoder.run(&lengths, &mut cx.random)?);
        if length % 50 == 0 {
            // So that there is never much in flight.
            last.take().map(|tensor: Tensor| tensor.to_vec::<f32>()).transpose()?;
        }
    }
    drop(last);
    let compiled = counting.pipelines() - warm;
    ensure!(compiled == 0, "{compiled} pipelines were compiled after the {warm} of the first lengths");
    Ok(())
}
