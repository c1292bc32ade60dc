use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close, bits, run};
use thalweg_kernels::Isa;
use thalweg_kernels::attention::{ATTENTION, Params, reference};

/// Compares packed sequences of these lengths with the reference on every instruction set.
fn compare(random: &mut Random, lengths: &[u32], heads: u32, head_dim: u32, spread: f32) {
    let mut offsets = vec![0];
    for (at, length) in lengths.iter().enumerate() {
        offsets.push(offsets[at] + length);
    }
    let n: u32 = lengths.iter().sum();
    let scale = 1.0 / (head_dim as f32).sqrt();
    let qkv: Vec<f32> = random.units((n * 3 * heads * head_dim) as usize).iter().map(|x| x * spread).collect();
    let expected = reference::attention(&qkv, &offsets, heads as usize, head_dim as usize, scale);
    let params = Params { heads, head_dim, sequences: lengths.len() as u32, scale };
    for isa in Isa::supported() {
        let operands = [raw(&qkv), raw(&offsets)];
        let out = checked(&on(&ATTENTION, isa), &params, &operands, expected.len(), n, random);
        // Scores are as large as spread^2 sqrt(head_dim), and their rounding error goes through the exponential.
        assert_close(&out, &expected, 1e-6 * f64::from(spread * spread) * f64::from(head_dim).sqrt() + 2e-6);
    }
}

proptest! {
    #![proptest_config(cases(48))]
    #[test]
    fn agrees_with_the_reference(
        seed: u64,
        lengths in prop::collection::vec(1u32..50, 1..6),
        heads in 1u32..4,
        head_dim in prop_oneof![1u32..20, Just(32u32), Just(64), 60u32..80],
        spread in 0.5f32..4.0,
    ) {
        compare(&mut Random::new(seed), &lengths, heads, head_dim, spread);
    }
}

#[test]
fn sequences_of_several_blocks_of_keys() {
    let mut random = Random::new(61);
    compare(&mut random, &[255, 256, 257, 1, 700], 2, 8, 3.0);
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_among_others() {
    let (heads, head_dim, width) = (3, 16, 48usize);
    let mut random = Random::new(62);
    let lengths = [5usize, 300, 1, 33];
    let parts: Vec<Vec<f32>> = lengths.iter().map(|n| random.units(n * 3 * width)).collect();
    let offsets = [0u32, 5, 305, 306, 339];
    for isa in Isa::supported() {
        let source = on(&ATTENTION, isa);
        let attend = |qkv: &[f32], offsets: &[u32]| -> Vec<f32> {
            let params = Params { heads, head_dim, sequences: offsets.len() as u32 - 1, scale: 0.25 };
            let n = offsets[offsets.len() - 1];
            let operands = [raw(qkv), raw(offsets)];
            run(&source, &params, &operands, n as usize * width, n, &[0..n]).unwrap()
        };
        let together = attend(&parts.concat(), &offsets);
        let alone: Vec<f32> = parts.iter().flat_map(|qkv| attend(qkv, &[0, (qkv.len() / 3 / width) as u32])).collect();
        assert_eq!(bits(&together), bits(&alone), "{isa}");
    }
}

#[test]
fn keys_of_minus_infinity_get_no_weight_whatever_block_they_are_in() {
    // One head of one column, q = 1: a key is its score. The first block of 256 keys has only -inf.
    let n = 400usize;
    let mut qkv = vec![0.0f32; n * 3];
    for (row, values) in qkv.chunks_mut(3).enumerate() {
        let score = if row < 300 { f32::NEG_INFINITY } else { (row % 7) as f32 };
        values.copy_from_slice(&[1.0, score, row as f32 / 100.0]);
    }
    let expected = reference::attention(&qkv, &[0, n as u32], 1, 1, 1.0);
    let params = Params { heads: 1, head_dim: 1, sequences: 1, scale: 1.0 };
    for isa in Isa::supported() {
        let offsets = [0, n as u32];
        let operands = [raw(&qkv), raw(&offsets)];
        let out = checked(&on(&ATTENTION, isa), &params, &operands, n, n as u32, &mut Random::new(63));
        assert!(expected.iter().all(|v| v.is_finite()));
        assert_close(&out, &expected, 1e-5);
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let isa = thalweg_kernels::isa();
    let qkv = [0.0f32; 4 * 3 * 6];
    let good = Params { heads: 2, head_dim: 3, sequences: 2, scale: 1.0 };
    let fails =
        |params: Params, offsets: &[u32]| failure(&on(&ATTENTION, isa), &params, &[raw(&qkv), raw(offsets)], 24, 4);
    assert!(fails(good, &[0, 2]).contains("2 offsets for 2 sequences"));
    assert!(fails(good, &[0, 4, 4]).contains("sequence 1 is rows 4..4"));
    assert!(fails(good, &[0, 2, 5]).contains("from 0 to 5"));
    assert!(fails(good, &[1, 2, 4]).contains("from 1 to 4"));
    assert!(fails(Params { heads: 0, ..good }, &[0, 2, 4]).contains("heads is 0"));
    assert!(fails(Params { head_dim: 0, ..good }, &[0, 2, 4]).contains("head_dim is 0"));
    assert!(fails(Params { heads: 3, ..good }, &[0, 2, 4]).contains("qkv has 72"));
    assert!(fails(Params { heads: u32::MAX, head_dim: u32::MAX, ..good }, &[0, 2, 4]).contains("qkv has 72"));
    assert!(fails(Params { sequences: u32::MAX, ..good }, &[0, 2, 4]).contains("3 offsets"));
}
