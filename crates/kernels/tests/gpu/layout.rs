use naga::{AddressSpace, Module, TypeInner};
use thalweg_hal::KernelSource;

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

#[test]
fn parameters_lie_where_rust_puts_them() {
    for kernels in thalweg_kernels::all() {
        for (_, source) in kernels.forms() {
            let module = parse(source);
            let global = module.global_variables.iter().find(|(_, global)| global.space == AddressSpace::Immediate);
            let (_, global) = global.unwrap_or_else(|| panic!("{} has no var<immediate>", source.name));
            let mut offsets = Vec::new();
            let size = lay_out(&module, &module.types[global.ty].inner, 0, &mut offsets);
            assert_eq!(source.params_bytes, size, "{}", source.name);
            let offsets: Vec<usize> = offsets.into_iter().map(|offset| offset as usize).collect();
            assert_eq!(offsets, kernels.parameter_offsets(), "{}", source.name);
        }
    }
}
