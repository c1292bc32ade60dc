use super::{cases, checked, failure, on, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, assert_close, bits, run};
use thalweg_kernels::Isa;
use thalweg_kernels::linear::{Activation, LINEAR, Params, pack, packed_len, reference};

/// An operand of a layer of each kind.
struct Layer {
    x: Vec<f32>,
    weight: Vec<f32>,
    packed: Vec<f32>,
    bias: Vec<f32>,
    params: Params,
}

impl Layer {
    fn random(random: &mut Random, rows: usize, inputs: usize, outputs: usize, activation: Activation) -> Self {
        let weight = random.units(outputs * inputs);
        let packed = pack(&weight, outputs, inputs);
        let params = Params { inputs: inputs as u32, outputs: outputs as u32, activation: activation as u32 };
        Self { x: random.units(rows * inputs), packed, weight, bias: random.units(outputs), params }
    }

    fn operands(&self) -> [&[u8]; 3] {
        [raw(&self.x), raw(&self.packed), raw(&self.bias)]
    }
}

proptest! {
    #![proptest_config(cases(48))]
    #[test]
    fn agrees_with_the_reference(
        seed: u64,
        rows in 1usize..60,
        inputs in prop_oneof![Just(1usize), 2usize..40, 100usize..300],
        outputs in prop_oneof![Just(1usize), 2usize..40, 60usize..130],
        activation in prop::sample::select(Activation::ALL.to_vec()),
    ) {
        let mut random = Random::new(seed);
        let layer = Layer::random(&mut random, rows, inputs, outputs, activation);
        let expected = reference::linear(&layer.x, &layer.weight, &layer.bias, inputs, activation);
        for isa in Isa::supported() {
            let operands = layer.operands();
            let out = checked(&on(&LINEAR, isa), &layer.params, &operands, rows * outputs, rows as u32, &mut random);
            assert_close(&out, &expected, 2e-6 + 5e-8 * inputs as f64);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_any_batch() {
    let (inputs, outputs) = (77, 45);
    let mut random = Random::new(11);
    for isa in Isa::supported() {
        let layer = Layer::random(&mut random, 40, inputs, outputs, Activation::Gelu);
        let source = on(&LINEAR, isa);
        let layer_of = |rows: std::ops::Range<usize>| -> Vec<u32> {
            let x = &layer.x[rows.start * inputs..rows.end * inputs];
            let operands = [raw(x), raw(&layer.packed), raw(&layer.bias)];
            let n = rows.len() as u32;
            bits(&run(&source, &layer.params, &operands, rows.len() * outputs, n, &[0..n]).unwrap())
        };
        let alone: Vec<u32> = (0..40).flat_map(|row| layer_of(row..row + 1)).collect();
        for n in 1..=40 {
            assert_eq!(layer_of(0..n), alone[..n * outputs], "{isa}: the first {n} rows");
            assert_eq!(layer_of(40 - n..40), alone[(40 - n) * outputs..], "{isa}: the last {n} rows");
        }
    }
}

#[test]
fn more_rows_than_the_cache_holds() {
    // The first-level blocking takes 512 KiB of x at a time: 400 rows of 700 are more than twice that.
    let (rows, inputs, outputs) = (400, 700, 33);
    let mut random = Random::new(12);
    let layer = Layer::random(&mut random, rows, inputs, outputs, Activation::None);
    let expected = reference::linear(&layer.x, &layer.weight, &layer.bias, inputs, Activation::None);
    for isa in Isa::supported() {
        let operands = layer.operands();
        let out = checked(&on(&LINEAR, isa), &layer.params, &operands, rows * outputs, rows as u32, &mut random);
        assert_close(&out, &expected, 4e-5);
    }
}

#[test]
fn not_a_number_reaches_its_row_alone() {
    let mut random = Random::new(13);
    for isa in Isa::supported() {
        let mut layer = Layer::random(&mut random, 20, 30, 40, Activation::None);
        layer.x[7 * 30 + 4] = f32::NAN;
        let out = checked(&on(&LINEAR, isa), &layer.params, &layer.operands(), 20 * 40, 20, &mut random);
        for (row, out) in out.chunks(40).enumerate() {
            assert!(out.iter().all(|v| v.is_nan() == (row == 7)), "{isa}: row {row}");
        }
    }
}

#[test]
fn packs_in_panels_of_32_with_zeros_behind_the_last() {
    let (outputs, inputs) = (35, 3);
    let weight: Vec<f32> = (0..outputs * inputs).map(|i| i as f32 + 1.0).collect();
    let packed = pack(&weight, outputs, inputs);
    assert_eq!(packed.len(), 192);
    assert_eq!(packed.len(), packed_len(outputs, inputs));
    for (at, value) in packed.into_iter().enumerate() {
        let (panel, input, column) = (at / 96, at % 96 / 32, at % 32);
        let output = panel * 32 + column;
        let expected = if output < outputs { weight[output * inputs + input] } else { 0.0 };
        assert_eq!(value, expected, "panel {panel}, input {input}, column {column}");
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let layer = Layer::random(&mut Random::new(14), 4, 8, 40, Activation::None);
    let fails = |params: Params| failure(&on(&LINEAR, thalweg_kernels::isa()), &params, &layer.operands(), 160, 4);
    assert!(fails(Params { inputs: 9, ..layer.params }).contains("x has 32 elements"));
    assert!(fails(Params { inputs: 0, ..layer.params }).contains("inputs is 0"));
    assert!(fails(Params { outputs: 0, ..layer.params }).contains("outputs is 0"));
    assert!(fails(Params { outputs: 39, ..layer.params }).contains("bias has 40 elements"));
    assert!(fails(Params { outputs: 100, ..layer.params }).contains("packed weight"));
    assert!(fails(Params { outputs: u32::MAX, inputs: u32::MAX, ..layer.params }).contains("x has"));
    assert!(fails(Params { activation: 7, ..layer.params }).contains("activation 7"));
}
