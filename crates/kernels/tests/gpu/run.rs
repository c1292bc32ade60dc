//! The forms for GPUs on a real device, or on a driver that computes on the processor: random shapes and values,
//! against the host forms, which other tests hold to the f64 references.

use super::rig::{Last, Rig};
use bytemuck::Pod;
use half::f16;
use std::borrow::Cow;
use thalweg_doubles::testing::{Random, assert_close};
use thalweg_hal::{Groups, KernelSource, Wgsl};
use thalweg_kernels::heads::Heads;
use thalweg_kernels::linear::Activation;
use thalweg_kernels::pool::{NormalizeParams, PoolParams, Pooling};
use thalweg_kernels::reduce::Reduction;
use thalweg_kernels::{Kernels, Scalar, embedding, gated, linear, matmul, norm, pool, reduce, rotary, softmax};

/// A stored float.
pub(super) trait Float: Pod {
    const SCALAR: Scalar;
    /// How far device and host may be apart.
    const TOLERANCE: f64;
    fn of(value: f32) -> Self;
    fn value(self) -> f32;
}

impl Float for f32 {
    const SCALAR: Scalar = Scalar::F32;
    const TOLERANCE: f64 = 2e-6;
    fn of(value: f32) -> Self {
        value
    }
    fn value(self) -> f32 {
        self
    }
}

impl Float for f16 {
    const SCALAR: Scalar = Scalar::F16;
    // A step, where both round to different sides.
    const TOLERANCE: f64 = 1.1e-3;
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn value(self) -> f32 {
        self.to_f32()
    }
}

/// The kernel for these elements.
pub(super) fn form<T: Float>(kernels: &Kernels) -> &'static KernelSource {
    kernels.get(T::SCALAR).unwrap()
}

pub(super) fn floats<T: Float>(values: &[f32]) -> Vec<T> {
    values.iter().map(|value| T::of(*value)).collect()
}

fn units<T: Float>(random: &mut Random, len: usize) -> Vec<T> {
    floats(&random.units(len))
}

pub(super) fn raw<T: Pod>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

/// Device and host agree, or both fail.
#[track_caller]
pub(super) fn agree<P: Pod, T: Float>(
    rig: &mut Rig,
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    last: Last<'_, T>,
    items: u32,
) {
    agree_within(rig, source, params, inputs, last, items, T::TOLERANCE);
}

#[track_caller]
fn agree_within<P: Pod, T: Float>(
    rig: &mut Rig,
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    last: Last<'_, T>,
    items: u32,
    tolerance: f64,
) {
    let Some([device, host]) = rig.both(source, params, inputs, &last, items) else { return };
    let device: Vec<f32> = device.into_iter().map(T::value).collect();
    let host: Vec<f64> = host.into_iter().map(|value| f64::from(value.value())).collect();
    assert_close(&device, &host, tolerance);
}

/// Random offsets of some sequences, and their rows.
fn offsets(random: &mut Random, sequences: u32, longest: u32) -> (Vec<u32>, u32) {
    let mut offsets = vec![0];
    let mut end = 0;
    for _ in 0..sequences {
        end += 1 + random.below(longest);
        offsets.push(end);
    }
    (offsets, end)
}

/// A layer's form for few rows with two groups, between those that have one and four.
fn with_two_groups(source: &KernelSource) -> KernelSource {
    let mut module = source.wgsl.as_ref().unwrap().module().clone();
    assert_eq!(*module.overrides, [("GROUPS", 1.0)]);
    module.overrides = Cow::Borrowed(&[("GROUPS", 2.0)]);
    module.groups = Groups::By(|extent, params| {
        let params: linear::Params = bytemuck::pod_read_unaligned(params);
        Groups::folded(extent[0].div_ceil(16) * params.outputs.div_ceil(32))
    });
    // SAFETY: the module checks its indices, and GROUPS * PARTS is 32 for 2 groups as well.
    let wgsl = unsafe { Wgsl::unchecked(module) };
    KernelSource { name: format!("{} in pairs", source.name).into(), wgsl: Some(wgsl), ..source.clone() }
}

fn linear_agrees<T: Float>(rig: &mut Rig, kernels: &[&Kernels], pairs: &Kernels, step: u32, seed: u64) {
    let pairs = with_two_groups(form::<T>(pairs));
    let sources: Vec<&KernelSource> = kernels.iter().map(|kernels| form::<T>(kernels)).chain([&pairs]).collect();
    let mut random = Random::new(seed);
    for case in 0..90 {
        // Each number of rows up to more than two workgroups of the form between have, then any.
        let n = if case < 70 { case as u32 + 1 } else { 1 + random.below(150) };
        let most = if case % 8 == 0 { 600 } else { 200 };
        let (inputs, outputs) = ((1 + random.below(most / step)) * step, (1 + random.below(150 / step)) * step);
        let x = units::<T>(&mut random, (n * inputs) as usize);
        let weight = random.units((inputs * outputs) as usize);
        let weight = floats::<T>(&linear::pack(&weight, outputs as usize, inputs as usize));
        let bias = units::<T>(&mut random, outputs as usize);
        let activation = Activation::ALL[case % Activation::ALL.len()] as u32;
        let params = linear::Params { inputs, outputs, activation };
        // The host's sum has one accumulator: a longer one is further from the exact sum than the device's shorter
        // ones.
        let tolerance = 2.0 * T::TOLERANCE + 3e-8 * f64::from(inputs);
        for source in &sources {
            let operands = [raw(&x), raw(&weight), raw(&bias)];
            let last = Last::<T>::Out((n * outputs) as usize);
            agree_within(rig, source, &params, &operands, last, n, tolerance);
        }
    }
}

#[test]
fn linear_runs() {
    use linear::*;
    for mut rig in Rig::all() {
        let (any, wide) = ([&LINEAR, &LINEAR_FEW, &LINEAR_SOME], [&LINEAR_WIDE, &LINEAR_FEW_WIDE, &LINEAR_SOME_WIDE]);
        linear_agrees::<f32>(&mut rig, &any, &LINEAR_FEW, 1, 1);
        linear_agrees::<f32>(&mut rig, &wide, &LINEAR_FEW_WIDE, 4, 2);
        linear_agrees::<f16>(&mut rig, &any, &LINEAR_FEW, 1, 3);
        linear_agrees::<f16>(&mut rig, &wide, &LINEAR_FEW_WIDE, 4, 4);
    }
}

fn rotary_agrees<T: Float>(rig: &mut Rig, seed: u64) {
    let mut random = Random::new(seed);
    for case in 0..24 {
        let (n, heads, rows) = (1 + random.below(20), 1 + random.below(5), 1 + random.below(30));
        let turned = 2 * (1 + random.below(60));
        let head_dim = turned + random.below(5);
        let x = Heads { offset: random.below(5), row_stride: heads * head_dim + 3, head_stride: head_dim };
        let short = if case % 6 == 5 { 4 } else { 0 };
        let values = units::<T>(&mut random, (x.offset + n * x.row_stride - short) as usize);
        let table = random.units((rows * turned) as usize);
        // Now and then one past the table's end.
        let positions: Vec<u32> = (0..n).map(|_| random.below(rows + u32::from(case % 4 == 3))).collect();
        let params = rotary::Params { heads, head_dim, turned, positions: rows, x };
        let last = Last::<T>::Out((n * heads * head_dim) as usize);
        let operands = [raw(&values), raw(&table), raw(&positions)];
        agree(rig, form::<T>(&rotary::ROTARY), &params, &operands, last, n);
    }
    let x = Heads::contiguous(2, 4);
    let good = rotary::Params { heads: 2, head_dim: 4, turned: 4, positions: 3, x };
    let far = Heads { row_stride: 1 << 31, ..x };
    for params in [
        rotary::Params { heads: 0, ..good },
        rotary::Params { turned: 3, ..good },
        rotary::Params { turned: 6, ..good },
        rotary::Params { positions: 4, ..good },
        rotary::Params { x: far, ..good },
    ] {
        let (values, table) = (units::<T>(&mut random, 24), random.units(12));
        let operands = [raw(&values), raw(&table), raw(&[0u32; 3])];
        assert!(
            rig.both(form::<T>(&rotary::ROTARY), &params, &operands, &Last::<T>::Out(24), 3).is_none(),
            "{params:?}"
        );
    }
}

#[test]
fn rotary_runs() {
    for mut rig in Rig::all() {
        rotary_agrees::<f32>(&mut rig, 15);
        rotary_agrees::<f16>(&mut rig, 16);
    }
}

fn matmul_agrees<T: Float>(rig: &mut Rig, seed: u64) {
    let source = form::<T>(&matmul::MATMUL);
    let mut random = Random::new(seed);
    for case in 0..40 {
        let ([outer, inner], [m, n]) =
            ([3, 2].map(|most| 1 + random.below(most)), [50, 50].map(|most| 1 + random.below(most)));
        let batch = outer * inner;
        let k = random.below(60);
        let matrix = |rows: u32, columns: u32, turned: bool, offset: u32| matmul::Matrix {
            offset,
            batch_strides: [0, 2 * rows * columns, 0, rows * columns],
            row_stride: if turned { 1 } else { columns },
            column_stride: if turned { rows } else { 1 },
        };
        let mut a = matrix(m, k, case % 2 == 0, random.below(3));
        if case % 5 == 0 {
            a.batch_strides[case as usize / 5 % 4] = 0;
        }
        let b = matrix(k, n, case % 3 == 0, random.below(3));
        let short = u32::from(case % 7 == 6 && k > 0);
        let left = units::<T>(&mut random, (a.offset + 2 * outer * m * k - short).max(1) as usize);
        let right = units::<T>(&mut random, (b.offset + 2 * outer * k * n).max(1) as usize);
        let params = matmul::Params { batch: [1, outer, 1, inner], m, k, n, a, b };
        let last = Last::<T>::Out((batch * m * n) as usize);
        agree(rig, source, &params, &[raw(&left), raw(&right)], last, batch * m);
    }
}

#[test]
fn matmul_runs() {
    for mut rig in Rig::all() {
        matmul_agrees::<f32>(&mut rig, 21);
        matmul_agrees::<f16>(&mut rig, 22);
    }
}

/// Rows with a NaN or an infinity here and there, if `odd`.
fn rows<T: Float>(random: &mut Random, n: u32, width: u32, odd: bool) -> Vec<T> {
    let mut x = random.units((n * width) as usize);
    for value in &mut x {
        *value = match random.below(60) {
            0 if odd => f32::NAN,
            1 if odd => f32::INFINITY,
            2 if odd => f32::NEG_INFINITY,
            _ => *value * 5.0 + 1.0,
        };
    }
    if odd && random.below(2) == 0 {
        x[..width as usize].fill(f32::NEG_INFINITY);
    }
    floats(&x)
}

fn rows_agree<T: Float>(rig: &mut Rig, seed: u64) {
    let [softmax, reduce, pool] = [&softmax::SOFTMAX, &reduce::REDUCE, &pool::POOL].map(form::<T>);
    let mut random = Random::new(seed);
    for case in 0..24 {
        let (n, width) = (1 + random.below(9), 1 + random.below(500));
        let len = (n * width) as usize;
        let x = rows::<T>(&mut random, n, width, case % 3 == 2);
        let params = softmax::Params { width };
        agree(rig, softmax, &params, &[raw(&x)], Last::<T>::Out(len), n);
        for reduction in Reduction::ALL {
            let params = reduce::Params { reduction: reduction as u32, width };
            // Of values near 1: a part of a greater product may be infinite where another's is not.
            let near = |value: &T| T::of(if value.value() > 1.0 { 1.25 } else { -0.8 });
            let x = if reduction == Reduction::Product { x.iter().map(near).collect() } else { x.clone() };
            // The order of the sum is another; up to 500 values of up to 6.
            agree_within(rig, reduce, &params, &[raw(&x)], Last::<T>::Out(n as usize), n, 3.0 * T::TOLERANCE);
        }
        if width > 1 {
            let (width, activation) = (width / 2, Activation::ALL[case % Activation::ALL.len()] as u32);
            let x = units::<T>(&mut random, (2 * n * width) as usize);
            let last = Last::<T>::Out((n * width) as usize);
            agree(rig, form::<T>(&gated::GATED), &gated::Params { width, activation }, &[raw(&x)], last, n);
        }
        for least in [0, 1] {
            let params = reduce::ArgParams { least, width };
            let last = Last::<u32>::Out(n as usize);
            let [device, host] = rig.both(form::<T>(&reduce::ARG_REDUCE), &params, &[raw(&x)], &last, n).unwrap();
            assert_eq!(device, host);
        }
        let normalize = NormalizeParams { width };
        let mut short = x.clone();
        short[..width as usize].fill(T::of(if case % 2 == 0 { 0.0 } else { 1e-14 }));
        agree(rig, form::<T>(&pool::NORMALIZE), &normalize, &[raw(&short)], Last::<T>::Out(len), n);
        let residual = units::<T>(&mut random, len);
        let (weight, bias) = (units::<T>(&mut random, width as usize), units::<T>(&mut random, width as usize));
        let params = norm::Params { width, epsilon: 1e-2 };
        let tolerance = 10.0 * T::TOLERANCE;
        let operands = [raw(&x), raw(&weight), raw(&bias)];
        agree_within(rig, form::<T>(&norm::LAYER_NORM), &params, &operands, Last::<T>::Out(len), n, tolerance);
        for kernels in [&norm::LAYER_NORM_UNBIASED, &norm::RMS_NORM] {
            let operands = [raw(&x), raw(&weight)];
            agree_within(rig, form::<T>(kernels), &params, &operands, Last::<T>::Out(len), n, tolerance);
        }
        let operands = [raw(&x), raw(&residual), raw(&weight), raw(&bias)];
        agree_within(rig, form::<T>(&norm::ADD_LAYER_NORM), &params, &operands, Last::<T>::Out(len), n, tolerance);

        let sequences = 1 + random.below(n);
        let (offsets, rows_of_all) = offsets(&mut random, sequences, 12);
        let x = rows::<T>(&mut random, rows_of_all, width, case % 3 == 2);
        let shortest = offsets.windows(2).map(|ends| ends[1] - ends[0]).min().unwrap();
        for pooling in Pooling::ALL {
            let skip = random.below(shortest);
            let params = PoolParams { pooling: pooling as u32, sequences, rows: rows_of_all, width, skip };
            let last = Last::<T>::Out((sequences * width) as usize);
            agree(rig, pool, &params, &[raw(&x), raw(&offsets)], last, sequences);
        }
    }
    let x = units::<T>(&mut random, 12);
    let none = softmax::Params { width: 0 };
    assert!(rig.both(softmax, &none, &[raw(&x)], &Last::<T>::Out(12), 3).is_none());
    let unknown = reduce::Params { reduction: 5, width: 4 };
    assert!(rig.both(reduce, &unknown, &[raw(&x)], &Last::<T>::Out(3), 3).is_none());
    for offsets in [[1, 2, 3], [0, 2, 2], [0, 3, 2], [0, 1, 4], [0, 4, 3], [0, u32::MAX, 3]] {
        let params = PoolParams { pooling: 0, sequences: 2, rows: 3, width: 4, skip: 0 };
        let last = Last::<T>::Out(8);
        assert!(rig.both(pool, &params, &[raw(&x), raw(&offsets)], &last, 2).is_none(), "{offsets:?}");
    }
    for (pooling, skip) in [(0, 1), (0, u32::MAX), (7, 0)] {
        let params = PoolParams { pooling, sequences: 2, rows: 3, width: 4, skip };
        let (last, offsets) = (Last::<T>::Out(8), [0u32, 2, 3]);
        assert!(rig.both(pool, &params, &[raw(&x), raw(&offsets)], &last, 2).is_none(), "{pooling}, {skip}");
    }
}

// audit: F2
#[test]
fn kernels_by_rows_run() {
    for mut rig in Rig::all() {
        rows_agree::<f32>(&mut rig, 31);
        rows_agree::<f16>(&mut rig, 32);
    }
}

fn embedding_agrees<T: Float>(rig: &mut Rig, seed: u64) {
    let [one, sum] = [&embedding::EMBEDDING, &embedding::EMBED_SUM].map(form::<T>);
    let mut random = Random::new(seed);
    for case in 0..24 {
        let (n, width) = (1 + random.below(20), 1 + random.below(300));
        let sizes = [50, 20, 2].map(|most| 1 + random.below(most));
        let tables = sizes.map(|rows| units::<T>(&mut random, (rows * width) as usize));
        let mut ids = sizes.map(|rows| (0..n).map(|_| random.below(rows)).collect::<Vec<_>>());
        if case % 4 == 3 {
            let which = case / 4 % 3;
            ids[which][random.below(n) as usize] = sizes[which] + random.below(2) * 1000;
        }
        let last = || Last::<T>::Out((n * width) as usize);
        // Whole, and in two parts.
        for (first, end) in [(0, sizes[0]), (0, sizes[0] / 2), (sizes[0] / 2, sizes[0])] {
            let params = embedding::Params { total: sizes[0], first, rows: end - first, width };
            let part = &tables[0][(first * width) as usize..(end * width) as usize];
            if !part.is_empty() {
                agree(rig, one, &params, &[raw(part), raw(&ids[0])], last(), n);
            }
        }
        let params = embedding::SumParams { words: sizes[0], positions: sizes[1], types: sizes[2], width };
        let operands = [0, 1, 2].map(|at| raw(&tables[at]));
        let ids = [0, 1, 2].map(|at| raw(&ids[at]));
        agree(rig, sum, &params, &[operands, ids].concat(), last(), n);
    }
}

#[test]
fn embedding_runs() {
    for mut rig in Rig::all() {
        embedding_agrees::<f32>(&mut rig, 41);
        embedding_agrees::<f16>(&mut rig, 42);
    }
}
