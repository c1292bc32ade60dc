use super::all;
use std::collections::BTreeSet;
use thalweg_hal::shader::{Msl, compile};
use thalweg_hal::{Features, KernelSource};

/// What every device has: invocations of a workgroup, and bytes of its memory.
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;

#[test]
fn every_kernel_becomes_spirv_and_msl() {
    let mut errors = Vec::new();
    for source in all() {
        if let Err(error) = translate(source) {
            errors.push(format!("{}: {error}", source.name));
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

fn translate(source: &KernelSource) -> thalweg_hal::Result<()> {
    compile(source, "test", |shader| {
        assert_eq!(shader.spirv()?[0], 0x0723_0203, "{}", source.name);
        let Msl { text, entry, .. } = shader.msl()?;
        assert!(text.contains(&format!("kernel void {entry}")), "{}:\n{text}", source.name);
        assert!(shader.fails(), "{}", source.name);
        let f16 = source.name.contains("f16");
        assert_eq!(shader.uses(), Features { f16, ..Features::NONE }, "{}", source.name);
        Ok(())
    })
}

#[test]
fn every_kernel_keeps_to_what_all_devices_have() {
    for source in all() {
        let (size, bytes) =
            compile(source, "test", |shader| Ok((shader.workgroup_size(), shader.workgroup_bytes()))).unwrap();
        assert!(size.iter().product::<u32>() <= INVOCATIONS, "{}: {size:?}", source.name);
        let text = &source.wgsl.as_ref().unwrap().module().source;
        assert!(bytes <= WORKGROUP_BYTES, "{}: {bytes} bytes of workgroup memory", source.name);
        assert!(!text.contains("subgroup"), "{}", source.name);
    }
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = all().map(|source| &*source.name).collect();
    assert_eq!(names.len(), all().count());
}
