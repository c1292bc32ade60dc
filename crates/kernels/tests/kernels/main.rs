//! Every kernel on every instruction set of this machine, against its f64 reference.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]
#![allow(clippy::single_range_in_vec_init, reason = "a dispatch in one part is a list of one range")]

mod attention;
#[path = "../common/mod.rs"]
mod common;
mod concat;
mod elementwise;
mod embedding;
mod float16;
mod gather;
mod linear;
mod math;
mod matmul;
mod rows;

use bytemuck::Pod;
use proptest::test_runner::Config;
use thalweg_doubles::testing::{Random, bits, run};
use thalweg_hal::{Error, KernelSource, StaticKernel};
use thalweg_kernels::{Isa, Kernels, Scalar};

/// Cases of a property: fewer where each takes long.
fn cases(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

/// A kernel with given instructions.
fn form(kernels: &Kernels, scalar: Scalar, isa: Isa) -> KernelSource {
    kernels.on(scalar, isa).unwrap()
}

/// A kernel of f32 with given instructions.
fn on(kernels: &Kernels, isa: Isa) -> KernelSource {
    form(kernels, Scalar::F32, isa)
}

/// A kernel of f32.
fn single(kernels: &Kernels) -> &'static StaticKernel {
    kernels.get(Scalar::F32).unwrap()
}

/// A kernel of f16.
fn half(kernels: &Kernels) -> &'static StaticKernel {
    kernels.get(Scalar::F16).unwrap()
}

/// A kernel's f32 output, after the check that it has the same bits however the dispatch is split.
#[track_caller]
fn checked<P: Pod>(
    source: &KernelSource,
    params: &P,
    inputs: &[&[u8]],
    output_elements: usize,
    items: u32,
    random: &mut Random,
) -> Vec<f32> {
    let whole: Vec<f32> = run(source, params, inputs, output_elements, items, &[0..items]).unwrap();
    let parts = random.parts(items);
    let split: Vec<f32> = run(source, params, inputs, output_elements, items, &parts).unwrap();
    assert_eq!(bits(&whole), bits(&split), "split into {parts:?}");
    whole
}

/// The message that a kernel fails with; a panic of the kernel does not count.
#[track_caller]
fn failure<P: Pod>(source: &KernelSource, params: &P, inputs: &[&[u8]], output_elements: usize, items: u32) -> String {
    match run::<P, f32>(source, params, inputs, output_elements, items, &[0..items]) {
        Err(Error::Kernel { failure, .. }) if !failure.message.starts_with("panicked") => failure.message.into_owned(),
        other => panic!("expected a failure of the kernel, got {other:?}"),
    }
}

/// The bytes of a slice.
fn raw<T: Pod>(slice: &[T]) -> &[u8] {
    bytemuck::cast_slice(slice)
}
