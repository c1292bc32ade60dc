use super::ALL;
use naga::{AddressSpace, Module, TypeInner};
use std::mem::offset_of;
use thalweg_hal::KernelSource;
use thalweg_kernels::elementwise::View;
use thalweg_kernels::elementwise::{BinaryInPlaceParams, BinaryParams, CopyParams, UnaryInPlaceParams, UnaryParams};
use thalweg_kernels::embedding::SumParams;
use thalweg_kernels::heads::Heads;
use thalweg_kernels::pool::{NormalizeParams, PoolParams};
use thalweg_kernels::{attention, embedding, linear, matmul, norm, reduce, softmax};

/// A kernel's module.
pub(super) fn parse(source: &KernelSource) -> Module {
    let capabilities = naga::valid::Capabilities::IMMEDIATES | naga::valid::Capabilities::SHADER_FLOAT16;
    let mut frontend = naga::front::wgsl::Frontend::new();
    frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities });
    frontend.parse(&source.wgsl.as_ref().unwrap().module().source).unwrap()
}

/// The offsets of a struct's members, of those of structs in it too, and its size.
fn lay_out(module: &Module, inner: &TypeInner, base: u32, offsets: &mut Vec<u32>) -> u32 {
    let TypeInner::Struct { members, span } = inner else { panic!("the parameters are not a struct") };
    for member in members {
        let offset = base + member.offset;
        match &module.types[member.ty].inner {
            inner @ TypeInner::Struct { .. } => {
                lay_out(module, inner, offset, offsets);
            }
            TypeInner::Array { stride, .. } => {
                assert_eq!(*stride, 4);
                offsets.push(offset);
            }
            _ => offsets.push(offset),
        }
    }
    *span
}

macro_rules! offsets {
    ($type:ty: $($field:ident),+) => {
        (size_of::<$type>(), vec![$(offset_of!($type, $field)),+])
    };
}

/// The same of the kernel's parameter struct in Rust.
fn in_rust(name: &str) -> (usize, Vec<usize>) {
    let name = name.trim_end_matches("_f16");
    let view = |at: usize| [at + offset_of!(View, offset), at + offset_of!(View, strides)];
    match name {
        "attention" | "attention_wide" => {
            let (size, mut offsets) =
                offsets!(attention::Params: heads, kv_heads, head_dim, sequences, scale, before, after, reach);
            for at in [
                offset_of!(attention::Params, query),
                offset_of!(attention::Params, key),
                offset_of!(attention::Params, value),
            ] {
                let (_, heads) = offsets!(Heads: offset, row_stride, head_stride);
                offsets.extend(heads.iter().map(|offset| at + offset));
            }
            (size, offsets)
        }
        "linear" | "linear_few" | "linear_few_wide" | "linear_some" | "linear_some_wide" | "linear_wide" => {
            offsets!(linear::Params: inputs, outputs, activation)
        }
        "embedding" => offsets!(embedding::Params: rows, width),
        "embed_sum" => offsets!(SumParams: words, positions, types, width),
        "layer_norm" | "add_layer_norm" => offsets!(norm::Params: width, epsilon),
        "normalize" => offsets!(NormalizeParams: width),
        "pool" => offsets!(PoolParams: pooling, sequences, rows, width),
        "reduce" => offsets!(reduce::Params: reduction, width),
        "softmax" => offsets!(softmax::Params: width),
        "unary_in_place" => offsets!(UnaryInPlaceParams: operation, first, elements),
        "unary" => {
            let (size, mut offsets) = offsets!(UnaryParams: operation, shape);
            offsets.extend(view(offset_of!(UnaryParams, from)));
            (size, offsets)
        }
        "copy" | "cast_to" | "cast_to_f32" => {
            let (size, mut offsets) = offsets!(CopyParams: shape);
            offsets.extend(view(offset_of!(CopyParams, from)));
            (size, offsets)
        }
        "matmul" => {
            let (size, mut offsets) = offsets!(matmul::Params: batch, m, k, n);
            for at in [offset_of!(matmul::Params, a), offset_of!(matmul::Params, b)] {
                let (_, matrix) = offsets!(matmul::Matrix: offset, batch_stride, row_stride, column_stride);
                offsets.extend(matrix.iter().map(|offset| at + offset));
            }
            (size, offsets)
        }
        name if name.starts_with("binary") && name.ends_with("in_place") => {
            let (size, mut offsets) = offsets!(BinaryInPlaceParams: operation, first, shape);
            offsets.extend(view(offset_of!(BinaryInPlaceParams, b)));
            (size, offsets)
        }
        name if name.starts_with("binary") => {
            let (size, mut offsets) = offsets!(BinaryParams: operation, shape);
            offsets.extend(view(offset_of!(BinaryParams, a)));
            offsets.extend(view(offset_of!(BinaryParams, b)));
            (size, offsets)
        }
        name => panic!("{name} is not in this list"),
    }
}

#[test]
fn parameters_lie_where_rust_puts_them() {
    for source in ALL {
        let module = parse(source);
        let global = module.global_variables.iter().find(|(_, global)| global.space == AddressSpace::Immediate);
        let (_, global) = global.unwrap_or_else(|| panic!("{} has no var<immediate>", source.name));
        let mut offsets = Vec::new();
        let size = lay_out(&module, &module.types[global.ty].inner, 0, &mut offsets);
        let (rust_size, rust_offsets) = in_rust(&source.name);
        assert_eq!(size as usize, rust_size, "{}", source.name);
        assert_eq!(source.params_bytes, size, "{}", source.name);
        assert_eq!(offsets.iter().map(|offset| *offset as usize).collect::<Vec<_>>(), rust_offsets, "{}", source.name);
    }
}
