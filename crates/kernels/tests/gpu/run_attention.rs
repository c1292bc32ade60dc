//! As [`run`](super::run), for attention.

use super::common::attention::Call;
use super::rig::{Last, Rig};
use super::run::{Float, form};
use thalweg_doubles::testing::{Random, assert_close};
use thalweg_hal::KernelSource;
use thalweg_kernels::Kernels;
use thalweg_kernels::attention::{self, Params};
use thalweg_kernels::heads::Heads;

fn lengths(random: &mut Random, longest: u32) -> Vec<u32> {
    (0..1 + random.below(9)).map(|_| 1 + random.below(longest)).collect()
}

/// The device agrees with the reference.
#[track_caller]
fn call_agrees<T: Float>(rig: &mut Rig, source: &KernelSource, call: &Call) {
    let call = call.clone().rounded(|value| T::of(value).value());
    let inputs = call.bytes(T::of);
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let last = Last::<T>::Out(call.elements());
    let device = rig.run(source, &call.params, &inputs, &last, call.rows()).unwrap();
    let device: Vec<f32> = device.into_iter().map(T::value).collect();
    assert_close(&device, &call.expected(), T::TOLERANCE + 1e-5);
}

fn attention_agrees<T: Float>(rig: &mut Rig, kernels: &Kernels, step: u32, seed: u64) {
    let source = form::<T>(kernels);
    let mut random = Random::new(seed);
    for case in 0..36 {
        let head_dim = (1 + random.below(if case % 4 == 0 { 300 } else { 40 } / step)) * step;
        let lengths = lengths(&mut random, [5, 40, 100][case % 3]);
        let mut call = Call::random(&mut random, &lengths, head_dim, step);
        if case % 5 == 4 {
            call = call.poisoned(&mut random);
        }
        call_agrees::<T>(rig, source, &call);
    }
    let mut call = Call::plain(&mut random, &[700, 3], 1, 8);
    for (before, after) in [(u32::MAX, u32::MAX), (u32::MAX, 0), (0, 0), (64, 64), (31, 0), (500, 2), (699, 699)] {
        call.params = Params { before, after, ..call.params };
        call_agrees::<T>(rig, source, &call);
    }
}

/// What contradicts the operands fails, and touches nothing else; the rig looks at what lies around them.
fn attention_refuses<T: Float>(rig: &mut Rig, kernels: &Kernels) {
    let source = form::<T>(kernels);
    let mut random = Random::new(5);
    let call = Call::plain(&mut random, &[1, 2], 2, 4);
    let mut fails = |params: Params, offsets: &[u32]| {
        let call = Call { params, offsets: offsets.to_vec(), bias: vec![0.0; 10], ..call.clone() };
        let inputs = call.bytes(T::of);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        assert!(rig.both(source, &params, &inputs, &Last::<T>::Out(24), 3).is_none(), "{params:?}, {offsets:?}");
    };
    let good = Params { reach: 2, ..call.params };
    let offsets = &[0, 1, 3];
    for wrong in [[1, 2, 3], [0, 2, 2], [0, 3, 2], [0, 1, 4], [0, 4, 3], [0, u32::MAX, 3]] {
        fails(good, &wrong);
    }
    for sequences in [0, 1, 3, u32::MAX] {
        fails(Params { sequences, ..good }, offsets);
    }
    for (heads, kv_heads, head_dim) in [(0, 2, 4), (2, 0, 4), (2, 2, 0), (3, 1, 4), (2, 4, 4), (2, u32::MAX, 4)] {
        fails(Params { heads, kv_heads, head_dim, ..good }, offsets);
    }
    // One step of four past the end, and such steps that a u32 does not count them.
    let contiguous = good.query;
    for offset in [4, 24, u32::MAX - 3] {
        let past = Heads { offset, ..contiguous };
        for params in [Params { query: past, ..good }, Params { key: past, ..good }, Params { value: past, ..good }] {
            fails(params, offsets);
        }
    }
    for stride in [12, 1 << 30, 1 << 31, u32::MAX - 3] {
        fails(Params { key: Heads { row_stride: stride, ..contiguous }, ..good }, offsets);
        fails(Params { value: Heads { head_stride: stride, ..contiguous }, ..good }, offsets);
    }
    // The bias has another length, or is too short for the second sequence.
    for reach in [1, 3, 0x7fff_ffff, u32::MAX / 2 + 1, u32::MAX - 1] {
        fails(Params { reach, ..good }, offsets);
    }
    let call = Call { params: Params { reach: 0, ..good }, bias: vec![0.0; 2], ..call };
    let inputs = call.bytes(T::of);
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let error = rig.run(source, &call.params, &inputs, &Last::<T>::Out(24), 3).err().unwrap().to_string();
    assert!(error.contains("a sequence is longer than the relative bias reaches (1)"), "{error}");
}

#[test]
fn attention_runs() {
    for mut rig in Rig::all() {
        attention_agrees::<f32>(&mut rig, &attention::ATTENTION, 1, 11);
        attention_agrees::<f32>(&mut rig, &attention::ATTENTION_WIDE, 4, 12);
        attention_agrees::<half::f16>(&mut rig, &attention::ATTENTION, 1, 13);
        attention_agrees::<half::f16>(&mut rig, &attention::ATTENTION_WIDE, 4, 14);
        for kernels in [&attention::ATTENTION, &attention::ATTENTION_WIDE] {
            attention_refuses::<f32>(&mut rig, kernels);
            attention_refuses::<half::f16>(&mut rig, kernels);
        }
    }
}

#[test]
fn the_wide_form_refuses_other_steps() {
    for mut rig in Rig::all() {
        let call = Call::plain(&mut Random::new(6), &[1, 2], 2, 4);
        let inputs = call.bytes(|value| value);
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        let narrow = Heads { row_stride: 6, ..call.params.query };
        for params in [
            Params { query: narrow, ..call.params },
            Params { key: narrow, ..call.params },
            Params { value: narrow, ..call.params },
            Params { head_dim: 2, ..call.params },
        ] {
            let last = Last::<f32>::Out(24);
            let error =
                rig.run(form::<f32>(&attention::ATTENTION_WIDE), &params, &inputs, &last, 3).unwrap_err().to_string();
            assert!(error.contains("multiples of 4"), "{error}");
        }
    }
}
