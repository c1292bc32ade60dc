//! A text on bytes.

use metal_sim::shader::{Function, Launch, Library, Options, Span};
use std::sync::Arc;

/// Bytes at an address that is aligned for every type, and behind them some that nobody may touch.
struct Aligned {
    words: Vec<u128>,
    bytes: usize,
}

const BEHIND: u128 = 0x5a5a_5a5a_5a5a_5a5a_5a5a_5a5a_5a5a_5a5a;

impl Aligned {
    fn of(bytes: &[u8]) -> Self {
        let words = bytes.chunks(16).map(|chunk| {
            let mut word = BEHIND.to_ne_bytes();
            word[..chunk.len()].copy_from_slice(chunk);
            u128::from_ne_bytes(word)
        });
        Self { words: words.chain([BEHIND; 4]).collect(), bytes: bytes.len() }
    }

    fn read(&self) -> &[u8] {
        let (bytes, behind) = bytemuck::cast_slice(&self.words).split_at(self.bytes);
        assert!(behind.iter().all(|byte| *byte == 0x5a), "written past the end of a buffer");
        bytes
    }
}

/// The kernel of a text with this name.
#[track_caller]
pub(super) fn function(source: &str, name: &str) -> Arc<Function> {
    let library = Library::compile(source, &Options::default()).unwrap_or_else(|error| panic!("{error}\n{source}"));
    library.function(name).unwrap()
}

/// Runs a kernel along one axis on buffers 0, 1, and so on.
pub(super) fn run(function: &Function, groups: u32, threads: u32, buffers: &mut [&mut [u8]]) {
    run3(function, [groups, 1, 1], [threads, 1, 1], buffers);
}

/// Runs a kernel on buffers 0, 1, and so on.
pub(super) fn run3(function: &Function, grid: [u32; 3], size: [u32; 3], buffers: &mut [&mut [u8]]) {
    let mut aligned: Vec<Aligned> = buffers.iter().map(|bytes| Aligned::of(bytes)).collect();
    let spans: Vec<_> = aligned
        .iter_mut()
        .map(|buffer| Some(Span { start: buffer.words.as_mut_ptr().cast(), bytes: buffer.bytes }))
        .collect();
    let threadgroup: Vec<usize> =
        function.threadgroup.iter().map(|bytes| bytes.next_multiple_of(16) as usize).collect();
    // SAFETY: the spans are this function's, and the texts of these tests keep inside of them.
    unsafe { function.run(&Launch { buffers: &spans, threadgroup: &threadgroup, grid, size }) };
    for (bytes, buffer) in buffers.iter_mut().zip(&aligned) {
        bytes.copy_from_slice(buffer.read());
    }
}

/// A text with what every text begins with.
pub(super) fn text(body: &str) -> String {
    format!("#include <metal_stdlib>\nusing namespace metal;\n{body}")
}

/// The bytes of some values.
pub(super) fn raw<T: bytemuck::Pod>(values: &mut [T]) -> &mut [u8] {
    bytemuck::cast_slice_mut(values)
}
