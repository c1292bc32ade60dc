use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close};
use thalweg_kernels::Isa;
use thalweg_kernels::matmul::{MATMUL, Matrix, Params, reference};

/// A batch of matrices of this shape in any order of axes, with gaps, and the elements it needs.
fn matrix(random: &mut Random, [batch, rows, columns]: [u32; 3]) -> (Matrix, usize) {
    let mut matrix = Matrix { offset: random.below(5), batch_stride: 0, row_stride: 0, column_stride: 0 };
    let mut stride = 1 + random.below(2);
    let mut order = [(0, batch), (1, rows), (2, columns)];
    order.swap(0, random.below(3) as usize);
    order.swap(1, 1 + random.below(2) as usize);
    for (axis, length) in order {
        if random.below(6) == 0 {
            continue; // broadcast
        }
        *[&mut matrix.batch_stride, &mut matrix.row_stride, &mut matrix.column_stride][axis] = stride;
        stride *= length + random.below(2);
    }
    (matrix, (matrix.offset + stride) as usize + 8)
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn agrees_with_the_reference(
        seed: u64,
        batch in 1u32..4,
        m in 1u32..40,
        k in prop_oneof![3 => 0u32..40, 1 => 500u32..600],
        n in 1u32..70,
    ) {
        let mut random = Random::new(seed);
        let (a, a_len) = matrix(&mut random, [batch, m, k]);
        let (b, b_len) = matrix(&mut random, [batch, k, n]);
        let params = Params { batch, m, k, n, a, b };
        let (a, b) = (random.units(a_len), random.units(b_len));
        let expected = reference::matmul(&params, &a, &b);
        for isa in Isa::supported() {
            let out = checked(&on(&MATMUL, isa), &params, &[raw(&a), raw(&b)], (batch * m * n) as usize, batch * m, &mut random);
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
    let rows = |columns| Matrix { offset: 0, batch_stride: 0, row_stride: columns, column_stride: 1 };
    let params = Params { batch: 1, m, k, n, a: rows(k), b: rows(n) };
    let expected = reference::matmul(&params, &a, &b);
    for isa in Isa::supported() {
        let out = checked(&on(&MATMUL, isa), &params, &[raw(&a), raw(&b)], 600 * 40, 600, &mut random);
        assert_close(&out, &expected, 1e-5);
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let rows = |columns| Matrix { offset: 0, batch_stride: 0, row_stride: columns, column_stride: 1 };
    let good = Params { batch: 1, m: 2, k: 3, n: 4, a: rows(3), b: rows(4) };
    let (a, b) = ([0.0f32; 6], [0.0f32; 12]);
    let fails =
        |params: Params, out| failure(&on(&MATMUL, thalweg_kernels::isa()), &params, &[raw(&a), raw(&b)], out, 2);
    assert!(fails(Params { m: 3, ..good }, 8).contains("rows of the output"));
    assert!(fails(Params { a: Matrix { offset: 1, ..good.a }, ..good }, 8).contains("a [1, 2, 3] reaches element 6"));
    assert!(fails(Params { b: Matrix { column_stride: u32::MAX, ..good.b }, ..good }, 8).contains("b [1, 3, 4]"));
    assert!(fails(good, 10).contains("out has 10 elements"));
    assert!(fails(Params { batch: 0, m: 0, ..good }, 8).contains("rows of the output"));
}
