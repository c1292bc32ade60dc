use super::{cases, checked, failure, form, on, raw};
use bytemuck::Pod;
use half::f16;
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close, run, run_in_place};
use thalweg_hal::KernelSource;
use thalweg_kernels::elementwise::{
    BINARY, BINARY_IN_PLACE, BINARY_SCALAR, Binary, BinaryInPlaceParams, BinaryParams, CAST_FROM_F32, CAST_FROM_I32,
    CAST_FROM_U32, COMPARE, COMPARE_SCALAR, COPY, Comparison, CopyParams, SELECT, ScalarParams, SelectParams, Shape,
    UNARY, UNARY_IN_PLACE, Unary, UnaryInPlaceParams, UnaryParams, View, reference,
};
use thalweg_kernels::{Isa, Scalar};

/// A view of the shape: contiguous, or permuted, broadcast and with gaps; and the elements it needs.
pub(super) fn view(random: &mut Random, shape: Shape) -> (View, usize) {
    if random.below(3) == 0 {
        return (View::contiguous(shape), shape.iter().product::<u32>() as usize);
    }
    let mut order = [0, 1, 2, 3, 4, 5];
    if random.below(2) == 0 {
        for i in 0..6 {
            order.swap(i, i + random.below(6 - i as u32) as usize);
        }
    }
    let mut view = View { offset: random.below(9), strides: [0; 6] };
    let mut stride = if random.below(4) == 0 { 2 } else { 1 };
    for axis in order.into_iter().rev() {
        if random.below(5) > 0 {
            view.strides[axis] = stride;
            stride *= shape[axis] + u32::from(random.below(6) == 0);
        }
    }
    (view, (view.offset + stride) as usize)
}

pub(super) fn shape(random: &mut Random) -> Shape {
    std::array::from_fn(|axis| 1 + random.below([2, 2, 4, 5, 6, 30][axis]) * random.below(2))
}

fn elements(shape: Shape) -> u32 {
    shape.iter().product()
}

/// Random operands for a binary kernel, and the result of each pair by `f`.
fn binary<T: Pod, R>(
    random: &mut Random,
    operation: Binary,
    value: impl Fn(&mut Random) -> T,
    f: impl Fn(Binary, T, T) -> R,
) -> (BinaryParams, Vec<T>, Vec<T>, Vec<R>) {
    let shape = shape(random);
    let ((a_view, a_len), (b_view, b_len)) = (view(random, shape), view(random, shape));
    let a: Vec<T> = (0..a_len).map(|_| value(random)).collect();
    let b: Vec<T> = (0..b_len).map(|_| value(random)).collect();
    let pairs = reference::copy(&a, a_view, shape).into_iter().zip(reference::copy(&b, b_view, shape));
    let expected = pairs.map(|(a, b)| f(operation, a, b)).collect();
    (BinaryParams { operation: operation as u32, shape, a: a_view, b: b_view }, a, b, expected)
}

fn integers<T: Pod + std::fmt::Debug + PartialEq>(
    source: &KernelSource,
    random: &mut Random,
    params: &BinaryParams,
    a: &[T],
    b: &[T],
    expected: &[T],
) {
    let n = elements(params.shape);
    for parts in [vec![0..n], random.parts(n)] {
        let out: Vec<T> = run(source, params, &[raw(a), raw(b)], n as usize, n, &parts).unwrap();
        assert_eq!(out, expected);
    }
}

/// Any integer, but no zero, and often one of the extremes.
fn word(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => [1, 2, u32::MAX, 1 << 31, (1 << 31) - 1][random.below(5) as usize],
        _ => (random.bits() as u32).max(1),
    }
}

/// A target for an operation in place, and what it is afterwards: the elements from `first` on are in turn `f` of
/// themselves and the next of `others`. Those around them stay.
fn target<T: Copy, U: Copy>(
    random: &mut Random,
    others: &[U],
    value: impl Fn(&mut Random) -> T,
    f: impl Fn(T, U) -> T,
) -> (Vec<T>, u32, Vec<T>) {
    let first = [0, random.below(600)][random.below(2) as usize];
    let after = [0, random.below(600)][random.below(2) as usize];
    let before: Vec<T> = (0..first as usize + others.len() + after as usize).map(|_| value(random)).collect();
    let mut expected = before.clone();
    expected[first as usize..].iter_mut().zip(others).for_each(|(a, b)| *a = f(*a, *b));
    (before, first, expected)
}

/// A binary operation in place, whole and in parts, compared through `bits`.
fn binary_in_place<T: Pod>(
    scalar: Scalar,
    random: &mut Random,
    operation: Binary,
    value: impl Fn(&mut Random) -> T,
    f: impl Fn(Binary, T, T) -> T,
    bits: impl Fn(&T) -> u32,
) {
    let bits = |values: &[T]| values.iter().map(&bits).collect::<Vec<_>>();
    let shape = shape(random);
    let (view, len) = view(random, shape);
    let b: Vec<T> = (0..len).map(|_| value(random)).collect();
    let others = reference::copy(&b, view, shape);
    let (before, first, expected) = target(random, &others, &value, |a, b| f(operation, a, b));
    let params = BinaryInPlaceParams { operation: operation as u32, first, shape, b: view };
    let items = before.len() as u32;
    for source in Isa::supported().map(|isa| form(&BINARY_IN_PLACE, scalar, isa)) {
        for parts in [vec![0..items], random.parts(items)] {
            let after = run_in_place(&source, &params, &[raw(&b)], &before, &parts).unwrap();
            assert_eq!(bits(&after), bits(&expected), "{} {operation:?} in {parts:?}", source.name);
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn binary_of_f32(seed: u64, operation in prop::sample::select(Binary::ALL.to_vec())) {
        let mut random = Random::new(seed);
        let (params, a, b, expected) = binary(&mut random, operation, Random::unit, reference::binary_f32);
        let n = elements(params.shape);
        for isa in Isa::supported() {
            let out = checked(&on(&BINARY, isa), &params, &[raw(&a), raw(&b)], n as usize, n, &mut random);
            let rounded: Vec<f64> = expected.iter().map(|v| f64::from(*v as f32)).collect();
            assert_close(&out, &rounded, if operation == Binary::Pow { 2e-7 } else { 0.0 });
        }
    }

    #[test]
    fn binary_of_integers(seed: u64, operation in prop::sample::select(Binary::ALL.to_vec())) {
        let mut random = Random::new(seed);
        for isa in Isa::supported() {
            let (params, a, b, expected) = binary(&mut random, operation, |r| word(r) as i32, reference::binary_i32);
            integers(&form(&BINARY, Scalar::I32, isa), &mut random, &params, &a, &b, &expected);
            let (params, a, b, expected) = binary(&mut random, operation, word, reference::binary_u32);
            integers(&form(&BINARY, Scalar::U32, isa), &mut random, &params, &a, &b, &expected);
        }
    }

    #[test]
    fn binary_with_a_number(seed: u64, operation in prop::sample::select(Binary::ALL.to_vec()), swapped: bool) {
        let mut random = Random::new(seed);
        let shape = shape(&mut random);
        let (from, len) = view(&mut random, shape);
        let n = elements(shape);
        let params = |scalar| {
            ScalarParams { operation: operation as u32, scalar, swapped: u32::from(swapped), shape, from }
        };
        let (x, scalar) = (random.units(len), random.unit());
        let expected: Vec<f64> = reference::copy(&x, from, shape)
            .into_iter()
            .map(|x| if swapped { (scalar, x) } else { (x, scalar) })
            .map(|(a, b)| f64::from(reference::binary_f32(operation, a, b) as f32))
            .collect();
        let integers: Vec<i32> = (0..len).map(|_| word(&mut random) as i32).collect();
        let integer = word(&mut random) as i32;
        let expected_integers: Vec<i32> = reference::copy(&integers, from, shape)
            .into_iter()
            .map(|x| if swapped { (integer, x) } else { (x, integer) })
            .map(|(a, b)| reference::binary_i32(operation, a, b))
            .collect();
        for isa in Isa::supported() {
            let source = on(&BINARY_SCALAR, isa);
            let out = checked(&source, &params(scalar.to_bits()), &[raw(&x)], n as usize, n, &mut random);
            assert_close(&out, &expected, if operation == Binary::Pow { 2e-7 } else { 0.0 });
            let (source, parts) = (form(&BINARY_SCALAR, Scalar::I32, isa), random.parts(n));
            let out: Vec<i32> =
                run(&source, &params(integer as u32), &[raw(&integers)], n as usize, n, &parts).unwrap();
            prop_assert_eq!(&out, &expected_integers);
        }
    }

    #[test]
    fn comparisons(seed: u64, comparison in prop::sample::select(Comparison::ALL.to_vec())) {
        let mut random = Random::new(seed);
        // Few different values, so that many are equal; NaN among the floats.
        let float = |random: &mut Random| [0.0, -0.0, 1.0, -1.5, f32::NAN, f32::INFINITY][random.below(6) as usize];
        compared(&mut random, Scalar::F32, comparison, float, |v| v.to_bits());
        let half = |random: &mut Random| f16::from_f32([0.0, -0.0, 2.0, f32::NAN][random.below(4) as usize]);
        compared(&mut random, Scalar::F16, comparison, half, |v| v.to_f32().to_bits());
        compared(&mut random, Scalar::I32, comparison, |random| random.below(5) as i32 - 2, |v| v as u32);
        compared(&mut random, Scalar::U32, comparison, |random| random.below(5).wrapping_sub(1), |v| v);
    }

    #[test]
    fn one_of_two(seed: u64) {
        let mut random = Random::new(seed);
        let shape = shape(&mut random);
        let n = elements(shape);
        let [(mask_view, mask_len), (a_view, a_len), (b_view, b_len)] = [(); 3].map(|()| view(&mut random, shape));
        let mask: Vec<u32> = (0..mask_len).map(|_| [0, 1, 1 << 31, 0][random.below(4) as usize]).collect();
        let a: Vec<u32> = (0..a_len as u32).collect();
        let b: Vec<u32> = (0..b_len as u32).map(|at| !at).collect();
        let params = SelectParams { shape, mask: mask_view, a: a_view, b: b_view };
        let operands = reference::copy(&a, a_view, shape).into_iter().zip(reference::copy(&b, b_view, shape));
        let chosen = reference::copy(&mask, mask_view, shape).into_iter().zip(operands);
        let expected: Vec<u32> = chosen.map(|(mask, (a, b))| if mask == 0 { b } else { a }).collect();
        for isa in Isa::supported() {
            let (source, parts) = (form(&SELECT, Scalar::U32, isa), random.parts(n));
            let out: Vec<u32> = run(&source, &params, &[raw(&mask), raw(&a), raw(&b)], n as usize, n, &parts).unwrap();
            prop_assert_eq!(&out, &expected);
        }
    }

    #[test]
    fn unary_of_views(seed: u64, operation in prop::sample::select(Unary::ALL.to_vec())) {
        let mut random = Random::new(seed);
        let shape = shape(&mut random);
        let (from, len) = view(&mut random, shape);
        let x: Vec<f32> = random.units(len).into_iter().map(|x| 4.0 * x).collect();
        let expected: Vec<f64> =
            reference::copy(&x, from, shape).into_iter().map(|x| reference::unary(operation, x)).collect();
        let n = elements(shape);
        let params = UnaryParams { operation: operation as u32, shape, from };
        for isa in Isa::supported() {
            let out = checked(&on(&UNARY, isa), &params, &[raw(&x)], n as usize, n, &mut random);
            assert_close(&out, &expected, 1e-6);
        }
    }

    #[test]
    fn binary_in_place_of_every_type(seed: u64, operation in prop::sample::select(Binary::ALL.to_vec())) {
        let mut random = Random::new(seed);
        let random = &mut random;
        // The bits of a power are the library's; how near they are, the ordinary form's test says.
        let rounded = |operation, a: f32, b| match operation {
            Binary::Pow => a.powf(b),
            _ => reference::binary_f32(operation, a, b) as f32,
        };
        binary_in_place(Scalar::F32, random, operation, Random::unit, rounded, |v| v.to_bits());
        let signed = |random: &mut Random| word(random) as i32;
        binary_in_place(Scalar::I32, random, operation, signed, reference::binary_i32, |v| *v as u32);
        binary_in_place(Scalar::U32, random, operation, word, reference::binary_u32, |v| *v);
    }

    #[test]
    fn unary_in_place(seed: u64, operation in prop::sample::select(Unary::ALL.to_vec())) {
        let mut random = Random::new(seed);
        let elements = 1 + random.below(1200);
        let (before, first, expected) = target(
            &mut random,
            &vec![(); elements as usize],
            |random| 4.0 * f64::from(random.unit()),
            |a, ()| reference::unary(operation, a as f32),
        );
        let before: Vec<f32> = before.into_iter().map(|v| v as f32).collect();
        let params = UnaryInPlaceParams { operation: operation as u32, first, elements };
        let items = before.len() as u32;
        for isa in Isa::supported() {
            for parts in [vec![0..items], random.parts(items)] {
                let after = run_in_place(&on(&UNARY_IN_PLACE, isa), &params, &[], &before, &parts).unwrap();
                for (at, (after, expected)) in (0..).zip(after.iter().zip(&expected)) {
                    let tolerance = if (first..first + elements).contains(&at) { 1e-6 } else { 0.0 };
                    assert_close(&[*after], &[*expected], tolerance);
                }
            }
        }
    }

    #[test]
    fn copy_of_views(seed: u64) {
        let mut random = Random::new(seed);
        let shape = shape(&mut random);
        let (from, len) = view(&mut random, shape);
        let x: Vec<u32> = (0..len as u32).collect();
        let n = elements(shape);
        let parts = random.parts(n);
        for isa in Isa::supported() {
            let out: Vec<u32> = run(&form(&COPY, Scalar::U32, isa), &CopyParams { shape, from }, &[raw(&x)], n as usize, n, &parts).unwrap();
            assert_eq!(out, reference::copy(&x, from, shape));
        }
    }
}

/// A comparison of two operands, and of one with a number, of which `bits` are the parameter's.
fn compared<T: Pod + PartialOrd>(
    random: &mut Random,
    scalar: Scalar,
    comparison: Comparison,
    value: impl Fn(&mut Random) -> T,
    bits: impl Fn(T) -> u32,
) {
    let shape = shape(random);
    let n = elements(shape);
    let ((a_view, a_len), (b_view, b_len)) = (view(random, shape), view(random, shape));
    let a: Vec<T> = (0..a_len).map(|_| value(random)).collect();
    let b: Vec<T> = (0..b_len).map(|_| value(random)).collect();
    let number = value(random);
    let left = reference::copy(&a, a_view, shape);
    let pairs = left.iter().zip(reference::copy(&b, b_view, shape));
    let expected: Vec<u32> = pairs.map(|(a, b)| u32::from(reference::compare(comparison, *a, b))).collect();
    let with_number: Vec<u32> = left.iter().map(|a| u32::from(reference::compare(comparison, number, *a))).collect();
    for isa in Isa::supported() {
        let parts = random.parts(n);
        let params = BinaryParams { operation: comparison as u32, shape, a: a_view, b: b_view };
        let source = form(&COMPARE, scalar, isa);
        let out: Vec<u32> = run(&source, &params, &[raw(&a), raw(&b)], n as usize, n, &parts).unwrap();
        assert_eq!(out, expected, "{} {comparison:?}", source.name);
        let params =
            ScalarParams { operation: comparison as u32, scalar: bits(number), swapped: 1, shape, from: a_view };
        let source = form(&COMPARE_SCALAR, scalar, isa);
        let out: Vec<u32> = run(&source, &params, &[raw(&a)], n as usize, n, &parts).unwrap();
        assert_eq!(out, with_number, "{} {comparison:?}", source.name);
    }
}

#[test]
fn integers_and_floats_are_cast_as_rust_casts_them() {
    let shape = [1, 1, 1, 1, 1, 13];
    let params = CopyParams { shape, from: View::contiguous(shape) };
    let floats = [0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 3e9, -3e9, 1e30, -1e30, f32::NAN, f32::INFINITY, 16_777_217.0];
    let integers = floats.map(|v| v as u32);
    let signed = [0, 1, -1, i32::MIN, i32::MAX, 16_777_217, -16_777_219, 7, 33_554_435, -8, 9, 10, 11];
    for isa in Isa::supported() {
        let cast = |kernels, scalar| form(kernels, scalar, isa);
        let out: Vec<u32> =
            run(&cast(&CAST_FROM_F32, Scalar::U32), &params, &[raw(&floats)], 13, 13, &[0..13]).unwrap();
        assert_eq!(out, integers);
        let out: Vec<i32> =
            run(&cast(&CAST_FROM_F32, Scalar::I32), &params, &[raw(&floats)], 13, 13, &[0..13]).unwrap();
        assert_eq!(out, floats.map(|v| v as i32));
        let out: Vec<f32> =
            run(&cast(&CAST_FROM_U32, Scalar::F32), &params, &[raw(&integers)], 13, 13, &[0..13]).unwrap();
        assert_eq!(out, integers.map(|v| v as f32));
        let out: Vec<f32> =
            run(&cast(&CAST_FROM_I32, Scalar::F32), &params, &[raw(&signed)], 13, 13, &[0..13]).unwrap();
        assert_eq!(out, signed.map(|v| v as f32));
    }
}

#[test]
fn powers_are_those_of_c() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let table = [
        (nan, 0.0, 1.0),
        (1.0, nan, 1.0),
        (nan, 1.0, nan),
        (-8.0, 1.0 / 3.0, nan),
        (-2.0, 3.0, -8.0),
        (-2.0, -2.0, 0.25),
        (0.0, -1.0, inf),
        (-0.0, -3.0, -inf),
        (-0.0, 2.0, 0.0),
        (-1.0, inf, 1.0),
        (0.5, inf, 0.0),
        (-inf, 3.0, -inf),
        (-inf, -3.0, -0.0),
        (2.0, 128.0, inf),
        (2.0, -149.0, 1e-45),
    ];
    for isa in Isa::supported() {
        for (a, b, expected) in table {
            let out: Vec<f32> =
                run(&on(&BINARY, isa), &flat(Binary::Pow, 1), &[raw(&[a]), raw(&[b])], 1, 1, &[0..1]).unwrap();
            assert!(out[0] == expected || (out[0].is_nan() && expected.is_nan()), "{a}^{b} is {}", out[0]);
        }
        let (a, b) = ([0, 1, -1, -1, 5, -3, 2, 2], [-1, -5, -5, -4, -1, 3, 31, 32]);
        let source = form(&BINARY, Scalar::I32, isa);
        let out: Vec<i32> = run(&source, &flat(Binary::Pow, 8), &[raw(&a), raw(&b)], 8, 8, &[0..8]).unwrap();
        assert_eq!(out, [0, 1, -1, 1, 0, -27, i32::MIN, 0]);
    }
}

/// Parameters of an operation on `n` contiguous elements.
fn flat(operation: Binary, n: u32) -> BinaryParams {
    let shape = [1, 1, 1, 1, 1, n];
    let view = View::contiguous(shape);
    BinaryParams { operation: operation as u32, shape, a: view, b: view }
}

#[test]
fn greatest_and_smallest_keep_nan() {
    let (a, b) = ([f32::NAN, 1.0, f32::NAN, 3.0], [1.0, f32::NAN, f32::NAN, -4.0]);
    for isa in Isa::supported() {
        for (operation, last) in [(Binary::Max, 3.0), (Binary::Min, -4.0)] {
            let mut random = Random::new(41);
            let out = checked(&on(&BINARY, isa), &flat(operation, 4), &[raw(&a), raw(&b)], 4, 4, &mut random);
            assert!(out[..3].iter().all(|v| v.is_nan()) && out[3] == last, "{isa} {operation:?}: {out:?}");
        }
    }
}

#[test]
fn integer_division_by_zero_fails_the_kernel_and_names_the_element() {
    let (a, mut b) = ([5u32; 400], [1u32; 400]);
    b[300] = 0;
    for isa in Isa::supported() {
        for source in [form(&BINARY, Scalar::I32, isa), form(&BINARY, Scalar::U32, isa)] {
            let message = failure(&source, &flat(Binary::Div, 400), &[raw(&a), raw(&b)], 400, 400);
            assert_eq!(message, "integer division by 0 at element 300 of the output");
        }
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let a = [0.0f32; 12];
    let source = on(&BINARY, thalweg_kernels::isa());
    let fails =
        |params: BinaryParams, items: u32| failure(&source, &params, &[raw(&a), raw(&a)], items as usize, items);
    let good = flat(Binary::Add, 12);
    assert!(
        fails(BinaryParams { operation: 7, ..good }, 12).contains("binary operation 7 is unknown, expected 0 to 6")
    );
    assert!(fails(good, 11).contains("extent of 11 items, elements of the shape are 12"));
    assert!(fails(flat(Binary::Add, 13), 13).contains("reaches element 12, the binding has 12"));
    assert!(fails(BinaryParams { shape: [u32::MAX; 6], ..good }, 12).contains("extent"));
    let far = View { offset: u32::MAX, strides: [u32::MAX; 6] };
    assert!(fails(BinaryParams { b: far, ..good }, 12).contains("the second operand"));
    assert!(fails(BinaryParams { shape: [0; 6], ..good }, 12).contains("extent"));
}

#[test]
fn in_place_refuses_parameters_that_contradict_the_bindings() {
    let isa = thalweg_kernels::isa();
    let b = [0u32; 4];
    let (shape, view) = ([1, 1, 1, 1, 1, 4], View::contiguous([1, 1, 1, 1, 1, 4]));
    let good = BinaryInPlaceParams { operation: Binary::Div as u32, first: 3, shape, b: view };
    let fails = |params: BinaryInPlaceParams| {
        let target = [1u32; 9];
        let result = run_in_place(&form(&BINARY_IN_PLACE, Scalar::U32, isa), &params, &[raw(&b)], &target, &[0..9]);
        result.unwrap_err().to_string()
    };
    assert!(fails(good).contains("integer division by 0 at element 0 of the output"));
    assert!(fails(BinaryInPlaceParams { operation: 7, ..good }).contains("binary operation 7"));
    let far = fails(BinaryInPlaceParams { first: 6, ..good });
    assert!(far.contains("elements 6 to 10 are to change, the target has 9"), "{far}");
    assert!(fails(BinaryInPlaceParams { first: u32::MAX, shape: [u32::MAX; 6], ..good }).contains("second operand"));
    let outside = View { offset: 1, ..view };
    assert!(fails(BinaryInPlaceParams { b: outside, ..good }).contains("reaches element 4, the binding has 4"));
    let unary = UnaryInPlaceParams { operation: 0, first: 1, elements: u32::MAX };
    let result = run_in_place(&on(&UNARY_IN_PLACE, isa), &unary, &[], &[1.0f32; 9], &[0..9]);
    assert!(result.unwrap_err().to_string().contains("the target has 9"));
}
