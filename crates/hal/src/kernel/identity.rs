//! When two kernels are the same: what a cache of compiled kernels goes by.

use super::{Groups, KernelSource, WgslModule};
use std::hash::{Hash, Hasher};

/// What a compiled kernel takes apart from its texts: the driver's objects, and what a backend keeps beside them.
const OBJECT_BYTES: usize = 1024;

impl KernelSource {
    /// An estimate of the memory that the kernel takes once it is compiled: its texts, as much again for the code that
    /// the driver makes of the WGSL, and 1,024 bytes.
    pub fn bytes(&self) -> u64 {
        let wgsl = self.wgsl.as_ref().map_or(0, |wgsl| 2 * wgsl.module().source.len() + wgsl.module().entry.len());
        (self.name.len() + wgsl + OBJECT_BYTES) as u64
    }
}

/// Everything counts: the name, the bindings, the size of the parameters, and both forms. Texts and tables are compared
/// by address first, since most are `static`. Functions are compared by address: the same function may have two (in two
/// crates, or two units of code), and two functions of the same machine code may have one. The first only compiles a
/// kernel twice, the second is harmless.
///
/// An override that is not a number (NaN) equals one of the same bits.
impl PartialEq for KernelSource {
    fn eq(&self, other: &Self) -> bool {
        // Named one by one, so that a new field does not compile until somebody has decided what it means here.
        let Self { name, bindings, params_bytes, wgsl, host } = self;
        let same_host = match (host, other.host) {
            (Some(host), Some(other)) => std::ptr::fn_addr_eq(*host, other),
            (None, None) => true,
            _ => false,
        };
        same_host
            && *params_bytes == other.params_bytes
            && same_text(name, &other.name)
            && same(bindings, &other.bindings, |a, b| a == b)
            && *wgsl == other.wgsl
    }
}

impl Eq for KernelSource {}

/// The name and the size of the parameters; the texts are long, and few kernels differ in them alone.
impl Hash for KernelSource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.params_bytes.hash(state);
    }
}

/// As for [`KernelSource`].
impl PartialEq for WgslModule {
    fn eq(&self, other: &Self) -> bool {
        let Self { source, entry, overrides, groups, features, failures } = self;
        let same_groups = match (groups, &other.groups) {
            (Groups::Invocations, Groups::Invocations) => true,
            (Groups::By(groups), Groups::By(other)) => std::ptr::fn_addr_eq(*groups, *other),
            _ => false,
        };
        same_groups
            && *features == other.features
            && same_text(entry, &other.entry)
            && same(overrides, &other.overrides, |a, b| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
            && same(failures, &other.failures, |a, b| a == b)
            && same_text(source, &other.source)
    }
}

impl Eq for WgslModule {}

fn same_text(a: &str, b: &str) -> bool {
    std::ptr::eq(a, b) || a == b
}

fn same<T>(a: &[T], b: &[T], equal: impl Fn(&T, &T) -> bool) -> bool {
    std::ptr::eq(a, b) || a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Features, HostFn, Wgsl};
    use std::collections::hash_map::DefaultHasher;

    fn hash(source: &KernelSource) -> u64 {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        hasher.finish()
    }

    fn module() -> WgslModule {
        WgslModule {
            source: "a module".to_owned().into(),
            entry: "main".to_owned().into(),
            overrides: vec![("TILE", 4.0), ("NONE", f64::NAN)].into(),
            groups: Groups::By(|extent, _| extent),
            features: Features::F16,
            failures: vec!["it fails"].into(),
        }
    }

    fn kernel() -> KernelSource {
        KernelSource {
            name: "kernel".to_owned().into(),
            bindings: vec![Access::Read, Access::Write].into(),
            params_bytes: 8,
            wgsl: Some(Wgsl::clamped(module())),
            host: None,
        }
    }

    // audit: F6
    #[test]
    fn copies_at_other_addresses_are_equal() {
        let (a, b) = (kernel(), kernel());
        assert!(!std::ptr::eq(&*a.name, &*b.name));
        assert_eq!(a, b);
        assert_eq!(hash(&a), hash(&b));
        assert_eq!(a, a.clone());
    }

    /// Each of these changes one thing.
    // audit: F6
    #[test]
    fn a_difference_in_anything_is_one() {
        let host: [HostFn; 2] = [|call| call.params::<u32>().map(drop), |call| call.params::<u64>().map(drop)];
        let changes: [fn(&mut KernelSource, &mut WgslModule); 12] = [
            |source, _| source.name = "kernes".into(),
            |source, _| source.bindings = vec![Access::Read, Access::ReadWrite].into(),
            |source, _| source.bindings = vec![Access::Read].into(),
            |source, _| source.params_bytes = 4,
            |_, module| module.source = "b module".into(),
            |_, module| module.entry = "mair".into(),
            |_, module| module.overrides = vec![("TILE", 8.0), ("NONE", f64::NAN)].into(),
            |_, module| module.overrides = vec![("TILF", 4.0), ("NONE", f64::NAN)].into(),
            |_, module| module.overrides = vec![("TILE", 4.0), ("NONE", -f64::NAN)].into(),
            |_, module| module.groups = Groups::Invocations,
            |_, module| module.groups = Groups::By(|extent, params| [extent[0], params.len() as u32, 1]),
            |_, module| module.failures = vec!["it fails", "or not"].into(),
        ];
        let features = [
            Features::NONE,
            Features { subgroups: true, ..Features::F16 },
            Features { matrices: true, ..Features::F16 },
        ];
        // SAFETY: nobody compiles it.
        let unchecked = unsafe { Wgsl::unchecked(module()) };
        let mut all = vec![kernel(), KernelSource { wgsl: None, ..kernel() }];
        all.push(KernelSource { wgsl: Some(unchecked), ..kernel() });
        all.extend(host.map(|host| KernelSource { host: Some(host), ..kernel() }));
        all.extend(features.map(|features| {
            let wgsl = Some(Wgsl::clamped(WgslModule { features, ..module() }));
            KernelSource { wgsl, ..kernel() }
        }));
        for change in changes {
            let (mut source, mut module) = (kernel(), module());
            change(&mut source, &mut module);
            source.wgsl = Some(Wgsl::clamped(module));
            all.push(source);
        }
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a == b, i == j, "{i} and {j}: {a:?} and {b:?}");
            }
        }
    }
}
