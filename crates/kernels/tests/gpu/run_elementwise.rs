//! As `run`, for operations on each element for itself.

use super::rig::{Last, Rig};
use super::run::{Float, agree, floats, form, raw};
use bytemuck::Pod;
use half::f16;
use thalweg_doubles::testing::Random;
use thalweg_kernels::Scalar;
use thalweg_kernels::elementwise::{
    BINARY, BINARY_IN_PLACE, BINARY_SCALAR, Binary, BinaryInPlaceParams, BinaryParams, CAST_FROM_F16, CAST_FROM_F32,
    CAST_FROM_I32, CAST_FROM_U32, COMPARE, COMPARE_SCALAR, COPY, Comparison, CopyParams, SELECT, ScalarParams,
    SelectParams, UNARY, UNARY_IN_PLACE, Unary, UnaryInPlaceParams, UnaryParams, View,
};

/// A random shape, a view of it and the elements that the view needs.
pub(super) fn view(random: &mut Random, shape: [u32; 6]) -> (View, u32) {
    let mut view = View { offset: random.below(5), strides: [0; 6] };
    let mut stride = 1 + random.below(2);
    let mut axes = [0, 1, 2, 3, 4, 5];
    if random.below(2) == 0 {
        axes.swap(random.below(6) as usize, random.below(6) as usize);
    }
    for axis in axes.into_iter().rev() {
        if random.below(5) > 0 {
            view.strides[axis] = stride;
            stride *= shape[axis];
        }
    }
    let reach: u32 = shape.iter().zip(view.strides).map(|(length, stride)| (length - 1) * stride).sum();
    (view, view.offset + reach + 1)
}

pub(super) fn shape(random: &mut Random) -> [u32; 6] {
    std::array::from_fn(|_| if random.below(2) == 0 { 1 } else { 1 + random.below(8) })
}

/// Whether a call is made to fail: a view that reaches one element too far.
pub(super) fn elements(random: &mut Random, len: u32) -> usize {
    if random.below(12) == 0 && len > 1 { len as usize - 1 } else { len as usize }
}

fn elementwise_agrees<T: Float>(rig: &mut Rig) {
    let [binary, with_scalar, binary_in_place, unary, unary_in_place] =
        [&BINARY, &BINARY_SCALAR, &BINARY_IN_PLACE, &UNARY, &UNARY_IN_PLACE].map(form::<T>);
    let mut random = Random::new(51);
    let odd = [0.0, -0.0, 1e-30, 0.5, -0.3, 0.7, 3.0, -3.0, 9.0, -9.0, 100.0, -100.0, 6e4, f32::NAN, 1.0, -1.0, 5e5];
    for case in 0..60 {
        let shape = shape(&mut random);
        let count: u32 = shape.iter().product();
        let (a_view, a_len) = view(&mut random, shape);
        let (b_view, b_len) = view(&mut random, shape);
        let (a_len, b_len) = (elements(&mut random, a_len), elements(&mut random, b_len));
        let value = |random: &mut Random| match random.below(3) {
            0 => odd[random.below(odd.len() as u32) as usize],
            _ => random.unit() * 4.0,
        };
        let a: Vec<T> = (0..a_len).map(|_| T::of(value(&mut random))).collect();
        let b: Vec<T> = (0..b_len).map(|_| T::of(value(&mut random))).collect();
        // One of the numbers is unknown.
        let binary_operation = case % (1 + Binary::ALL.len() as u32);
        let unary_operation = case % (1 + Unary::ALL.len() as u32);
        let params = BinaryParams { operation: binary_operation, shape, a: a_view, b: b_view };
        agree(rig, binary, &params, &[raw(&a), raw(&b)], Last::<T>::Out(count as usize), count);
        let scalar = value(&mut random).to_bits();
        let params = ScalarParams { operation: binary_operation, scalar, swapped: case % 2, shape, from: a_view };
        agree(rig, with_scalar, &params, &[raw(&a)], Last::<T>::Out(count as usize), count);
        let params = UnaryParams { operation: unary_operation, shape, from: a_view };
        agree(rig, unary, &params, &[raw(&a)], Last::<T>::Out(count as usize), count);

        let (first, rest) = (random.below(9), random.below(9));
        let len = first + count + rest - u32::from(case % 9 == 8 && first + rest > 0);
        let target: Vec<T> = (0..len).map(|_| T::of(value(&mut random))).collect();
        let params = BinaryInPlaceParams { operation: binary_operation, first, shape, b: b_view };
        agree(rig, binary_in_place, &params, &[raw(&b)], Last::Changing(&target), len);
        let params = UnaryInPlaceParams { operation: unary_operation, first, elements: count };
        agree(rig, unary_in_place, &params, &[], Last::Changing(&target), len);
    }
}

#[test]
fn elementwise_runs() {
    for mut rig in Rig::all() {
        elementwise_agrees::<f32>(&mut rig);
        elementwise_agrees::<f16>(&mut rig);
    }
}

fn integers_agree<T: Pod + Eq + std::fmt::Debug>(rig: &mut Rig, scalar: Scalar, of: impl Fn(u32) -> T) {
    let kernels = [&BINARY, &BINARY_IN_PLACE, &BINARY_SCALAR].map(|kernels| kernels.get(scalar).unwrap());
    let mut random = Random::new(52);
    let odd = [0, 1, u32::MAX, 1 << 31, (1 << 31) - 1, 7];
    for case in 0..42 {
        let n = 1 + random.below(600);
        let shape = [1, 1, 1, 1, 1, n];
        let some = |random: &mut Random, zero: bool| {
            let value = if random.below(2) == 0 { odd[random.below(6) as usize] } else { random.bits() as u32 };
            of(if value == 0 && !zero { 3 } else { value })
        };
        let a: Vec<T> = (0..n).map(|_| some(&mut random, true)).collect();
        let b: Vec<T> = (0..n).map(|_| some(&mut random, case % 4 == 0)).collect();
        let (operation, view) = (case % Binary::ALL.len() as u32, View::contiguous(shape));
        let params = BinaryParams { operation, shape, a: view, b: view };
        let out = rig.both(kernels[0], &params, &[raw(&a), raw(&b)], &Last::<T>::Out(n as usize), n);
        if let Some([device, host]) = out {
            assert_eq!(device, host, "operation {operation}");
        }
        let (scalar, swapped) = (random.bits() as u32, case / 2 % 2);
        let params = ScalarParams { operation, scalar, swapped, shape, from: view };
        if let Some([device, host]) = rig.both(kernels[2], &params, &[raw(&b)], &Last::<T>::Out(n as usize), n) {
            assert_eq!(device, host, "operation {operation} with {scalar}");
        }
        let params = BinaryInPlaceParams { operation, first: 0, shape, b: view };
        if let Some([device, host]) = rig.both(kernels[1], &params, &[raw(&b)], &Last::Changing(&a), n) {
            assert_eq!(device, host, "operation {operation} in place");
        }
    }
}

#[test]
fn integers_run() {
    for mut rig in Rig::all() {
        integers_agree::<i32>(&mut rig, Scalar::I32, |value| value as i32);
        integers_agree::<u32>(&mut rig, Scalar::U32, |value| value);
    }
}

#[test]
fn copies_run() {
    let copy = [Scalar::U32, Scalar::F16].map(|scalar| COPY.get(scalar).unwrap());
    for mut rig in Rig::all() {
        let mut random = Random::new(53);
        for _ in 0..40 {
            let shape = shape(&mut random);
            let (from, len) = view(&mut random, shape);
            let len = elements(&mut random, len);
            let (params, count) = (CopyParams { shape, from }, shape.iter().product::<u32>());
            let last = count as usize;
            let words: Vec<u32> = (0..len).map(|_| random.bits() as u32).collect();
            if let Some([device, host]) = rig.both(copy[0], &params, &[raw(&words)], &Last::<u32>::Out(last), count) {
                assert_eq!(device, host);
            }
            let halves: Vec<u16> = words.iter().map(|word| *word as u16).collect();
            if let Some([device, host]) = rig.both(copy[1], &params, &[raw(&halves)], &Last::<u16>::Out(last), count) {
                assert_eq!(device, host);
            }
            let wide = random.units(len);
            agree(&mut rig, form::<f16>(&CAST_FROM_F32), &params, &[raw(&wide)], Last::<f16>::Out(last), count);
            let narrow = floats::<f16>(&wide);
            agree(&mut rig, form::<f32>(&CAST_FROM_F16), &params, &[raw(&narrow)], Last::<f32>::Out(last), count);
        }
    }
}

/// Comparisons of few different values, so that many are equal.
fn comparisons_agree<T: Pod>(rig: &mut Rig, scalar: Scalar, of: impl Fn(u32) -> T, bits: impl Fn(T) -> u32) {
    let [pair, with_scalar] = [&COMPARE, &COMPARE_SCALAR].map(|kernels| kernels.get(scalar).unwrap());
    let mut random = Random::new(54);
    for case in 0..28 {
        let shape = shape(&mut random);
        let count = shape.iter().product::<u32>();
        let ((a_view, a_len), (b_view, b_len)) = (view(&mut random, shape), view(&mut random, shape));
        let a: Vec<T> = (0..elements(&mut random, a_len)).map(|_| of(random.below(5))).collect();
        let b: Vec<T> = (0..b_len).map(|_| of(random.below(5))).collect();
        let operation = case % (1 + Comparison::ALL.len() as u32); // the last is unknown
        let params = BinaryParams { operation, shape, a: a_view, b: b_view };
        let last = Last::<u32>::Out(count as usize);
        if let Some([device, host]) = rig.both(pair, &params, &[raw(&a), raw(&b)], &last, count) {
            assert_eq!(device, host, "comparison {operation}");
        }
        let params = ScalarParams { operation, scalar: bits(of(case % 5)), swapped: case % 2, shape, from: a_view };
        if let Some([device, host]) = rig.both(with_scalar, &params, &[raw(&a)], &last, count) {
            assert_eq!(device, host, "comparison {operation} with a number");
        }
    }
}

#[test]
fn comparisons_run() {
    let floats = [0.0, -0.0, 1.5, f32::NAN, f32::NEG_INFINITY];
    for mut rig in Rig::all() {
        comparisons_agree(&mut rig, Scalar::F32, |at| floats[at as usize], f32::to_bits);
        let half = |at: u32| f16::from_f32(floats[at as usize]);
        comparisons_agree(&mut rig, Scalar::F16, half, |value| value.to_f32().to_bits());
        comparisons_agree(&mut rig, Scalar::I32, |at| at as i32 - 2, |value| value as u32);
        comparisons_agree(&mut rig, Scalar::U32, |at| at.wrapping_sub(2), |value| value);
    }
}

fn selections_agree<T: Pod + PartialEq + std::fmt::Debug>(rig: &mut Rig, scalar: Scalar, of: impl Fn(u32) -> T) {
    let mut random = Random::new(55);
    for _ in 0..24 {
        let shape = shape(&mut random);
        let count = shape.iter().product::<u32>();
        let [(mask_view, mask_len), (a_view, a_len), (b_view, b_len)] = [(); 3].map(|()| view(&mut random, shape));
        let mask: Vec<u32> = (0..elements(&mut random, mask_len)).map(|_| random.below(3) << 30).collect();
        let a: Vec<T> = (0..elements(&mut random, a_len)).map(|_| of(random.below(1000))).collect();
        let b: Vec<T> = (0..elements(&mut random, b_len)).map(|_| of(random.below(1000))).collect();
        let params = SelectParams { shape, mask: mask_view, a: a_view, b: b_view };
        let (inputs, last) = ([raw(&mask), raw(&a), raw(&b)], Last::<T>::Out(count as usize));
        if let Some([device, host]) = rig.both(SELECT.get(scalar).unwrap(), &params, &inputs, &last, count) {
            assert_eq!(device, host);
        }
    }
}

#[test]
fn selections_run() {
    for mut rig in Rig::all() {
        selections_agree(&mut rig, Scalar::U32, |value| value);
        selections_agree(&mut rig, Scalar::F16, |value| value as u16);
    }
}

#[test]
fn casts_run() {
    let shape = [1, 1, 1, 1, 1, 500];
    let params = CopyParams { shape, from: View::contiguous(shape) };
    let odd = [0.0, -0.0, 0.9, -0.9, 2147483648.0, -2147483648.0, 4294967296.0, f32::NAN, f32::INFINITY, -1e30, 3e9];
    for mut rig in Rig::all() {
        let mut random = Random::new(56);
        let floats: Vec<f32> = (0..500)
            .map(|at| odd.get(at).copied().unwrap_or_else(|| random.unit() * [1.0, 1e5, 5e9][at % 3]))
            .collect();
        let words: Vec<u32> = (0..500).map(|_| random.bits() as u32 >> random.below(32)).collect();
        let halves: Vec<f16> = floats.iter().map(|value| f16::from_f32(*value)).collect();
        // Between any two, to the bit.
        for (kernels, from) in [
            (&CAST_FROM_F32, raw(&floats)),
            (&CAST_FROM_F16, raw(&halves)),
            (&CAST_FROM_U32, raw(&words)),
            (&CAST_FROM_I32, raw(&words)),
        ] {
            for (scalar, source) in kernels.forms() {
                if scalar == Scalar::F16 {
                    agree(&mut rig, source, &params, &[from], Last::<f16>::Out(500), 500);
                    continue;
                }
                let [device, host] = rig.both(source, &params, &[from], &Last::<u32>::Out(500), 500).unwrap();
                let nan = |bits: u32| scalar == Scalar::F32 && f32::from_bits(bits).is_nan();
                let differ = device.iter().zip(&host).position(|(a, b)| a != b && !(nan(*a) && nan(*b)));
                assert_eq!(differ, None, "{}: {device:?} {host:?}", source.name);
            }
        }
    }
}
