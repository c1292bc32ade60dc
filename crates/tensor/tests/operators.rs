//! Operators on tensors of any shape against f64, on every device. Operands are in disguise: views, frozen, or written on
//! another stream.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::array::{Array, shapes};
use common::disguise::disguised;
use common::{ROUNDING, Random, assert_within, check};
use proptest::prelude::*;
use thalweg_kernels::testing::assert_close;
use thalweg_kernels::{elementwise, norm, pool, reduce, softmax};
use thalweg_runtime::Device;
use thalweg_tensor::{Binary, Element, Reduction, Tensor, Unary};

/// A shape, and two that broadcast to it.
type Shapes = (Vec<usize>, Vec<usize>, Vec<usize>);

fn broadcasts() -> impl Strategy<Value = Shapes> {
    (shapes(1500), any::<(u64, u64)>()).prop_map(|(shape, (a, b))| {
        let (mut a, mut b) = (Random::new(a), Random::new(b));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for axis in &shape {
            // At most one of the two repeats an axis, or the result would have another shape.
            let (one, both) = if a.below(3) == 0 { (true, a.below(2) == 0) } else { (false, false) };
            left.push(if one && both { 1 } else { *axis });
            right.push(if one && !both { 1 } else { *axis });
        }
        let missing = |side: &mut Vec<usize>, random: &mut Random| {
            let leading = side.iter().zip(&shape).take_while(|(own, axis)| **own == 1 && **axis >= 1).count();
            side.drain(..random.below(leading as u32 + 1) as usize);
        };
        // The axes that one operand leaves out are those of the other, also where both are 1.
        if b.below(2) == 0 {
            missing(&mut left, &mut b)
        } else {
            missing(&mut right, &mut b)
        }
        (shape, left, right)
    })
}

/// Each operation on random operands, compared element by element through `same`.
fn binary<T: Element + std::fmt::Debug>(
    device: &Device,
    ((shape, left, right), seed): &(Shapes, u64),
    mut value: impl FnMut(&mut Random) -> T,
    divisor: impl Fn(T) -> T,
    same: impl Fn(Binary, T, T, T) -> bool,
) {
    let random = &mut Random::new(*seed);
    for operation in Binary::ALL {
        let a = Array::new(left, |_| value(random));
        let b = Array::new(right, |_| {
            let b = value(random);
            if operation == Binary::Div { divisor(b) } else { b }
        });
        let (x, y) = (disguised(device, &a, random.bits()), disguised(device, &b, random.bits()));
        let result = match operation {
            Binary::Add => &x + &y,
            Binary::Sub => x.sub(&y),
            Binary::Mul => &x * &y,
            Binary::Div => x.div(&y),
            other => x.binary(other, &y),
        }
        .unwrap();
        assert_eq!(result.shape(), shape);
        let values = result.to_vec::<T>().unwrap();
        let (a, b) = (a.broadcast_to(shape), b.broadcast_to(shape));
        assert_eq!(values.len(), a.values.len());
        for ((value, a), b) in values.iter().zip(&a.values).zip(&b.values) {
            assert!(same(operation, *a, *b, *value), "{a:?} {operation:?} {b:?} gave {value:?}");
        }
    }
}

#[test]
fn binary_operations_of_f32_are_rounded_once() {
    check(file!(), 60, (broadcasts(), any::<u64>()), |device, case| {
        let value = |random: &mut Random| match random.below(12) {
            0 => [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN][random.below(5) as usize],
            _ => random.unit() * 100.0,
        };
        // f64 has more than twice the digits of f32, so rounding twice is rounding once.
        let same = |operation, a, b, value: f32| {
            let expected = elementwise::reference::binary_f32(operation, a, b) as f32;
            value == expected || (value.is_nan() && expected.is_nan())
        };
        binary(device, case, value, |b| b, same);
    });
}

#[test]
fn binary_operations_of_integers_wrap() {
    check(file!(), 60, (broadcasts(), any::<u64>()), |device, case| {
        let signed = |random: &mut Random| match random.below(8) {
            0 => [i32::MIN, i32::MAX, -1, 0][random.below(4) as usize],
            _ => random.bits() as i32,
        };
        let same = |operation, a, b, value| value == elementwise::reference::binary_i32(operation, a, b);
        binary(device, case, signed, |b| if b == 0 { -1 } else { b }, same);
        let unsigned = |random: &mut Random| random.bits() as u32 >> random.below(32);
        let same = |operation, a, b, value| value == elementwise::reference::binary_u32(operation, a, b);
        binary(device, case, unsigned, |b: u32| b.max(1), same);
    });
}

#[test]
fn unary_operations() {
    check(file!(), 60, (shapes(1000), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        for operation in Unary::ALL {
            let array = Array::new(shape, |_| if random.below(20) == 0 { 0.0 } else { random.unit() * 12.0 });
            let result = disguised(device, &array, random.bits()).unary(operation).unwrap();
            assert_eq!(result.shape(), shape);
            let expected: Vec<_> = array.values.iter().map(|v| elementwise::reference::unary(operation, *v)).collect();
            // Each is within 2 units in the last place, or made of a few steps that are: 16 halves cover all.
            assert_close(&result.to_vec::<f32>().unwrap(), &expected, 16.0 * ROUNDING);
        }
    });
}

/// Rows of up to 300 values, with any number of leading axes.
fn rows() -> impl Strategy<Value = Vec<usize>> {
    (shapes(16), prop_oneof![1..40usize, 1..300usize]).prop_map(|(mut shape, width)| {
        shape.truncate(5);
        shape.push(width);
        shape
    })
}

/// The values of an array of rows, and the tensor.
fn random_rows(device: &Device, shape: &[usize], random: &mut Random) -> (Vec<f32>, Tensor) {
    let scale = [0.01, 1.0, 10.0][random.below(3) as usize];
    let array = Array::new(shape, |_| random.unit() * scale);
    let tensor = disguised(device, &array, random.bits());
    (array.values, tensor)
}

/// The greatest magnitude of each row.
fn greatest(values: &[f32], width: usize) -> Vec<f64> {
    let rows = values.chunks_exact(width);
    rows.map(|row| row.iter().fold(0.0, |greatest, x| f64::from(x.abs()).max(greatest))).collect()
}

#[test]
fn softmax_and_normalize() {
    check(file!(), 100, (rows(), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        let width = shape[shape.len() - 1];
        let (values, x) = random_rows(device, shape, random);
        let result = x.softmax().unwrap();
        assert_eq!(result.shape(), shape);
        // The difference of two values of at most 10 is off by 20 roundings, exp by 3, and the sum by one for each term;
        // no result is above 1.
        let tolerance = (40.0 + width as f64) * ROUNDING;
        let expected = softmax::reference::softmax(&values, width);
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, |_| tolerance);
        let result = x.normalize().unwrap();
        assert_eq!(result.shape(), shape);
        // The sum of squares is off by one rounding for each term, its root by half of that.
        let expected = pool::reference::normalize(&values, width);
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, |_| (8.0 + width as f64) * ROUNDING);
    });
}

#[test]
fn reductions() {
    check(file!(), 100, (rows(), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        let width = shape[shape.len() - 1];
        let (values, x) = random_rows(device, shape, random);
        for reduction in Reduction::ALL {
            let result = x.reduce(reduction).unwrap();
            assert_eq!(result.shape(), &shape[..shape.len() - 1]);
            // In whatever order: a rounding for each term, of at most the sum of the magnitudes (Higham, Accuracy and
            // Stability of Numerical Algorithms, section 4.2). The greatest is exact.
            let sums: Vec<f64> =
                values.chunks_exact(width).map(|row| row.iter().map(|x| f64::from(x.abs())).sum()).collect();
            let tolerance = |row: usize| match reduction {
                Reduction::Sum => width as f64 * ROUNDING * sums[row],
                Reduction::Mean => (width as f64 + 1.0) * ROUNDING * sums[row] / width as f64,
                _ => 0.0,
            };
            let expected = reduce::reference::reduce(&values, width, reduction);
            assert_within(&result.to_vec::<f32>().unwrap(), &expected, tolerance);
        }
    });
}

#[test]
fn layer_normalisation() {
    check(file!(), 100, (rows(), any::<u64>()), |device, (shape, seed)| {
        let random = &mut Random::new(*seed);
        let width = shape[shape.len() - 1];
        let (values, x) = random_rows(device, shape, random);
        let (others, residual) = random_rows(device, shape, random);
        let (weights, weight) = random_rows(device, &[width], random);
        let (biases, bias) = random_rows(device, &[width], random);
        let epsilon = [1e-12, 1e-5][random.below(2) as usize];
        let sums: Vec<f64> = values.iter().zip(&others).map(|(x, y)| f64::from(*x) + f64::from(*y)).collect();
        let plain: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
        let bounds = [greatest(&values, width), greatest(&others, width)];
        // What is normalised is off by the rounding of the sum, its mean by up to one more for each term, all relative
        // to the row's greatest value; the division magnifies that, and the variance's own error, which is of the same
        // size. The affine step then rounds once for each of its operations.
        let tolerance = |rows: &[f64], bound: Vec<f64>, weights: &[f32], biases: &[f32]| {
            let deviations: Vec<f64> = rows
                .chunks_exact(width)
                .map(|row| {
                    let mean = row.iter().sum::<f64>() / width as f64;
                    (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64 + f64::from(epsilon)).sqrt()
                })
                .collect();
            let (weights, biases) = (weights.to_vec(), biases.to_vec());
            let root = (width as f64).sqrt(); // no normalised value is greater
            move |at: usize| {
                let magnified = bound[at / width] / deviations[at / width];
                let normalised = (width as f64 + 16.0) * (1.0 + root) * (1.0 + magnified);
                let [weight, bias] = [weights[at % width], biases[at % width]].map(|v| f64::from(v.abs()));
                ROUNDING * (normalised * weight + bias)
            }
        };
        let result = x.layer_norm(&weight, &bias, epsilon).unwrap();
        assert_eq!(result.shape(), shape);
        let expected = norm::reference::layer_norm(&values, &weights, &biases, epsilon);
        let allowed = tolerance(&plain, bounds[0].clone(), &weights, &biases);
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, allowed);
        let result = x.add_layer_norm(&residual, &weight, &bias, epsilon).unwrap();
        assert_eq!(result.shape(), shape);
        let expected = norm::reference::add_layer_norm(&values, &others, &weights, &biases, epsilon);
        let bound = bounds[0].iter().zip(&bounds[1]).map(|(a, b)| a + b).collect();
        assert_within(&result.to_vec::<f32>().unwrap(), &expected, tolerance(&sums, bound, &weights, &biases));
    });
}

#[test]
fn matrix_products() {
    let size = || prop_oneof![4 => 0..=9usize, 1 => 10..=70usize];
    let sizes = (size(), size(), size());
    let leading = proptest::collection::vec(prop_oneof![1 => Just(0usize), 9 => 1..=3usize], 0..=4);
    check(file!(), 150, (leading, sizes, any::<u64>()), |device, (leading, (m, k, n), seed)| {
        let random = &mut Random::new(*seed);
        let a = Array::new(&[leading, &[*m, *k][..]].concat(), |_| random.unit());
        let b = Array::new(&[leading, &[*k, *n][..]].concat(), |_| random.unit());
        let (x, y) = (disguised(device, &a, random.bits()), disguised(device, &b, random.bits()));
        let result = x.matmul(&y).unwrap();
        let shape = [leading, &[*m, *n][..]].concat();
        assert_eq!(result.shape(), shape);
        let sum = |of: fn(f64) -> f64| {
            Array::new(&shape, |at| {
                let (batch, row, column) = (at / n / m, at / n % m, at % n);
                let a = (0..*k).map(|i| f64::from(a.values[(batch * m + row) * k + i]));
                let b = (0..*k).map(|i| f64::from(b.values[(batch * k + i) * n + column]));
                a.zip(b).map(|(a, b)| of(a * b)).sum::<f64>()
            })
        };
        // A rounding for each term, of the sum of the magnitudes, in whatever order (Higham, section 3.1).
        let (expected, magnitudes) = (sum(|x| x), sum(f64::abs));
        let tolerance = |at: usize| (*k as f64 + 1.0) * ROUNDING * magnitudes.values[at];
        assert_within(&result.to_vec::<f32>().unwrap(), &expected.values, tolerance);
    });
}

#[test]
fn empty_rows_have_empty_results() {
    for bench in common::benches(Random::new(11).bits()) {
        let device = &bench.device;
        let x = Tensor::zeros::<f32>(device, &[3, 0]).unwrap();
        let none = Tensor::zeros::<f32>(device, &[0]).unwrap();
        for result in [
            x.softmax(),
            x.normalize(),
            x.layer_norm(&none, &none, 1e-5),
            x.add_layer_norm(&x, &none, &none, 1e-5),
            x.unary(Unary::Exp),
            x.add(&Tensor::zeros::<f32>(device, &[1]).unwrap()),
        ] {
            let result = result.unwrap();
            assert_eq!(result.shape(), [3, 0]);
            assert_eq!(result.to_vec::<f32>().unwrap(), []);
        }
        // No terms: the sum of nothing is 0.
        let product = x.matmul(&Tensor::zeros::<f32>(device, &[0, 2]).unwrap()).unwrap();
        assert_eq!(product.to_vec::<f32>().unwrap(), [0.0; 6]);
        bench.finish();
    }
}
