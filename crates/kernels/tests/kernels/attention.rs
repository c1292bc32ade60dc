use super::common::attention::Call;
use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close, bits, run};
use thalweg_kernels::Isa;
use thalweg_kernels::attention::{ATTENTION, ATTENTION_WIDE, Params};
use thalweg_kernels::heads::Heads;

/// Compares a call with the reference on every instruction set.
#[track_caller]
fn compare(random: &mut Random, call: &Call) {
    let (inputs, expected) = (call.bytes(|value| value), call.expected());
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    for isa in Isa::supported() {
        let out = checked(&on(&ATTENTION, isa), &call.params, &inputs, call.elements(), call.rows(), random);
        // The rounding error of the scores, which are of a few units, goes through the exponential.
        assert_close(&out, &expected, 1e-5);
    }
}

fn head_dims() -> impl Strategy<Value = u32> {
    prop_oneof![1u32..20, Just(32u32), Just(64), 60u32..80, 1u32..300]
}

proptest! {
    #![proptest_config(cases(200))]
    #[test]
    fn agrees_with_the_reference(
        seed: u64,
        lengths in prop::collection::vec(1u32..50, 1..6),
        head_dim in head_dims(),
    ) {
        let mut random = Random::new(seed);
        let call = Call::random(&mut random, &lengths, head_dim, 1);
        compare(&mut random, &call);
    }

    #[test]
    fn what_a_row_does_not_see_it_does_not_notice(
        seed: u64,
        lengths in prop::collection::vec(1u32..60, 1..4),
        head_dim in head_dims(),
    ) {
        let mut random = Random::new(seed);
        let call = Call::random(&mut random, &lengths, head_dim, 1).poisoned(&mut random);
        compare(&mut random, &call);
    }
}

proptest! {
    #![proptest_config(cases(24))]
    #[test]
    fn sequences_of_several_blocks_of_keys_agree(seed: u64, length in 200u32..700, head_dim in 1u32..40) {
        let mut random = Random::new(seed);
        let call = Call::random(&mut random, &[length, 1, 257], head_dim, 1);
        compare(&mut random, &call);
        compare(&mut random, &call.poisoned(&mut Random::new(seed)));
    }
}

#[test]
fn sequences_of_several_blocks_of_keys() {
    let mut random = Random::new(61);
    let mut call = Call::plain(&mut random, &[255, 256, 257, 1, 700], 2, 8);
    call.params.scale = 3.0;
    compare(&mut random, &call);
    // A window that ends within a block, at its border, and in the next.
    for window in [0, 1, 31, 32, 200, 255, 256, 257] {
        (call.params.before, call.params.after) = (window, window);
        compare(&mut random, &call);
        (call.params.before, call.params.after) = (window, 0);
        compare(&mut random, &call);
    }
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_among_others() {
    let (heads, head_dim, width) = (3, 16, 48usize);
    let mut random = Random::new(62);
    let lengths = [5usize, 300, 1, 33];
    let parts: Vec<[Vec<f32>; 3]> = lengths.iter().map(|n| [(); 3].map(|()| random.units(n * width))).collect();
    let offsets = [0u32, 5, 305, 306, 339];
    let reach = 310;
    let bias = random.units(3 * (2 * reach + 1));
    let plain = Params::new(heads, head_dim, 0, 0.25);
    let options = [
        plain,
        Params { after: 0, ..plain },
        Params { before: 20, after: 20, ..plain },
        Params { before: 270, after: 0, reach: reach as u32, ..plain },
    ];
    for isa in Isa::supported() {
        let source = on(&ATTENTION, isa);
        for params in options {
            let attend = |operands: [&[f32]; 3], offsets: &[u32]| -> Vec<f32> {
                let params = Params { sequences: offsets.len() as u32 - 1, ..params };
                let n = offsets[offsets.len() - 1];
                let [query, key, value] = operands;
                let operands = [raw(query), raw(key), raw(value), raw(offsets), raw(&bias)];
                run(&source, &params, &operands, n as usize * width, n, &[0..n]).unwrap()
            };
            let joined = [0, 1, 2].map(|at| parts.iter().flat_map(|part| part[at].clone()).collect::<Vec<f32>>());
            let together = attend(joined.each_ref().map(Vec::as_slice), &offsets);
            let alone: Vec<f32> = parts
                .iter()
                .flat_map(|part| attend(part.each_ref().map(Vec::as_slice), &[0, (part[0].len() / width) as u32]))
                .collect();
            assert_eq!(bits(&together), bits(&alone), "{isa}, {params:?}");
        }
    }
}

/// The parts of a fused product `[n, 3 * width]`.
fn fused(heads: u32, head_dim: u32, sequences: u32, scale: f32) -> Params {
    let width = heads * head_dim;
    let [query, key, value] =
        [0, 1, 2].map(|part| Heads { offset: part * width, row_stride: 3 * width, head_stride: head_dim });
    Params { query, key, value, ..Params::new(heads, head_dim, sequences, scale) }
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
    let params = fused(1, 1, 1, 1.0);
    let offsets = vec![0, n as u32];
    let call = Call { params, operands: [(); 3].map(|()| qkv.clone()), offsets, bias: vec![0.0] };
    assert!(call.expected().iter().all(|v| v.is_finite()));
    compare(&mut Random::new(63), &call);
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let isa = thalweg_kernels::isa();
    let (qkv, bias) = ([0.0f32; 4 * 3 * 6], [0.0f32; 10]);
    let good = fused(2, 3, 2, 1.0);
    let fails = |params: Params, offsets: &[u32]| {
        let operands = [raw(&qkv), raw(&qkv), raw(&qkv), raw(offsets), raw(&bias)];
        let message = failure(&on(&ATTENTION, isa), &params, &operands, 24, 4);
        assert_eq!(failure(&on(&ATTENTION_WIDE, isa), &params, &operands, 24, 4), message);
        message
    };
    assert!(fails(good, &[0, 2]).contains("2 offsets for 2 sequences"));
    assert!(fails(good, &[0, 4, 4]).contains("sequence 1 is rows 4..4"));
    assert!(fails(good, &[0, 2, 5]).contains("from 0 to 5"));
    assert!(fails(good, &[1, 2, 4]).contains("from 1 to 4"));
    let offsets = &[0, 2, 4];
    assert!(fails(Params { heads: 0, ..good }, offsets).contains("heads is 0"));
    assert!(fails(Params { kv_heads: 0, ..good }, offsets).contains("kv_heads is 0"));
    assert!(fails(Params { kv_heads: 3, ..good }, offsets).contains("kv_heads is 3, must divide heads, which is 2"));
    assert!(fails(Params { kv_heads: 4, ..good }, offsets).contains("kv_heads is 4, must divide heads"));
    assert!(fails(Params { head_dim: 0, ..good }, offsets).contains("head_dim is 0"));
    assert!(fails(Params { heads: 4, ..good }, offsets).contains("out has 24 elements"));
    let most = Params { heads: u32::MAX, kv_heads: u32::MAX, head_dim: u32::MAX, ..good };
    assert!(fails(most, offsets).contains("query of [4, 4294967295, 4294967295] reaches"));
    assert!(fails(Params { sequences: u32::MAX, ..good }, offsets).contains("3 offsets"));
    // The last element of each operand, one too far.
    let past = |view: Heads, by: u32| Heads { offset: view.offset + by, ..view };
    assert!(fails(Params { query: past(good.query, 13), ..good }, offsets).contains("query of [4, 2, 3] reaches"));
    assert!(fails(Params { key: past(good.key, 7), ..good }, offsets).contains("key of [4, 2, 3] reaches element 72"));
    assert!(fails(Params { value: past(good.value, 1), ..good }, offsets).contains("value of [4, 2, 3] reaches"));
    let wide = Heads { row_stride: u32::MAX, ..good.value };
    assert!(fails(Params { value: wide, ..good }, offsets).contains("the binding has 72"));
    assert!(fails(Params { reach: 1, ..good }, offsets).contains("bias has 10 elements, the parameters say 2 * 3"));
    assert!(fails(Params { reach: u32::MAX - 1, ..good }, offsets).contains("bias has 10 elements"));
    let long = fails(Params { reach: 2, sequences: 1, ..good }, &[0, 4]);
    assert!(long.contains("sequence 0 has 4 rows; the relative bias, which reaches 2, is for sequences of at most 3"));
}
