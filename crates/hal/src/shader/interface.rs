//! What a module binds, compared with what its kernel declares.

use super::compile_error;
use crate::{KernelSource, MAX_BINDINGS, Result};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};

/// Compares what the module binds with what the kernel declares. Gives the fewest bytes of each binding, and whether
/// there are words for a failure.
pub(super) fn check(source: &KernelSource, module: &Module) -> Result<(Vec<u64>, bool)> {
    let wrong = |message: String| Err(compile_error(source, message));
    if source.bindings.len() > MAX_BINDINGS {
        return wrong(format!("{} bindings; there can be {MAX_BINDINGS}", source.bindings.len()));
    }
    let (mut least, mut params, mut fails) = (vec![None; source.bindings.len()], None, false);
    for (_, global) in module.global_variables.iter() {
        let name = global.name.as_deref().unwrap_or("(without a name)");
        let inner = &module.types[global.ty].inner;
        match (global.space, global.binding) {
            (AddressSpace::WorkGroup | AddressSpace::Private, None) => {}
            (AddressSpace::Immediate, None) if params.is_some() => {
                return wrong(format!("`{name}` is a second var<immediate>; there can be one"));
            }
            (AddressSpace::Immediate, None) => params = inner.try_size(module.to_ctx()),
            (AddressSpace::Storage { access }, Some(naga::ResourceBinding { group: 0, binding })) => {
                let stores = access.contains(StorageAccess::STORE);
                match source.bindings.get(binding as usize) {
                    Some(expected) if expected.writes() == stores => {
                        let Some(bytes) = inner.try_size(module.to_ctx()) else {
                            return wrong(format!("the type of `{name}` is too large"));
                        };
                        // Two variables may have one binding.
                        let known: &mut Option<u64> = &mut least[binding as usize];
                        *known = Some(known.unwrap_or(0).max(bytes.into()));
                    }
                    Some(expected) => {
                        let form = if expected.writes() { "storage, read_write" } else { "storage, read" };
                        return wrong(format!(
                            "`{name}` is binding {binding}, which the kernel declares as {expected:?}: it has to be var<{form}>"
                        ));
                    }
                    None if binding as usize == source.bindings.len() && stores && is_failure(module, inner) => {
                        fails = true
                    }
                    None => {
                        let count = source.bindings.len();
                        return wrong(format!(
                            "`{name}` is binding {binding}; the kernel declares {count} bindings, and behind them there can only be `failure: array<atomic<u32>, 2>`"
                        ));
                    }
                }
            }
            (space, _) => {
                return wrong(format!(
                    "`{name}` is in {space:?}; bindings are in @group(0) as var<storage, ..>, parameters a var<immediate>"
                ));
            }
        }
    }
    if let Some(missing) = least.iter().position(Option::is_none) {
        return wrong(format!("the kernel declares binding {missing}, the module does not"));
    }
    let params = params.unwrap_or(0);
    if params != source.params_bytes {
        return wrong(format!(
            "the module's var<immediate> has {params} bytes, the kernel declares {}",
            source.params_bytes
        ));
    }
    Ok((least.into_iter().flatten().collect(), fails))
}

/// `array<atomic<u32>, 2>`
fn is_failure(module: &Module, inner: &TypeInner) -> bool {
    let TypeInner::Array { base, size: naga::ArraySize::Constant(words), .. } = inner else { return false };
    words.get() == 2 && matches!(module.types[*base].inner, TypeInner::Atomic(naga::Scalar::U32))
}
