//! What is said of a module that is anybody's, and what it may use.

use std::borrow::Cow;
use thalweg_hal::shader::{Msl, compile};
use thalweg_hal::{Access, Error, Features, Groups, KernelSource, KernelSupport, Wgsl, WgslModule};

/// Bindings and workgroup variables in an order of their own; `idle` is not used, and `words` has its length in its
/// type.
const SHUFFLED: &str = "
struct Tail { head: vec4<f32>, rest: array<f32> }
var<workgroup> wide: array<vec4<f32>, 5>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> idle: array<u32, 1000>;
@group(0) @binding(1) var<storage, read> words: array<u32, 6>;
@group(0) @binding(2) var<storage, read> tail: Tail;
var<immediate> at: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
var<workgroup> narrow: array<u32, 3>;
var<workgroup> one: f32;

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) lid: u32) {
    one = x[at];
    narrow[lid % 3u] = words[lid % 6u];
    workgroupBarrier();
    wide[lid % 5u] = tail.head * one + f32(narrow[0]);
    workgroupBarrier();
    out[lid] = wide[0].x + tail.rest[lid];
}
";

fn module(source: impl Into<Cow<'static, str>>, features: Features) -> WgslModule {
    WgslModule {
        source: source.into(),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features,
        failures: Cow::Borrowed(&[]),
    }
}

fn kernel(bindings: &'static [Access], params_bytes: u32, wgsl: Wgsl) -> KernelSource {
    let (name, bindings) = (Cow::Borrowed("anybody's"), Cow::Borrowed(bindings));
    KernelSource { name, bindings, params_bytes, wgsl: Some(wgsl), host: None }
}

/// A kernel that stores one value.
fn storing(head: &str, value: &str, features: Features) -> KernelSource {
    let text = format!(
        "{head}
         @group(0) @binding(0) var<storage, read_write> out: array<f32>;
         @compute @workgroup_size(32)
         fn main(@builtin(local_invocation_index) lid: u32) {{ out[lid] = {value}; }}"
    );
    kernel(&[Access::ReadWrite], 0, Wgsl::clamped(module(text, features)))
}

fn msl(source: &KernelSource) -> Msl {
    compile(source, "test", |shader| shader.msl()).unwrap()
}

fn uses(source: &KernelSource) -> Result<Features, String> {
    compile(source, "test", |shader| {
        shader.spirv()?;
        shader.msl()?;
        Ok(shader.uses())
    })
    .map_err(|error| error.to_string())
}

/// The names of the `threadgroup` arguments of a text's entry point.
fn threadgroup_arguments(text: &str) -> Vec<&str> {
    let signature = text.split("kernel void").nth(1).unwrap().split("\n) {").next().unwrap();
    let arguments = signature.lines().filter(|line| line.contains("threadgroup "));
    arguments.map(|line| line.trim().rsplit(' ').next().unwrap()).collect()
}

/// The variables of a module that a text asks the lengths of, by their handles, which are in the names of the members.
fn sized_variables(text: &str) -> Vec<usize> {
    let members = text.split("struct _mslBufferSizes {").nth(1).unwrap().split('}').next().unwrap();
    let numbers = members.lines().filter_map(|line| line.trim().strip_prefix("uint size")?.strip_suffix(';'));
    numbers.map(|number| number.parse().unwrap()).collect()
}

#[test]
fn lengths_and_workgroup_sizes_are_in_the_order_of_the_text() {
    let bindings = &[Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    let msl = msl(&kernel(bindings, 4, Wgsl::clamped(module(SHUFFLED, Features::NONE))));
    assert_eq!(msl.lengths, [3, 2, 0]);
    assert_eq!(msl.workgroup_bytes, [80, 12, 4]);

    // The same from the text that naga wrote, and from what naga parses.
    let mut frontend = naga::front::wgsl::Frontend::new();
    let capabilities = naga::valid::Capabilities::IMMEDIATES;
    frontend.set_options(naga::front::wgsl::Options { parse_doc_comments: false, capabilities });
    let parsed = frontend.parse(SHUFFLED).unwrap();
    let variables: Vec<_> = parsed.global_variables.iter().map(|(_, variable)| variable).collect();
    let written = sized_variables(&msl.text).into_iter().map(|at| variables[at].binding.unwrap().binding);
    assert!(written.eq(msl.lengths.iter().copied()), "{}", msl.text);
    let arguments = threadgroup_arguments(&msl.text);
    assert_eq!(arguments, ["wide", "narrow", "one"], "{}", msl.text);
    let size = |name: &&str| {
        let variable = variables.iter().find(|variable| variable.name.as_deref() == Some(name)).unwrap();
        parsed.types[variable.ty].inner.size(parsed.to_ctx())
    };
    assert!(arguments.iter().map(size).eq(msl.workgroup_bytes), "{}", msl.text);
}

/// Of a module with more than one entry point, what another uses is left out; `override` constants are filled in
/// before.
#[test]
fn what_another_entry_point_uses_is_not_asked_for() {
    let text = format!(
        "override WORDS: u32;
         var<workgroup> others: array<u32, 500>;
         var<workgroup> sized: array<u32, WORDS>;
         {SHUFFLED}
         @compute @workgroup_size(1)
         fn other() {{
             others[0] = 1u;
             sized[0] = 2u;
             idle[0] = others[0] + sized[0] + words[0];
             out[0] = f32(idle[0]);
         }}"
    );
    let bindings = &[Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    let source = kernel(bindings, 4, Wgsl::clamped(module(text.clone(), Features::NONE)));
    let of_main = msl(&source);
    assert_eq!((&of_main.lengths[..], &of_main.workgroup_bytes[..]), (&[3, 2, 0][..], &[80, 12, 4][..]));
    assert_eq!(threadgroup_arguments(&of_main.text), ["wide", "narrow", "one"]);
    assert_eq!(sized_variables(&of_main.text).len(), 3);
    assert_eq!(compile(&source, "test", |shader| Ok(shader.workgroup_bytes())).unwrap(), 96);

    let other =
        WgslModule { entry: "other".into(), overrides: vec![("WORDS", 7.0)].into(), ..module(text, Features::NONE) };
    let bindings = &[Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    // The other has no use for most of the bindings, which then have to be gone from the declaration as well.
    let refused = compile(&kernel(bindings, 4, Wgsl::clamped(other)), "test", |_| Ok(())).unwrap_err().to_string();
    assert!(refused.contains("binding 0"), "{refused}");
}

// audit: FA
#[test]
fn a_module_may_use_what_it_declares_and_nothing_else() {
    let f16 = ("enable f16;", "f32(f16(lid))");
    let subgroups = ("", "f32(subgroupAdd(lid))");
    let declared = |(head, value): (&str, &str), features| uses(&storing(head, value, features));
    let with_subgroups = Features { subgroups: true, ..Features::NONE };
    assert_eq!(declared(f16, Features::F16), Ok(Features::F16));
    assert_eq!(declared(subgroups, with_subgroups), Ok(with_subgroups));
    // What is declared and not used is asked of no device.
    let all = Features { subgroups: true, ..Features::F16 };
    assert_eq!(declared(("", "1.0"), all), Ok(Features::NONE));
    assert_eq!(declared(f16, all), Ok(Features::F16));
    // One opens nothing for another.
    for (module, features) in [
        (f16, Features::NONE),
        (f16, with_subgroups),
        (subgroups, Features::NONE),
        (subgroups, Features::F16),
        (("enable wgpu_cooperative_matrix;", "1.0"), all),
    ] {
        let refused = declared(module, features).unwrap_err();
        assert!(refused.contains("anybody's"), "{module:?} with {features:?}: {refused}");
    }
}

/// A product of matrices: its loads and stores go where the pointers and strides say.
const MATRICES: &str = "
enable wgpu_cooperative_matrix;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(32)
fn main() {
    let x = coopLoad<coop_mat8x8<f32, A>>(&a[0], 8u);
    let y = coopLoad<coop_mat8x8<f32, B>>(&a[64], 8u);
    let z = coopLoad<coop_mat8x8<f32, C>>(&out[0], 8u);
    coopStore(coopMultiplyAdd(x, y, z), &out[0], 8u);
}
";

// audit: FA
#[test]
fn matrix_units_take_a_promise() {
    let features = Features { matrices: true, ..Features::NONE };
    let bindings = &[Access::Read, Access::ReadWrite];
    let refused = uses(&kernel(bindings, 0, Wgsl::clamped(module(MATRICES, features)))).unwrap_err();
    assert!(refused.contains("Wgsl::unchecked"), "{refused}");
    // SAFETY: nothing runs it.
    let promised = unsafe { Wgsl::unchecked(module(MATRICES, features)) };
    assert_eq!(uses(&kernel(bindings, 0, promised)), Ok(features));
    // SAFETY: as above.
    let undeclared = unsafe { Wgsl::unchecked(module(MATRICES, Features::F16)) };
    assert!(uses(&kernel(bindings, 0, undeclared)).is_err());
}

#[test]
fn what_a_device_lacks_is_said() {
    let all = Features { f16: true, subgroups: true, matrices: true };
    let everything = KernelSupport { features: all, subgroup_size: 32, workgroup_bytes: 96 };
    let check = |source: &KernelSource, support: KernelSupport| {
        compile(source, "test", |shader| shader.check_support(&support))
    };
    let bindings = &[Access::Read, Access::Read, Access::Read, Access::ReadWrite];
    let shuffled = kernel(bindings, 4, Wgsl::clamped(module(SHUFFLED, Features::NONE)));
    // SAFETY: nothing runs it.
    let matrices = unsafe { Wgsl::unchecked(module(MATRICES, Features { matrices: true, ..Features::NONE })) };
    let without = |features| KernelSupport { features, ..everything };
    for (source, lacking, said) in [
        (
            storing("enable f16;", "f32(f16(lid))", Features::F16),
            without(Features { f16: false, ..all }),
            "16-bit floats",
        ),
        (
            storing("", "f32(subgroupAdd(lid))", Features { subgroups: true, ..Features::NONE }),
            without(Features { subgroups: false, ..all }),
            "subgroups",
        ),
        (
            kernel(&[Access::Read, Access::ReadWrite], 0, matrices),
            without(Features { matrices: false, ..all }),
            "matrix units",
        ),
        (
            shuffled,
            KernelSupport { workgroup_bytes: 95, ..everything },
            "96 bytes of workgroup memory; the device has 95",
        ),
    ] {
        assert!(check(&source, everything).is_ok(), "{said}");
        let refused = check(&source, lacking);
        assert!(matches!(&refused, Err(Error::Compile { message, .. }) if message.contains(said)), "{refused:?}");
    }
}
