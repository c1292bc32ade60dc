//! What kernels, copies and fills do, and what is refused at compile time.

use super::rig::{Builder, Line, advance, advanced, kernel, random, words, write, zeroed};
use super::{Gpu, Test};
use thalweg_hal::{Access, Device, Error, Features, HostAccess, KernelSource, MemoryKind, Wgsl, WgslModule};

pub const TESTS: &[(&str, Test)] = &[
    ("what_the_host_writes_it_reads", what_the_host_writes_it_reads),
    ("commands_copy_between_what_kernels_use_and_what_the_host_sees", commands_copy_between_the_kinds),
    ("a_chain_of_commands_is_computed_in_order", a_chain_of_commands_is_computed_in_order),
    ("an_index_out_of_bounds_stays_in_its_operand", an_index_out_of_bounds_stays_in_its_operand),
    ("f16_is_stored_and_computed", f16_is_stored_and_computed),
    ("a_wrong_kernel_says_where_and_why", a_wrong_kernel_says_where_and_why),
    ("a_kernel_that_declares_something_else_is_refused", a_kernel_that_declares_something_else_is_refused),
    ("a_kernel_that_asks_for_too_much_is_refused", a_kernel_that_asks_for_too_much_is_refused),
    ("an_operand_shorter_than_its_type_is_refused", an_operand_shorter_than_its_type_is_refused),
    ("a_deep_or_long_module_is_an_error_at_most", a_deep_or_long_module_is_an_error_at_most),
    ("a_kernel_for_the_host_alone_is_refused", a_kernel_for_the_host_alone_is_refused),
];

/// Memory of each kind that it sees, at any byte.
fn what_the_host_writes_it_reads(gpu: &Gpu) {
    let device = &*gpu.device;
    let mut random = random();
    let seen = device.info().host_access != HostAccess::None;
    for kind in [MemoryKind::Host].into_iter().chain(seen.then_some(MemoryKind::Device)) {
        let memory = device.allocate(kind, 5 << 20).unwrap();
        for _ in 0..8 {
            let count = random.usize(1..(1 << 22));
            let offset = random.u64(..=((5 << 20) - count as u64));
            let data: Vec<u8> = (0..count).map(|_| random.u8(..)).collect();
            let mut read = vec![0; count];
            // SAFETY: nothing else uses the memory.
            unsafe { device.write(&memory, offset, &data).unwrap() };
            // SAFETY: as above.
            unsafe { device.read(&memory, offset, &mut read).unwrap() };
            assert!(read == data, "{kind:?}: {count} bytes at {offset}");
        }
        let past_the_end = (5 << 20) - 4;
        // SAFETY: nothing else uses the memory.
        let read = unsafe { device.read(&memory, past_the_end, &mut [0; 8]) };
        assert!(matches!(read, Err(Error::Invalid(_))), "{read:?}");
        // SAFETY: as above.
        let written = unsafe { device.write(&memory, past_the_end, &[0; 8]) };
        assert!(matches!(written, Err(Error::Invalid(_))), "{written:?}");
    }
}

fn commands_copy_between_the_kinds(gpu: &Gpu) {
    let device = &*gpu.device;
    let mut random = random();
    let bytes = 1 << 20;
    let [to, from] = [(); 2].map(|()| device.allocate(MemoryKind::Host, bytes).unwrap());
    let [a, b] = [(); 2].map(|()| device.allocate(MemoryKind::Device, bytes).unwrap());
    let mut line = Line::new(device);
    let mut expected = vec![0; bytes as usize / 4];
    line.run(&Builder::default().fill((&from, 0, bytes), 0).build());
    for _ in 0..20 {
        let data: Vec<u32> = (0..bytes / 4).map(|_| random.u32(..)).collect();
        write(device, &to, 0, &data);
        // Into another place by way of both memories for kernels; what lies beside it stays.
        let words = random.u64(1..=2048);
        let mut place = || 256 * random.u64(..(bytes - 4 * words) / 256 + 1);
        let places @ [start, first, second, end] = [place(), place(), place(), place()];
        let at = |index: usize| places[index] as usize / 4;
        let list = Builder::default().barrier();
        let list = list.copy((&to, start, 4 * words), (&a, first, 4 * words));
        let list = list.copy((&a, first, 4 * words), (&b, second, 4 * words));
        line.run(&list.copy((&b, second, 4 * words), (&from, end, 4 * words)).build());
        let words = words as usize;
        expected[at(3)..at(3) + words].copy_from_slice(&data[at(0)..at(0) + words]);
        assert!(super::rig::words(device, &from, 0, expected.len()) == expected, "{words} words by {places:?}");
    }
}

fn a_chain_of_commands_is_computed_in_order(gpu: &Gpu) {
    let device = &*gpu.device;
    let mut random = random();
    let pipeline = device.create_pipeline(&advance()).unwrap();
    let count = random.usize(1..5000);
    let bytes = 4 * count as u64;
    let [a, b] = [(); 2].map(|()| zeroed(device, bytes + 512));
    let start: Vec<u32> = (0..count).map(|_| random.u32(..)).collect();
    write(device, &a, 256, &start);
    let salts: Vec<u32> = (0..20).map(|_| random.u32(..)).collect();
    let mut builder = Builder::default().barrier();
    for salt in &salts {
        builder = builder.dispatch(&pipeline, &salt.to_ne_bytes(), [count as u32, 1, 1], &[(&a, 256, bytes)]);
    }
    let list = builder.copy((&a, 256, bytes), (&b, 256, bytes)).fill((&a, 256, 4), 7).build();
    Line::new(device).run(&list);
    let expected: Vec<u32> = start.iter().map(|x| salts.iter().fold(*x, |x, salt| advanced(x, *salt))).collect();
    assert_eq!(words(device, &b, 256, count), expected);
    assert_eq!(words(device, &a, 256, count)[0], 7);
    // What lies beside the operands is untouched.
    for memory in [&a, &b] {
        assert!(words(device, memory, 0, 64).iter().all(|word| *word == 0));
        assert!(words(device, memory, 256 + bytes, 64).iter().all(|word| *word == 0));
    }
}

fn an_index_out_of_bounds_stays_in_its_operand(gpu: &Gpu) {
    let device = &*gpu.device;
    let source = kernel(
        "scatter",
        &[Access::Read, Access::ReadWrite],
        4,
        "@group(0) @binding(0) var<storage, read> data: array<u32>;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         var<immediate> distance: u32;
         @compute @workgroup_size(1)
         fn main() {
             let far = data[distance];
             out[distance] = 0xdeadbeefu;
             out[distance * 7u] = far;
         }",
    );
    let pipeline = device.create_pipeline(&source).unwrap();
    // All operands in one memory, with strangers between them.
    let memory = device.allocate(MemoryKind::Device, 1 << 16).unwrap();
    let mut random = random();
    for distance in [16, 64, 128, 8191, 1 << 20, u32::MAX, u32::MAX / 7, random.u32(64..)] {
        let before: Vec<u32> = (0..1 << 14).map(|_| random.u32(..0x1000_0000)).collect();
        write(device, &memory, 0, &before);
        let operands = [(&memory, 1024, 64), (&memory, 2048, 64)];
        let list = Builder::default().barrier();
        let list = list.dispatch(&pipeline, &distance.to_ne_bytes(), [1, 1, 1], &operands);
        Line::new(device).run(&list.build());
        let after = words(device, &memory, 0, 1 << 14);
        for (at, (before, after)) in before.iter().zip(&after).enumerate() {
            let own = (512..528).contains(&at);
            assert!(own || before == after, "distance {distance}: word {at} changed from {before} to {after}");
        }
        let read = after[512..528].iter().find(|word| **word != 0xdead_beef && !before[512..528].contains(word));
        assert!(read.is_none_or(|word| before[256..272].contains(word)), "distance {distance}: read {read:?}");
    }
}

fn f16_is_stored_and_computed(gpu: &Gpu) {
    let device = &*gpu.device;
    let source = kernel(
        "halve",
        &[Access::Read, Access::Write],
        0,
        "enable f16;
         @group(0) @binding(0) var<storage, read> x: array<f32>;
         @group(0) @binding(1) var<storage, read_write> out: array<f16>;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {
             if id.x < arrayLength(&x) { out[id.x] = f16(x[id.x] * 0.5); }
         }",
    );
    let pipeline = match device.create_pipeline(&source) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            assert!(error.to_string().contains("16-bit floats"), "{error}");
            return;
        }
    };
    let memory = zeroed(device, 4096);
    let x: [f32; 7] = [1.0, -3.0, 0.0, 65504.0, 0.25, 1e-3, 2048.0];
    write(device, &memory, 0, bytemuck::cast_slice(&x));
    let operands = [(&memory, 0, 28), (&memory, 256, 14)];
    Line::new(device).run(&Builder::default().barrier().dispatch(&pipeline, &[], [7, 1, 1], &operands).build());
    let bits: Vec<u16> = bytemuck::cast_slice(&words(device, &memory, 256, 4))[..7].to_vec();
    assert_eq!(bits, [0x3800, 0xbe00, 0, 0x77ff, 0x3000, 0x1019, 0x6400]);
    assert_eq!(words(device, &memory, 256, 4)[3] >> 16, 0, "past the end");
}

fn refusal(device: &dyn Device, source: &KernelSource) -> String {
    match device.create_pipeline(source) {
        Err(error @ Error::Compile { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn a_wrong_kernel_says_where_and_why(gpu: &Gpu) {
    let device = &*gpu.device;
    let text = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1)
fn main() {
    x[0] = missing + 1.0;
}";
    let message = refusal(device, &kernel("wrong", &[Access::Write], 0, text));
    assert!(message.contains("`wrong`") && message.contains("wrong:4:12") && message.contains("missing"), "{message}");
    // What parses need not be valid.
    let text = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1)
fn main() { x[0] = 1u; }";
    let message = refusal(device, &kernel("types", &[Access::Write], 0, text));
    assert!(message.contains("types:3:"), "{message}");
    for garbage in ["", "\u{0}", "fn", "@compute fn main() {", "}}}}", "enable nothing;"] {
        refusal(device, &kernel("garbage", &[], 0, garbage));
    }
}

fn a_kernel_that_declares_something_else_is_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    let one = "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
        @compute @workgroup_size(1) fn main() { x[0] = 1u; }";
    for (bindings, params_bytes, said) in [
        (&[Access::Read][..], 0, "it has to be var<storage, read>"),
        (&[Access::Write, Access::Read], 0, "declares binding 1"),
        (&[], 0, "the kernel declares 0 bindings"),
        (&[Access::Write], 8, "0 bytes, the kernel declares 8"),
    ] {
        let message = refusal(device, &kernel("other", bindings, params_bytes, one));
        assert!(message.contains(said), "{message}");
    }
    let named = "@compute @workgroup_size(1) fn start() {}";
    assert!(refusal(device, &kernel("entry", &[], 0, named)).contains("no compute entry point called `main`"));
    let two = "var<immediate> big: array<vec4<f32>, 4096>; var<immediate> p: f32;
        @group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @compute @workgroup_size(1) fn main() { x[0] = big[4000].x; }";
    assert!(refusal(device, &kernel("two", &[Access::Write], 4, two)).contains("a second var<immediate>"));
    let uniform = "@group(0) @binding(0) var<uniform> x: u32;
        @compute @workgroup_size(1) fn main() { _ = x; }";
    assert!(refusal(device, &kernel("uniform", &[], 0, uniform)).contains("`x` is in Uniform"));
}

fn a_kernel_that_asks_for_too_much_is_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    let wide = "@compute @workgroup_size(64, 64) fn main() {}";
    let one = "@compute @workgroup_size(1) fn main() {}";
    assert!(refusal(device, &kernel("wide", &[], 0, wide)).contains("invocations"));
    let greedy = "var<workgroup> w: array<u32, 1048576>;
        @compute @workgroup_size(1) fn main() { w[0] = 1u; }";
    assert!(refusal(device, &kernel("greedy", &[], 0, greedy)).contains("bytes of workgroup memory"));
    let matrices = kernel("matrices", &[], 0, one);
    let features = Features { matrices: true, ..Features::NONE };
    let module = WgslModule { features, ..matrices.wgsl.as_ref().unwrap().module().clone() };
    // SAFETY: it has no index.
    let matrices = KernelSource { wgsl: Some(unsafe { Wgsl::unchecked(module) }), ..matrices };
    assert_eq!(device.create_pipeline(&matrices).is_ok(), device.info().support.features.matrices);
    let most = device.info().support.workgroup_bytes;
    let whole = |bytes: u32| {
        let declared = format!("var<workgroup> w: array<u32, {}>;", bytes / 4);
        kernel("whole", &[], 0, format!("{declared} @compute @workgroup_size(1) fn main() {{ w[0] = 1u; }}"))
    };
    assert!(device.create_pipeline(&whole(most)).is_ok() && device.create_pipeline(&whole(most + 4)).is_err());
}

/// What an index is compared with is the declared length, where there is one: so an operand has to be as long.
fn an_operand_shorter_than_its_type_is_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    let memory = device.allocate(MemoryKind::Device, 1 << 16).unwrap();
    let mut line = Line::new(device);
    for (declared, store, short, enough) in [
        ("array<u32, 1000>", "x[p] = 1u;", 3996, 4000),
        ("S", "x.tail = 1u;", 260, 264),
        ("D", "x.more[0] = 1u;", 256, 260),
        ("array<vec4<u32>>", "x[p] = vec4(1u);", 12, 16),
        ("u32", "x = 1u;", 2, 4),
        ("vec4<f32>", "x.w = 1.0;", 8, 16),
    ] {
        let text = format!(
            "struct S {{ pad: array<u32, 64>, tail: u32, last: u32 }}
             struct D {{ pad: array<u32, 64>, more: array<u32> }}
             @group(0) @binding(0) var<storage, read_write> x: {declared};
             var<immediate> p: u32;
             @compute @workgroup_size(1) fn main() {{ let i = p; {store} }}"
        );
        let source = kernel("declared", &[Access::ReadWrite], 4, text);
        let pipeline = device.create_pipeline(&source).unwrap_or_else(|error| panic!("{error}"));
        let refused = Err("an operand is shorter than the type that the kernel declares for it");
        assert_eq!(pipeline.check([1, 1, 1], &[0; 4], &[short]), refused, "{declared}");
        assert!(pipeline.check([1, 1, 1], &[0; 4], &[enough]).is_ok(), "{declared}");
        line.run(&Builder::default().dispatch(&pipeline, &[0; 4], [1, 1, 1], &[(&memory, 0, enough)]).build());
    }
}

/// Some of the compiler's recursions are as deep as an expression is long. None of them may end the process.
fn a_deep_or_long_module_is_an_error_at_most(gpu: &Gpu) {
    let device = &*gpu.device;
    let module = |expression: &str| {
        format!(
            "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
             @compute @workgroup_size(1) fn main() {{ let a = x[1]; x[0] = {expression}; }}"
        )
    };
    let compile = |text: String| device.create_pipeline(&kernel("deep", &[Access::ReadWrite], 0, text));
    for (open, middle, close, times) in [
        ("a+", "a", "", 60_000),
        ("(", "a", ")", 60_000),
        ("-", "1", "", 60_000),
        ("", "a", ".x", 30_000),
        ("a[", "0", "]", 20_000),
    ] {
        // The stack is by the module's length: short ones too are as deep as they are long.
        for times in [times, times / 10, times / 100] {
            let text = module(&format!("{}{middle}{}", open.repeat(times), close.repeat(times)));
            let compiled = compile(text);
            assert!(matches!(compiled, Ok(_) | Err(Error::Compile { .. })), "{open}: {compiled:?}");
        }
    }
    let blocks = format!("@compute @workgroup_size(1) fn main() {{ {}{} }}", "{".repeat(60_000), "}".repeat(60_000));
    assert!(matches!(compile(blocks), Err(Error::Compile { .. })));
    let refused = compile(module(&"a+".repeat(100_000))).unwrap_err().to_string();
    assert!(refused.contains("bytes; at most"), "{refused}");
}

fn a_kernel_for_the_host_alone_is_refused(gpu: &Gpu) {
    let device = &*gpu.device;
    let source = KernelSource { wgsl: None, host: Some(|_| Ok(())), ..advance() };
    assert!(matches!(device.create_pipeline(&source), Err(Error::NoForm { form: "WGSL", .. })));
}
