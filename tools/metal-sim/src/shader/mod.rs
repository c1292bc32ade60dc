//! The Metal Shading Language on the host: a text becomes a shared object, and a dispatch runs on the calling thread.
//!
//! | file | does |
//! |---|---|
//! | `translate` | a text of Metal's to C++: finds the kernels and their arguments, writes a function that calls each |
//! | `compile` | C++ to a shared object by clang, which is loaded and stays so |
//! | `cache` | keeps the shared objects in a folder, whole or not at all |
//! | `run` | the groups of a dispatch, one after the other in any order, each with poisoned threadgroup memory |
//!
//! The library that stands in for Metal's is in `shim/`; a group with threads that wait for each other is a set of
//! fibers.

mod cache;
mod compile;
mod run;
mod translate;

pub use run::{Launch, Span};

pub(crate) use run::{At, Call};

use std::sync::Arc;

/// What the host said about how to compile that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Whether the compiler may assume that there is no NaN and no infinity, and may reorder sums.
    pub fast_math: bool,
}

/// A compiled text. Its shared object stays loaded to the process's end.
#[derive(Debug)]
pub struct Library {
    functions: Vec<Arc<Function>>,
}

/// A kernel of a [`Library`].
#[derive(Debug)]
pub struct Function {
    /// Its name in the text.
    pub name: String,
    /// `max_total_threads_per_threadgroup`; 1024 if the text says none.
    pub max_threads: u32,
    /// What it takes in buffers, in the order of the text.
    pub buffers: Vec<BufferArgument>,
    /// The bytes that the type of each threadgroup argument needs, by its index.
    pub threadgroup: Vec<u32>,
    /// Whether its threads wait for each other.
    meets: bool,
    code: compile::Code,
}

/// A kernel's argument in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferArgument {
    /// The buffer's index.
    pub index: u32,
    /// The fewest bytes that the argument's type needs: of an array without a length, one element.
    pub bytes: u32,
    /// The type's alignment.
    pub align: u32,
    /// Whether the kernel can write through it.
    pub writes: bool,
    /// Whether it is in the `constant` address space.
    pub constant: bool,
}

impl Library {
    /// Compiles a text, or takes it from the cache.
    ///
    /// # Errors
    /// What is wrong with the text, as the compiler says it; or why there is no compiler.
    pub fn compile(source: &str, options: &Options) -> Result<Self, String> {
        let text = translate::translate(source)?;
        let image = compile::load(&text.cpp, options)?;
        let functions = text.kernels.into_iter().enumerate().map(|(index, kernel)| {
            let (code, arguments) = image.kernel(index)?;
            let mut function = Function {
                name: kernel.name,
                max_threads: kernel.max_threads,
                buffers: Vec::new(),
                threadgroup: Vec::new(),
                meets: text.meets,
                code,
            };
            for argument in arguments {
                if argument.in_buffer() {
                    function.buffers.push(argument.buffer());
                    continue;
                }
                let index = argument.index as usize;
                if function.threadgroup.len() <= index {
                    function.threadgroup.resize(index + 1, 0);
                }
                function.threadgroup[index] = argument.bytes;
            }
            Ok(Arc::new(function))
        });
        Ok(Self { functions: functions.collect::<Result<_, String>>()? })
    }

    /// The kernel of this name.
    pub fn function(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.iter().find(|function| function.name == name).map(Arc::clone)
    }

    /// The names of the kernels, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|function| &*function.name)
    }
}
