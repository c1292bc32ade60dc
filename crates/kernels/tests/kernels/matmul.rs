use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close};
use thalweg_kernels::Isa;
use thalweg_kernels::matmul::{LEADING, MATMUL, Matrix, Params, reference};

/// A batch of matrices of this shape in any order of axes, with gaps, and the elements it needs.
fn matrix(random: &mut Random, batch: [u32; LEADING], rows: u32, columns: u32) -> (Matrix, usize) {
    let offset = random.below(5);
    let mut strides = [0; LEADING + 2];
    let mut stride = 1 + random.below(2);
    let mut order: [usize; LEADING + 2] = std::array::from_fn(|axis| axis);
    (0..order.len()).for_each(|at| order.swap(at, at + random.below((LEADING + 2 - at) as u32) as usize));
    let lengths = [&batch[..], &[rows, columns]].concat();
    for axis in order {
        if random.below(6) == 0 {
            continue; // broadcast
        }
        strides[axis] = stride;
        stride *= lengths[axis] + random.below(2);
    }
    let [a, b, c, d, row_stride, column_stride] = strides;
    let matrix = Matrix { offset, batch_strides: [a, b, c, d], row_stride, column_stride };
    (matrix, (offset + stride) as usize + 8)
}

/// One matrix, row after row.
fn plain(columns: u32) -> Matrix {
    Matrix { offset: 0, batch_strides: [0; LEADING], row_stride: columns, column_stride: 1 }
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn agrees_with_the_reference(
        seed: u64,
        batch in [1u32..3, 1u32..3, 1u32..3, 1u32..3],
        m in 1u32..40,
        k in prop_oneof![3 => 0u32..40, 1 => 500u32..600],
        n in 1u32..70,
    ) {
        let mut random = Random::new(seed);
        let (a, a_len) = matrix(&mut random, batch, m, k);
        let (b, b_len) = matrix(&mut random, batch, k, n);
        let params = Params { batch, m, k, n, a, b };
        let (a, b) = (random.units(a_len), random.units(b_len));
        let expected = reference::matmul(&params, &a, &b);
        let rows = batch.iter().product::<u32>() * m;
        for isa in Isa::supported() {
            let operands = [raw(&a), raw(&b)];
            let out = checked(&on(&MATMUL, isa), &params, &operands, (rows * n) as usize, rows, &mut random);
            // 600 equal terms (both may be broadcast), added one by one, are off by up to 600 * 2^-24 of their sum.
            assert_close(&out, &expected, 4e-5);
        }
    }
}

#[test]
fn many_rows() {
    let (m, k, n) = (600, 20, 40);
    let mut random = Random::new(31);
    let (a, b) = (random.units(600 * 20), random.units(20 * 40));
    let params = Params { batch: [1; LEADING], m, k, n, a: plain(k), b: plain(n) };
    let expected = reference::matmul(&params, &a, &b);
    for isa in Isa::supported() {
        let out = checked(&on(&MATMUL, isa), &params, &[raw(&a), raw(&b)], 600 * 40, 600, &mut random);
        assert_close(&out, &expected, 1e-5);
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let good = Params { batch: [1; LEADING], m: 2, k: 3, n: 4, a: plain(3), b: plain(4) };
    let (a, b) = ([0.0f32; 6], [0.0f32; 12]);
    let fails =
        |params: Params, out| failure(&on(&MATMUL, thalweg_kernels::isa()), &params, &[raw(&a), raw(&b)], out, 2);
    assert!(fails(Params { m: 3, ..good }, 8).contains("rows of the output"));
    assert!(
        fails(Params { a: Matrix { offset: 1, ..good.a }, ..good }, 8)
            .contains("a [1, 1, 1, 1] of [2, 3] reaches element 6")
    );
    assert!(
        fails(Params { b: Matrix { column_stride: u32::MAX, ..good.b }, ..good }, 8)
            .contains("b [1, 1, 1, 1] of [3, 4]")
    );
    assert!(fails(good, 10).contains("out has 10 elements"));
    assert!(fails(Params { batch: [1, 1, 0, 1], m: 0, ..good }, 8).contains("rows of the output"));
}
