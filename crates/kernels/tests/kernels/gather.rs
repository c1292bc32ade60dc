use super::elementwise::{shape, view};
use super::{cases, failure, form, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, run};
use thalweg_kernels::elementwise::View;
use thalweg_kernels::gather::{GATHER, Params, reference};
use thalweg_kernels::{Isa, Scalar};

proptest! {
    #![proptest_config(cases(96))]
    #[test]
    fn agrees_with_the_reference(seed: u64, length in 1u32..20) {
        let mut random = Random::new(seed);
        let shape = shape(&mut random);
        let n = shape.iter().product::<u32>();
        let ((from, x_len), (mut index, mut index_len)) = (view(&mut random, shape), view(&mut random, shape));
        if random.below(2) == 0 {
            // One index for all along the innermost axes, as a list of rows has it.
            index = View { offset: 2, strides: [0, 1, 0, 0, 0, 0] };
            index_len = shape[1] as usize + 2;
        }
        let stride = random.below(40);
        let x: Vec<u32> = (0..x_len as u32 + (length - 1) * stride).map(|_| random.bits() as u32).collect();
        let indices: Vec<u32> = (0..index_len).map(|_| random.below(length)).collect();
        let params = Params { length, stride, shape, from, index };
        let expected = reference::gather(&params, &x, &indices);
        for isa in Isa::supported() {
            let (source, parts) = (form(&GATHER, Scalar::U32, isa), random.parts(n));
            let out: Vec<u32> = run(&source, &params, &[raw(&x), raw(&indices)], n as usize, n, &parts).unwrap();
            prop_assert_eq!(&out, &expected);
        }
    }
}

#[test]
fn refuses_indices_and_parameters_that_contradict_the_bindings() {
    let (shape, x) = ([1, 1, 1, 1, 3, 4], [0u32; 20]);
    let from = View { offset: 0, strides: [0, 0, 0, 0, 0, 1] };
    let index = View { offset: 0, strides: [0, 0, 0, 0, 1, 0] };
    let good = Params { length: 5, stride: 4, shape, from, index };
    let source = form(&GATHER, Scalar::U32, thalweg_kernels::isa());
    let fails = |params: Params, indices: &[u32], items: u32| {
        failure(&source, &params, &[raw(&x), raw(indices)], items as usize, items)
    };
    let beyond = "index 5 for element 8 of the output is outside of an axis of 5";
    assert_eq!(fails(good, &[4, 0, 5], 12), beyond);
    assert!(fails(Params { length: 0, ..good }, &[0; 3], 12).contains("index 0 for element 0"));
    assert!(fails(good, &[0; 3], 11).contains("extent of 11 items"));
    assert!(fails(good, &[0; 2], 12).contains("the indices"));
    assert!(fails(Params { length: 6, ..good }, &[0; 3], 12).contains("the operand"));
    assert!(fails(Params { stride: u32::MAX, length: u32::MAX, ..good }, &[0; 3], 12).contains("the operand"));
}
