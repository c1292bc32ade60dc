//! The host forms with f16 for f32, against the f64 references of the widened operands.

use super::common::attention::Call;
use super::{cases, half, raw, single};
use ::half::f16;
use bytemuck::Pod;
use proptest::prelude::*;
use std::fmt::Debug;
use thalweg_doubles::testing::{Random, assert_close, run, run_in_place};
use thalweg_hal::{KernelSource, StaticKernel};
use thalweg_kernels::elementwise::{
    self, Binary, BinaryInPlaceParams, BinaryParams, CopyParams, Unary, UnaryInPlaceParams, UnaryParams, View,
};
use thalweg_kernels::heads::Heads;
use thalweg_kernels::{attention, embedding, gated, linear, matmul, norm, pool, reduce, rotary, softmax};

/// Half a step of f16, and the error of the f32 sums.
const ROUNDED: f64 = 5e-4;

/// Random f16 values, and the same as f32.
fn units(random: &mut Random, len: usize) -> (Vec<f16>, Vec<f32>) {
    let narrow: Vec<f16> = random.units(len).into_iter().map(f16::from_f32).collect();
    let wide = narrow.iter().map(|value| value.to_f32()).collect();
    (narrow, wide)
}

/// A kernel's output agrees, and has the same bits however the dispatch is split.
#[track_caller]
fn agrees<P: Pod>(
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    expected: &[f64],
    items: u32,
    random: &mut Random,
) {
    let whole: Vec<f16> = run(source, params, inputs, expected.len(), items, &[0..items]).unwrap();
    let split: Vec<f16> = run(source, params, inputs, expected.len(), items, &random.parts(items)).unwrap();
    assert_eq!(raw(&whole), raw(&split), "{}", source.name);
    let whole: Vec<f32> = whole.into_iter().map(f16::to_f32).collect();
    assert_close(&whole, expected, ROUNDED);
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn linear_agrees(seed: u64, n in 1u32..40, inputs in 1usize..80, outputs in 1usize..80) {
        let mut random = Random::new(seed);
        let ((x, wide_x), (weight, wide_weight)) =
            (units(&mut random, n as usize * inputs), units(&mut random, inputs * outputs));
        let (bias, wide_bias) = units(&mut random, outputs);
        let packed = linear::pack(&weight, outputs, inputs);
        for activation in linear::Activation::ALL {
            let expected = linear::reference::linear(&wide_x, &wide_weight, &wide_bias, inputs, activation);
            let activation = activation as u32;
            let params = linear::Params { inputs: inputs as u32, outputs: outputs as u32, activation };
            for source in [half(&linear::LINEAR), half(&linear::LINEAR_FEW), half(&linear::LINEAR_SOME)] {
                agrees(source, &params, &[raw(&x), raw(&packed), raw(&bias)], &expected, n, &mut random);
            }
        }
    }

    #[test]
    fn attention_agrees(seed: u64, lengths in prop::collection::vec(1u32..30, 1..5), head_dim in 1u32..40) {
        let mut random = Random::new(seed);
        let call = Call::random(&mut random, &lengths, head_dim, 1).rounded(|value| f16::from_f32(value).to_f32());
        let (inputs, expected) = (call.bytes(f16::from_f32), call.expected());
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        for source in [half(&attention::ATTENTION), half(&attention::ATTENTION_WIDE)] {
            agrees(source, &call.params, &inputs, &expected, call.rows(), &mut random);
        }
    }

    #[test]
    fn rows_agree(seed: u64, n in 1u32..20, width in 2usize..300) {
        let mut random = Random::new(seed);
        let (x, wide) = units(&mut random, n as usize * width);
        let (residual, wide_residual) = units(&mut random, n as usize * width);
        let ((weight, wide_weight), (bias, wide_bias)) = (units(&mut random, width), units(&mut random, width));
        let (columns, mut random) = (width as u32, random);
        let random = &mut random;
        let expected = softmax::reference::softmax(&wide, width);
        agrees(half(&softmax::SOFTMAX), &softmax::Params { width: columns }, &[raw(&x)], &expected, n, random);
        for reduction in reduce::Reduction::ALL {
            let expected = reduce::reference::reduce(&wide, width, reduction);
            if expected.iter().any(|value| value.abs() > 6e4) {
                continue;
            }
            let params = reduce::Params { reduction: reduction as u32, width: columns };
            agrees(half(&reduce::REDUCE), &params, &[raw(&x)], &expected, n, random);
        }
        for activation in linear::Activation::ALL {
            let half_row = width / 2;
            let whole = 2 * half_row * (wide.len() / (2 * half_row));
            let expected = gated::reference::gated(&wide[..whole], half_row, activation);
            let params = gated::Params { width: half_row as u32, activation: activation as u32 };
            let rows = (whole / (2 * half_row)) as u32;
            agrees(half(&gated::GATED), &params, &[raw(&x[..whole])], &expected, rows, random);
        }
        let (turned, positions) = (width as u32 / 2 * 2, vec![1; n as usize]);
        let table: Vec<f32> = random.units(2 * turned as usize);
        let expected = rotary::reference::rotary(&wide, &table, &positions, width, turned as usize);
        let view = Heads::contiguous(1, columns);
        let params = rotary::Params { heads: 1, head_dim: columns, turned, positions: 2, x: view };
        agrees(half(&rotary::ROTARY), &params, &[raw(&x), raw(&table), raw(&positions)], &expected, n, random);
        let expected = pool::reference::normalize(&wide, width);
        let params = pool::NormalizeParams { width: columns };
        agrees(half(&pool::NORMALIZE), &params, &[raw(&x)], &expected, n, random);
        let params = norm::Params { width: columns, epsilon: 1e-2 };
        let expected = norm::reference::layer_norm(&wide, &wide_weight, &wide_bias, params.epsilon);
        agrees(half(&norm::LAYER_NORM), &params, &[raw(&x), raw(&weight), raw(&bias)], &expected, n, random);
        let expected = norm::reference::rms_norm(&wide, &wide_weight, params.epsilon);
        agrees(half(&norm::RMS_NORM), &params, &[raw(&x), raw(&weight)], &expected, n, random);
        let expected =
            norm::reference::add_layer_norm(&wide, &wide_residual, &wide_weight, &wide_bias, params.epsilon);
        let operands = [raw(&x), raw(&residual), raw(&weight), raw(&bias)];
        agrees(half(&norm::ADD_LAYER_NORM), &params, &operands, &expected, n, random);
        let offsets = [0, n];
        for pooling in pool::Pooling::ALL {
            let skip = random.below(n);
            let expected = pool::reference::pool(&wide, &offsets, width, skip, pooling);
            let params = pool::PoolParams { pooling: pooling as u32, sequences: 1, rows: n, width: columns, skip };
            agrees(half(&pool::POOL), &params, &[raw(&x), raw(&offsets)], &expected, 1, random);
        }
        let ids: Vec<u32> = (0..7).map(|_| random.below(n)).collect();
        let expected = embedding::reference::embedding(&wide, width, &ids);
        let params = embedding::Params { total: n, first: 0, rows: n, width: columns };
        agrees(half(&embedding::EMBEDDING), &params, &[raw(&x), raw(&ids)], &expected, 7, random);
        let expected = embedding::reference::embed_sum(&[(&wide, &ids), (&wide_residual, &ids), (&wide, &ids)], width);
        let params = embedding::SumParams { words: n, positions: n, types: n, width: columns };
        let operands = [raw(&x), raw(&residual), raw(&x), raw(&ids), raw(&ids), raw(&ids)];
        agrees(half(&embedding::EMBED_SUM), &params, &operands, &expected, 7, random);
    }

    #[test]
    fn matmul_agrees(seed: u64, batch in 1u32..4, m in 1u32..20, k in 1u32..30, n in 1u32..20) {
        let mut random = Random::new(seed);
        let matrix = |rows: u32, columns: u32| matmul::Matrix {
            offset: 0,
            batch_strides: [0, 0, 0, rows * columns],
            row_stride: columns,
            column_stride: 1,
        };
        let (a, wide_a) = units(&mut random, (batch * m * k) as usize);
        let (b, wide_b) = units(&mut random, (batch * k * n) as usize);
        let params = matmul::Params { batch: [1, 1, 1, batch], m, k, n, a: matrix(m, k), b: matrix(k, n) };
        let expected = matmul::reference::matmul(&params, &wide_a, &wide_b);
        agrees(half(&matmul::MATMUL), &params, &[raw(&a), raw(&b)], &expected, batch * m, &mut random);
    }

    #[test]
    fn elementwise_agrees(seed: u64, n in 1u32..600, first in 0u32..9) {
        let mut random = Random::new(seed);
        let ((a, wide_a), (b, wide_b)) = (units(&mut random, n as usize), units(&mut random, n as usize));
        let shape = [1, 1, 1, 1, 1, n];
        let view = View::contiguous(shape);
        for operation in Binary::ALL {
            // What is too large for f16 is infinite there, and close to its greatest number not worth a comparison.
            let pairs = wide_a.iter().zip(&wide_b);
            let expected: Vec<f64> =
                pairs.map(|(a, b)| elementwise::reference::binary_f32(operation, *a, *b)).collect();
            if expected.iter().any(|value| value.abs() > 6e4) {
                continue;
            }
            let params = BinaryParams { operation: operation as u32, shape, a: view, b: view };
            agrees(half(&elementwise::BINARY), &params, &[raw(&a), raw(&b)], &expected, n, &mut random);
            let target = [&vec![f16::NAN; first as usize], &a[..], &[f16::MAX]].concat();
            let params = BinaryInPlaceParams { operation: operation as u32, first, shape, b: view };
            let parts = random.parts(first + n + 1);
            let source = half(&elementwise::BINARY_IN_PLACE);
            in_place_agrees(&run_in_place(source, &params, &[raw(&b)], &target, &parts).unwrap(), first, &expected);
        }
        for operation in Unary::ALL {
            let expected: Vec<f64> =
                wide_a.iter().map(|v| elementwise::reference::unary(operation, *v)).collect();
            if expected.iter().any(|value| value.abs() > 6e4) {
                continue;
            }
            let params = UnaryParams { operation: operation as u32, shape, from: view };
            agrees(half(&elementwise::UNARY), &params, &[raw(&a)], &expected, n, &mut random);
            let target = [&vec![f16::NAN; first as usize], &a[..], &[f16::MAX]].concat();
            let params = UnaryInPlaceParams { operation: operation as u32, first, elements: n };
            let parts = random.parts(first + n + 1);
            let source = half(&elementwise::UNARY_IN_PLACE);
            in_place_agrees(&run_in_place(source, &params, &[], &target, &parts).unwrap(), first, &expected);
        }
        let params = CopyParams { shape, from: view };
        let exact: Vec<f64> = wide_a.iter().map(|value| f64::from(*value)).collect();
        agrees(half(&elementwise::COPY), &params, &[raw(&a)], &exact, n, &mut random);
        agrees(half(&elementwise::CAST_FROM_F32), &params, &[raw(&wide_a)], &exact, n, &mut random);
        let back: Vec<f32> = run(single(&elementwise::CAST_FROM_F16), &params, &[raw(&a)], n as usize, n, &[0..n]).unwrap();
        prop_assert_eq!(back, wide_a);
    }
}

/// The changed elements agree, and the ones around them are as they were.
#[track_caller]
fn in_place_agrees(target: &[f16], first: u32, expected: &[f64]) {
    let (before, rest) = target.split_at(first as usize);
    let (changed, behind) = rest.split_at(expected.len());
    assert!(before.iter().all(|value| value.to_bits() == f16::NAN.to_bits()));
    assert_eq!(behind, [f16::MAX]);
    let changed: Vec<f32> = changed.iter().map(|value| value.to_f32()).collect();
    assert_close(&changed, expected, ROUNDED);
}

#[test]
fn f16_casts_round_to_the_nearest() {
    let shape = [1, 1, 1, 1, 1, 5];
    let from = [1.0 + 1.5 / 1024.0, 65519.0, 65520.0, f32::NAN, -1e-8];
    let params = CopyParams { shape, from: View::contiguous(shape) };
    let out: Vec<f16> = run(half(&elementwise::CAST_FROM_F32), &params, &[raw(&from)], 5, 5, &[0..5]).unwrap();
    assert_eq!(out[0].to_bits(), 0x3c02, "ties go to even");
    assert_eq!(out[1], f16::MAX);
    assert_eq!(out[2], f16::INFINITY);
    assert!(out[3].is_nan());
    assert_eq!(out[4].to_bits(), 0x8000);
}

#[test]
fn the_layers_forms_have_the_same_bits_on_the_host() {
    use linear::*;
    let forms = [&LINEAR, &LINEAR_FEW, &LINEAR_FEW_WIDE, &LINEAR_SOME, &LINEAR_SOME_WIDE, &LINEAR_WIDE];
    let mut random = Random::new(61);
    let (n, inputs, outputs) = (9, 20, 40);
    let (x, bias) = (random.units(n * inputs), random.units(outputs));
    let weight = pack(&random.units(inputs * outputs), outputs, inputs);
    same_bits::<u32>(&forms.map(single), [n, inputs, outputs], [raw(&x), raw(&weight), raw(&bias)]);
    let rounded = |values: &[f32]| values.iter().copied().map(f16::from_f32).collect::<Vec<_>>();
    let (x, weight, bias) = (rounded(&x), rounded(&weight), rounded(&bias));
    same_bits::<u16>(&forms.map(half), [n, inputs, outputs], [raw(&x), raw(&weight), raw(&bias)]);
}

/// Fails unless all forms write the same. `B` is an integer as wide as an element.
fn same_bits<B: Pod + PartialEq + Debug>(forms: &[&StaticKernel], shape: [usize; 3], operands: [&[u8]; 3]) {
    let [n, inputs, outputs] = shape;
    let params = linear::Params { inputs: inputs as u32, outputs: outputs as u32, activation: 1 };
    let out = |source| run::<_, B>(source, &params, &operands, n * outputs, n as u32, &[0..n as u32]).unwrap();
    let expected = out(forms[0]);
    for source in forms {
        assert_eq!(out(source), expected, "{}", source.name);
    }
}
