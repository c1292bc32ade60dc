//! As `run`, for operations on each element for itself.

use super::rig::{Last, Rig};
use super::run::{Float, agree, floats, form, raw};
use bytemuck::Pod;
use half::f16;
use thalweg_doubles::testing::Random;
use thalweg_kernels::Scalar;
use thalweg_kernels::elementwise::{
    BINARY, BINARY_IN_PLACE, Binary, BinaryInPlaceParams, BinaryParams, CAST_FROM_F16, CAST_FROM_F32, COPY, CopyParams,
    UNARY, UNARY_IN_PLACE, Unary, UnaryInPlaceParams, UnaryParams, View,
};

/// A random shape, a view of it and the elements that the view needs.
fn view(random: &mut Random, shape: [u32; 6]) -> (View, u32) {
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

fn shape(random: &mut Random) -> [u32; 6] {
    std::array::from_fn(|_| if random.below(2) == 0 { 1 } else { 1 + random.below(8) })
}

/// Whether a call is made to fail: a view that reaches one element too far.
fn elements(random: &mut Random, len: u32) -> usize {
    if random.below(12) == 0 && len > 1 { len as usize - 1 } else { len as usize }
}

fn elementwise_agrees<T: Float>(rig: &mut Rig) {
    let [binary, binary_in_place, unary, unary_in_place] =
        [&BINARY, &BINARY_IN_PLACE, &UNARY, &UNARY_IN_PLACE].map(form::<T>);
    let mut random = Random::new(51);
    let odd = [0.0, -0.0, 1e-30, 0.5, -0.3, 0.7, 3.0, -3.0, 9.0, -9.0, 100.0, -100.0, 6e4, f32::NAN];
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
        let operation = case % 7; // 6 is unknown
        assert_eq!(Binary::ALL.len(), 6);
        let params = BinaryParams { operation, shape, a: a_view, b: b_view };
        agree(rig, binary, &params, &[raw(&a), raw(&b)], Last::<T>::Out(count as usize), count);
        let operation = case % 13; // 12 is unknown
        assert_eq!(Unary::ALL.len(), 12);
        let params = UnaryParams { operation, shape, from: a_view };
        agree(rig, unary, &params, &[raw(&a)], Last::<T>::Out(count as usize), count);

        let (first, rest) = (random.below(9), random.below(9));
        let len = first + count + rest - u32::from(case % 9 == 8 && first + rest > 0);
        let target: Vec<T> = (0..len).map(|_| T::of(value(&mut random))).collect();
        let params = BinaryInPlaceParams { operation: case % 7, first, shape, b: b_view };
        agree(rig, binary_in_place, &params, &[raw(&b)], Last::Changing(&target), len);
        let params = UnaryInPlaceParams { operation: case % 13, first, elements: count };
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
    let kernels = [&BINARY, &BINARY_IN_PLACE].map(|kernels| kernels.get(scalar).unwrap());
    let mut random = Random::new(52);
    let odd = [0, 1, u32::MAX, 1 << 31, (1 << 31) - 1, 7];
    for case in 0..36 {
        let n = 1 + random.below(600);
        let shape = [1, 1, 1, 1, 1, n];
        let some = |random: &mut Random, zero: bool| {
            let value = if random.below(2) == 0 { odd[random.below(6) as usize] } else { random.bits() as u32 };
            of(if value == 0 && !zero { 3 } else { value })
        };
        let a: Vec<T> = (0..n).map(|_| some(&mut random, true)).collect();
        let b: Vec<T> = (0..n).map(|_| some(&mut random, case % 4 == 0)).collect();
        let (operation, view) = (case % 6, View::contiguous(shape));
        let params = BinaryParams { operation, shape, a: view, b: view };
        let out = rig.both(kernels[0], &params, &[raw(&a), raw(&b)], &Last::<T>::Out(n as usize), n);
        if let Some([device, host]) = out {
            assert_eq!(device, host, "operation {operation}");
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
