use super::{cases, failure, form, raw};
use proptest::prelude::*;
use thalweg_doubles::testing::{Random, run};
use thalweg_kernels::concat::{CONCAT, MAX_PIECES, Params, reference};
use thalweg_kernels::{Isa, Scalar};

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn agrees_with_the_reference(seed: u64, rows in 1u32..40) {
        let mut random = Random::new(seed);
        let mut params = Params { offsets: [0; MAX_PIECES], row_strides: [0; MAX_PIECES], widths: [0; MAX_PIECES] };
        let used = 1 + random.below(MAX_PIECES as u32) as usize;
        let mut pieces = vec![vec![7u16]; MAX_PIECES];
        for (at, piece) in pieces.iter_mut().enumerate().take(used) {
            let width = [random.below(4), random.below(300)][random.below(2) as usize];
            let stride = [0, width, width + random.below(5)][random.below(3) as usize];
            (params.offsets[at], params.row_strides[at], params.widths[at]) = (random.below(9), stride, width);
            let len = params.offsets[at] + (rows - 1) * stride + width;
            // A binding is never empty.
            *piece = (0..len.max(1)).map(|_| random.bits() as u16).collect();
        }
        params.widths[0] = params.widths[0].max(1);
        let len = pieces[0].len().max((params.offsets[0] + (rows - 1) * params.row_strides[0] + 1) as usize);
        pieces[0].resize(len, 9);
        let n = rows * params.widths.iter().sum::<u32>();
        let slices: Vec<&[u16]> = pieces.iter().map(|piece| &piece[..]).collect();
        let expected = reference::concat(&params, &slices, rows);
        let inputs: Vec<&[u8]> = pieces.iter().map(|piece| raw(piece)).collect();
        for isa in Isa::supported() {
            let (source, parts) = (form(&CONCAT, Scalar::F16, isa), random.parts(n));
            let out: Vec<u16> = run(&source, &params, &inputs, n as usize, n, &parts).unwrap();
            prop_assert_eq!(&out, &expected);
        }
    }
}

#[test]
fn refuses_parameters_that_contradict_the_bindings() {
    let piece = [1u32; 6];
    let mut good = Params { offsets: [0; MAX_PIECES], row_strides: [3; MAX_PIECES], widths: [0; MAX_PIECES] };
    good.widths[..2].copy_from_slice(&[3, 3]);
    let source = form(&CONCAT, Scalar::U32, thalweg_kernels::isa());
    let fails =
        |params: Params, items: u32| failure(&source, &params, &[raw(&piece); MAX_PIECES], items as usize, items);
    assert!(fails(good, 13).contains("extent of 13 items, the widths are [3, 3, 0, 0, 0, 0, 0]"));
    assert!(fails(Params { widths: [0; MAX_PIECES], ..good }, 12).contains("the widths are"));
    assert!(fails(good, 18).contains("operand 0 reaches element 8, the binding has 6"));
    let far = Params { offsets: [0, 1, 0, 0, 0, 0, 0], ..good };
    assert!(fails(far, 12).contains("operand 1 reaches element 6, the binding has 6"));
    assert!(fails(Params { row_strides: [u32::MAX; MAX_PIECES], ..good }, 12).contains("operand 0 reaches element"));
}
