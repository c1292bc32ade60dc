//! The project's kernels, as naga writes them: they compile, and their arguments are what the backend is told.

#![cfg(metal_sim)]
#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

use metal_sim::shader::{Library, Options};
use thalweg_hal::Access;
use thalweg_hal::shader::{Msl, compile};

#[test]
fn every_kernel_compiles() {
    for (_, source) in thalweg_kernels::all().flat_map(|kernels| kernels.forms()) {
        let Msl { text, entry, workgroup_bytes, .. } = compile(source, "test", |shader| shader.msl()).unwrap();
        let library = Library::compile(&text, &Options::default()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let function = library.function(&entry).unwrap();
        assert_eq!(function.threadgroup, workgroup_bytes, "{}", source.name);
        // The bindings, the words for a failure, the parameters and the lengths.
        let mut written: Vec<bool> = source.bindings.iter().map(|access| *access != Access::Read).collect();
        written.extend([true, false, false]);
        let mut buffers = function.buffers.clone();
        buffers.sort_by_key(|buffer| buffer.index);
        let found: Vec<bool> = buffers.iter().map(|buffer| buffer.writes).collect();
        assert_eq!(found, written, "{}", source.name);
        assert!(buffers.iter().rev().take(2).all(|buffer| buffer.constant), "{}", source.name);
    }
}
