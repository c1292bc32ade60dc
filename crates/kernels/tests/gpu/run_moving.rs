//! As `run`, for kernels that move elements.

use super::rig::{Last, Rig};
use super::run::raw;
use super::run_elementwise::{elements, shape, view};
use bytemuck::Pod;
use std::fmt::Debug;
use thalweg_doubles::testing::Random;
use thalweg_kernels::concat::{CONCAT, MAX_PIECES};
use thalweg_kernels::gather::GATHER;
use thalweg_kernels::{Scalar, concat, gather};

fn concat_agrees<T: Pod + PartialEq + Debug>(rig: &mut Rig, scalar: Scalar, of: impl Fn(u32) -> T) {
    let mut random = Random::new(71);
    for case in 0..24 {
        let rows = 1 + random.below(9);
        let mut params =
            concat::Params { offsets: [0; MAX_PIECES], row_strides: [0; MAX_PIECES], widths: [0; MAX_PIECES] };
        let mut pieces = Vec::new();
        for at in 0..MAX_PIECES {
            let width = if at > case % MAX_PIECES { 0 } else { random.below(60) + u32::from(at == 0) };
            let stride = [0, width, width + 3][random.below(3) as usize];
            (params.offsets[at], params.row_strides[at], params.widths[at]) = (random.below(4), stride, width);
            let len = params.offsets[at] + (rows - 1) * stride + width;
            let len = elements(&mut random, len).max(1);
            pieces.push((0..len).map(|_| of(random.below(1 << 15))).collect::<Vec<_>>());
        }
        let n = rows * params.widths.iter().sum::<u32>() + u32::from(case == 20);
        let inputs: Vec<&[u8]> = pieces.iter().map(|piece| raw(piece)).collect();
        let source = CONCAT.get(scalar).unwrap();
        if let Some([device, host]) = rig.both(source, &params, &inputs, &Last::<T>::Out(n as usize), n) {
            assert_eq!(device, host);
        }
    }
}

fn gather_agrees<T: Pod + PartialEq + Debug>(rig: &mut Rig, scalar: Scalar, of: impl Fn(u32) -> T) {
    let mut random = Random::new(72);
    for case in 0..30 {
        let shape = shape(&mut random);
        let n = shape.iter().product::<u32>();
        let ((from, x_len), (index, index_len)) = (view(&mut random, shape), view(&mut random, shape));
        let (length, stride) = (1 + random.below(20), random.below(30));
        let x_len = elements(&mut random, x_len + (length - 1) * stride);
        let x: Vec<T> = (0..x_len).map(|_| of(random.below(1 << 15))).collect();
        let mut indices: Vec<u32> = (0..elements(&mut random, index_len)).map(|_| random.below(length)).collect();
        if case % 7 == 6 {
            indices.fill([length, u32::MAX][case / 7 % 2]);
        }
        let params = gather::Params { length, stride, shape, from, index };
        let (source, last) = (GATHER.get(scalar).unwrap(), Last::<T>::Out(n as usize));
        if let Some([device, host]) = rig.both(source, &params, &[raw(&x), raw(&indices)], &last, n) {
            assert_eq!(device, host);
        }
    }
}

#[test]
fn moves_run() {
    for mut rig in Rig::all() {
        concat_agrees(&mut rig, Scalar::U32, |value| value << 16 | value);
        concat_agrees(&mut rig, Scalar::F16, |value| value as u16 & 0x3fff);
        gather_agrees(&mut rig, Scalar::U32, |value| value << 16 | value);
        gather_agrees(&mut rig, Scalar::F16, |value| value as u16 & 0x3fff);
    }
}
