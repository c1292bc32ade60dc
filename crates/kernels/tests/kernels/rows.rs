use super::{cases, checked, failure, form, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close, run};
use thalweg_kernels::heads::Heads;
use thalweg_kernels::linear::Activation;
use thalweg_kernels::{Isa, Scalar, gated, norm, pool, reduce, rotary, softmax};

fn scaled(random: &mut Random, len: usize, scale: f32, shift: f32) -> Vec<f32> {
    random.units(len).into_iter().map(|x| x * scale + shift).collect()
}

/// Random offsets of a few sequences.
fn offsets(random: &mut Random, sequences: u32, longest: u32) -> Vec<u32> {
    let mut offsets = vec![0];
    for at in 0..sequences as usize {
        offsets.push(offsets[at] + 1 + random.below(longest));
    }
    offsets
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn softmax_agrees(seed: u64, n in 1u32..20, width in 1usize..300, scale in 0.1f32..90.0) {
        let mut random = Random::new(seed);
        let x = scaled(&mut random, n as usize * width, scale, 0.0);
        let expected = softmax::reference::softmax(&x, width);
        let params = softmax::Params { width: width as u32 };
        for isa in Isa::supported() {
            let out = checked(&on(&softmax::SOFTMAX, isa), &params, &[raw(&x)], x.len(), n, &mut random);
            assert_close(&out, &expected, 1e-6);
        }
    }

    #[test]
    fn reductions_agree(seed: u64, n in 1u32..20, width in 1usize..300) {
        let mut random = Random::new(seed);
        let x = scaled(&mut random, n as usize * width, 1.0, -0.5);
        for reduction in reduce::Reduction::ALL {
            let expected = reduce::reference::reduce(&x, width, reduction);
            let params = reduce::Params { reduction: reduction as u32, width: width as u32 };
            for isa in Isa::supported() {
                let out = checked(&on(&reduce::REDUCE, isa), &params, &[raw(&x)], n as usize, n, &mut random);
                assert_close(&out, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn gates_agree(seed: u64, n in 1u32..20, width in 1usize..300) {
        let mut random = Random::new(seed);
        let x = scaled(&mut random, n as usize * 2 * width, 5.0, 0.0);
        for activation in Activation::ALL {
            let expected = gated::reference::gated(&x, width, activation);
            let params = gated::Params { width: width as u32, activation: activation as u32 };
            for isa in Isa::supported() {
                let out = checked(&on(&gated::GATED, isa), &params, &[raw(&x)], n as usize * width, n, &mut random);
                assert_close(&out, &expected, 2e-6);
            }
        }
    }

    #[test]
    fn rotary_positions_agree(seed: u64, n in 1u32..20, heads in 1u32..5, half in 1u32..40, rest in 0u32..9, rows in 1u32..30) {
        let mut random = Random::new(seed);
        let (turned, head_dim) = (2 * half, 2 * half + rest);
        // The heads lie among others, with gaps.
        let view = Heads { offset: random.below(5), row_stride: heads * head_dim + 3, head_stride: head_dim };
        let x = random.units((view.offset + n * view.row_stride) as usize);
        let table = random.units((rows * turned) as usize);
        let positions: Vec<u32> = (0..n).map(|_| random.below(rows)).collect();
        let dense: Vec<f32> = (0..n)
            .flat_map(|row| x[(view.offset + row * view.row_stride) as usize..][..(heads * head_dim) as usize].to_vec())
            .collect();
        let expected =
            rotary::reference::rotary(&dense, &table, &positions, head_dim as usize, turned as usize);
        let params = rotary::Params { heads, head_dim, turned, positions: rows, x: view };
        let operands = [raw(&x), raw(&table), raw(&positions)];
        for isa in Isa::supported() {
            let out = checked(&on(&rotary::ROTARY, isa), &params, &operands, dense.len(), n, &mut random);
            assert_close(&out, &expected, 3e-7);
        }
    }

    #[test]
    fn places_of_the_greatest_and_the_least_agree(seed: u64, n in 1u32..20, width in 1usize..300, least: bool) {
        let mut random = Random::new(seed);
        let len = n as usize * width;
        let params = reduce::ArgParams { least: u32::from(least), width: width as u32 };
        // Few different values, so that there are equals; NaN in some rows.
        let odd = [0.0, -0.0, 1.0, -2.0, f32::INFINITY, f32::NEG_INFINITY];
        let floats: Vec<f32> = (0..len)
            .map(|_| if random.below(200) == 0 { f32::NAN } else { odd[random.below(6) as usize] })
            .collect();
        let integers: Vec<i32> = (0..len).map(|_| random.below(9) as i32 - 4).collect();
        let parts = random.parts(n);
        for isa in Isa::supported() {
            let out: Vec<u32> =
                run(&on(&reduce::ARG_REDUCE, isa), &params, &[raw(&floats)], n as usize, n, &parts).unwrap();
            prop_assert_eq!(out, reduce::reference::arg_reduce(&floats, width, least));
            let source = form(&reduce::ARG_REDUCE, Scalar::I32, isa);
            let out: Vec<u32> = run(&source, &params, &[raw(&integers)], n as usize, n, &parts).unwrap();
            prop_assert_eq!(out, reduce::reference::arg_reduce(&integers, width, least));
        }
    }

    // audit: F2
    #[test]
    fn layer_norm_agrees(seed: u64, n in 1u32..20, width in 1usize..400, shift in -100.0f32..100.0) {
        let mut random = Random::new(seed);
        let len = n as usize * width;
        let (x, residual) = (scaled(&mut random, len, 2.0, shift), scaled(&mut random, len, 2.0, 0.0));
        let (weight, bias) = (random.units(width), random.units(width));
        // A row of one value has no variance: a greater epsilon keeps its rounding error from being the result.
        let params = norm::Params { width: width as u32, epsilon: if width < 4 { 1e-2 } else { 1e-6 } };
        let plain = norm::reference::layer_norm(&x, &weight, &bias, params.epsilon);
        let zeros = vec![0.0; width];
        let unbiased = norm::reference::layer_norm(&x, &weight, &zeros, params.epsilon);
        let rms = norm::reference::rms_norm(&x, &weight, params.epsilon);
        let added = norm::reference::add_layer_norm(&x, &residual, &weight, &bias, params.epsilon);
        // The inputs' own rounding, relative to what is left of them once the mean is gone.
        let tolerance = 1e-5 + 3e-6 * f64::from(shift.abs());
        for isa in Isa::supported() {
            let operands = [raw(&x), raw(&weight), raw(&bias)];
            let out = checked(&on(&norm::LAYER_NORM, isa), &params, &operands, len, n, &mut random);
            assert_close(&out, &plain, if width < 4 { 1e-3 } else { tolerance });
            let operands = [raw(&x), raw(&weight)];
            let out = checked(&on(&norm::LAYER_NORM_UNBIASED, isa), &params, &operands, len, n, &mut random);
            assert_close(&out, &unbiased, if width < 4 { 1e-3 } else { tolerance });
            let out = checked(&on(&norm::RMS_NORM, isa), &params, &operands, len, n, &mut random);
            assert_close(&out, &rms, 1e-5);
            let operands = [raw(&x), raw(&residual), raw(&weight), raw(&bias)];
            let out = checked(&on(&norm::ADD_LAYER_NORM, isa), &params, &operands, len, n, &mut random);
            assert_close(&out, &added, if width < 4 { 1e-3 } else { tolerance });
        }
    }

    #[test]
    fn pooling_agrees(seed: u64, sequences in 1u32..12, width in 1usize..100) {
        let mut random = Random::new(seed);
        let offsets = offsets(&mut random, sequences, 20);
        let rows = *offsets.last().unwrap();
        let x = random.units(rows as usize * width);
        let shortest = offsets.windows(2).map(|ends| ends[1] - ends[0]).min().unwrap();
        for pooling in pool::Pooling::ALL {
            let skip = random.below(shortest);
            let expected = pool::reference::pool(&x, &offsets, width, skip, pooling);
            let params = pool::PoolParams { pooling: pooling as u32, sequences, rows, width: width as u32, skip };
            for isa in Isa::supported() {
                let operands = [raw(&x), raw(&offsets)];
                let out = checked(&on(&pool::POOL, isa), &params, &operands, expected.len(), sequences, &mut random);
                assert_close(&out, &expected, 1e-6);
            }
        }
    }

    #[test]
    fn normalisation_agrees(seed: u64, n in 1u32..20, width in 1usize..400) {
        let mut random = Random::new(seed);
        let mut x = random.units(n as usize * width);
        x[..width].fill(if random.below(2) == 0 { 0.0 } else { 1e-14 });
        let expected = pool::reference::normalize(&x, width);
        let params = pool::NormalizeParams { width: width as u32 };
        for isa in Isa::supported() {
            let out = checked(&on(&pool::NORMALIZE, isa), &params, &[raw(&x)], x.len(), n, &mut random);
            assert_close(&out, &expected, 1e-6);
        }
    }
}

#[test]
fn softmax_of_infinities_is_as_in_pytorch() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [[-inf; 3], [0.0, -inf, 0.0], [1.0, nan, 1.0], [1.0, inf, 1.0]].concat();
    for isa in Isa::supported() {
        let params = softmax::Params { width: 3 };
        let out = checked(&on(&softmax::SOFTMAX, isa), &params, &[raw(&x)], 12, 4, &mut Random::new(51));
        assert!(out[..3].iter().all(|v| v.is_nan()), "{isa}: {out:?}");
        assert_eq!(out[3..6], [0.5, 0.0, 0.5], "{isa}");
        assert!(out[6..9].iter().all(|v| v.is_nan()), "{isa}: {out:?}");
        assert!(out[10].is_nan(), "{isa}: {out:?}");
    }
}

#[test]
fn greatest_of_a_row_or_column_with_nan_is_nan() {
    for isa in Isa::supported() {
        for at in 0..40 {
            let mut x = Random::new(52).units(40);
            x[at] = f32::NAN;
            let params = reduce::Params { reduction: reduce::Reduction::Max as u32, width: 40 };
            let out = checked(&on(&reduce::REDUCE, isa), &params, &[raw(&x)], 1, 1, &mut Random::new(53));
            assert!(out[0].is_nan(), "{isa}, NaN at {at}");
            let params =
                pool::PoolParams { pooling: pool::Pooling::Max as u32, sequences: 1, rows: 20, width: 2, skip: 0 };
            let operands = [raw(&x), raw(&[0u32, 20])];
            let out = checked(&on(&pool::POOL, isa), &params, &operands, 2, 1, &mut Random::new(54));
            assert!(out[at % 2].is_nan() && !out[1 - at % 2].is_nan(), "{isa}, NaN at {at}: {out:?}");
        }
    }
}

#[test]
fn refuses_items_outside_of_the_extent() {
    let source = on(&softmax::SOFTMAX, thalweg_kernels::isa());
    let x = [0.0f32; 12];
    let result = run::<_, f32>(&source, &softmax::Params { width: 4 }, &[raw(&x)], 12, 3, &[0..4]);
    assert!(result.unwrap_err().to_string().contains("items 0..4 of an extent of 3"));
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let isa = thalweg_kernels::isa();
    let x = [0.0f32; 12];
    let wide = softmax::Params { width: 5 };
    assert!(failure(&on(&softmax::SOFTMAX, isa), &wide, &[raw(&x)], 12, 3).contains("3 * 5"));
    let none = pool::NormalizeParams { width: 0 };
    assert!(failure(&on(&pool::NORMALIZE, isa), &none, &[raw(&x)], 12, 3).contains("width is 0"));
    let wrong = reduce::Params { reduction: 5, width: 4 };
    assert!(
        failure(&on(&reduce::REDUCE, isa), &wrong, &[raw(&x)], 3, 3)
            .contains("reduction 5 is unknown, expected 0 to 4")
    );
    let params = norm::Params { width: 4, epsilon: 1e-5 };
    let operands = [raw(&x), raw(&x[..4]), raw(&x[..3])];
    assert!(failure(&on(&norm::LAYER_NORM, isa), &params, &operands, 12, 3).contains("bias has 3"));
    let operands = [raw(&x), raw(&x[..8]), raw(&x[..4]), raw(&x[..4])];
    assert!(failure(&on(&norm::ADD_LAYER_NORM, isa), &params, &operands, 12, 3).contains("residual has 8"));
    let params = pool::PoolParams { pooling: 0, sequences: 2, rows: 3, width: 4, skip: 0 };
    for (offsets, message) in [
        (&[0, 1][..], "2 offsets"),
        (&[0, 3, 3], "sequence 1 is rows 3..3"),
        (&[0, 2, 1], "sequence 1 is rows 2..1"),
        (&[1, 2, 3], "from 1 to 3"),
        (&[0, 1, 4], "from 0 to 4"),
        (&[0, 1, u32::MAX], "from 0 to"),
    ] {
        let got = failure(&on(&pool::POOL, isa), &params, &[raw(&x), raw(offsets)], 8, 2);
        assert!(got.contains(message), "{got}");
    }
    let operands = [raw(&x), raw(&[0u32, 2, 3])];
    for (wrong, message) in [
        (pool::PoolParams { skip: 1, ..params }, "sequence 1 has 1 rows, and the first 1 are skipped"),
        (pool::PoolParams { skip: u32::MAX, ..params }, "sequence 0 has 2 rows, and the first 4294967295 are skipped"),
        (pool::PoolParams { pooling: 7, ..params }, "pooling 7 is unknown"),
    ] {
        let got = failure(&on(&pool::POOL, isa), &wrong, &operands, 8, 2);
        assert!(got.contains(message), "{got}");
    }
}

#[test]
fn rotary_positions_refuse_what_contradicts_the_bindings() {
    let source = on(&rotary::ROTARY, thalweg_kernels::isa());
    let (x, table) = ([0.0f32; 24], [0.0f32; 12]);
    let good = rotary::Params { heads: 2, head_dim: 4, turned: 4, positions: 3, x: Heads::contiguous(2, 4) };
    let fails = |params: rotary::Params, positions: [u32; 3]| {
        failure(&source, &params, &[raw(&x), raw(&table), raw(&positions)], 24, 3)
    };
    assert_eq!(fails(good, [0, 3, 1]), "position 3 of row 1 is outside of a table of 3 rows");
    for turned in [0, 3, 6] {
        assert!(fails(rotary::Params { turned, ..good }, [0; 3]).contains("must be an even number"));
    }
    assert!(fails(rotary::Params { heads: 0, ..good }, [0; 3]).contains("heads is 0"));
    assert!(fails(rotary::Params { positions: 4, ..good }, [0; 3]).contains("the table has 12 elements"));
    let past = Heads { offset: 1, ..good.x };
    assert!(fails(rotary::Params { x: past, ..good }, [0; 3]).contains("reaches element 24"));
}
