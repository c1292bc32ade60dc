//! What is read of a text, and what is refused.

use crate::rig::{function, raw, run, text};
use metal_sim::shader::{BufferArgument, Library, Options};

fn refused(source: &str) -> String {
    match Library::compile(source, &Options::default()) {
        Ok(_) => panic!("compiles: {source}"),
        Err(error) => error,
    }
}

#[test]
fn a_text_has_several_kernels_with_their_own_arguments() {
    let source = text(
        "// kernel void commented(device float* x [[buffer(0)]]) {}
        struct P { float4 a; uint n; };
        float twice(float x) { return 2 * x; } /* kernel void another() */
        [[max_total_threads_per_threadgroup(96)]] kernel void first(
            constant P& p [[buffer(5)]], device const half* x [[buffer(0)]], device float4x2& out [[buffer(2)]],
            uint t [[thread_position_in_grid]]) { out[0].x = p.a.x * twice(x[t]); }
        [[max_total_threads_per_threadgroup(4)]] kernel void second(
            threadgroup float* b [[threadgroup(1)]], device atomic_uint& x [[buffer(1)]], threadgroup uint4& a [[threadgroup(0)]],
            constant uint* in [[buffer(3)]]) {}
        kernel void third(device ulong* x [[buffer(30)]], device packed_float3& y [[buffer(29)]]) {}",
    );
    let source = source
        .replace("[[kernel]] ", "")
        .replace("float4 (&out)[2]", "float4x2& out")
        .replace("out[0] = p.a", "out[0].x = p.a.x");
    let library = Library::compile(&source, &Options::default()).unwrap();
    assert_eq!(library.names().collect::<Vec<_>>(), ["first", "second", "third"]);
    assert!(library.function("commented").is_none());
    let argument = |index, bytes, align, writes, constant| BufferArgument { index, bytes, align, writes, constant };
    let first = library.function("first").unwrap();
    assert_eq!((first.max_threads, &*first.threadgroup), (96, &[][..]));
    let expected = [argument(5, 32, 16, false, true), argument(0, 2, 2, false, false), argument(2, 32, 8, true, false)];
    assert_eq!(first.buffers, expected);
    let second = library.function("second").unwrap();
    assert_eq!((second.max_threads, &*second.threadgroup), (4, &[16, 4][..]));
    assert_eq!(second.buffers, [argument(1, 4, 4, true, false), argument(3, 4, 4, false, true)]);
    let third = library.function("third").unwrap();
    assert_eq!(third.max_threads, 1024);
    assert_eq!(third.buffers, [argument(30, 8, 8, true, false), argument(29, 12, 4, true, false)]);
}

#[test]
fn helpers_that_differ_in_address_spaces_alone_are_one() {
    let source = text(
        "float first(device const float* x) { return x[0]; }
        float first(threadgroup const float* x) { return x[0]; }
        template <typename A> uint plus(device A* a, uint b) { return atomic_fetch_add_explicit(a, b, memory_order_relaxed); }
        template <typename A> uint plus(threadgroup A* a, uint b) { return atomic_fetch_add_explicit(a, b, memory_order_relaxed); }
        float first(device const float* x, uint i) { return x[i]; }
        kernel void f(device float* x [[buffer(0)]], device atomic_uint* n [[buffer(1)]], threadgroup float* s [[threadgroup(0)]]) {
            s[0] = first(x) + first(x, 1); x[2] = first(s) + float(plus(n, 3u));
        }",
    );
    let (mut x, mut n) = ([1f32, 2.0, 0.0], [4u32]);
    run(&function(&source, "f"), 1, 1, &mut [raw(&mut x), raw(&mut n)]);
    assert_eq!((x[2], n[0]), (7.0, 7));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let error = refused(
        "#include <metal_stdlib>\n\nkernel void f(device float* x [[buffer(0)]]) {\n    x[0] = metal::sine(1.0);\n}\n",
    );
    assert!(error.contains("program_source:4:"), "{error}");
    assert!(error.contains("no member named 'sine'"), "{error}");
    for (body, says) in [
        ("float f(float x) { return x; }", "there is no kernel"),
        ("kernel void f(device float* x) { x[0] = 1.0; }", "has no attribute"),
        ("kernel void f(uint x [[vertex_id]]) {}", "`vertex_id`"),
        ("kernel void f(device float* x [[buffer(31)]]) {}", "there are 31 buffers"),
        ("kernel void f(device float* x [[buffer(0)]]) { threadgroup float s[4]; s[0] = 1.0; x[0] = s[0]; }", "has to be an argument"),
        ("struct S { float xy; }; kernel void f(device S* s [[buffer(0)]]) { s->xy = 1.0; s[1].xy = 2.0; }", "swizzle"),
        ("kernel void f(device float2* x [[buffer(0)]]) { x[0] = x[1].xyz.xy; }", "elements that the vector has"),
        ("kernel void f(device float2* x [[buffer(0)]]) { x[0].yx = x[1]; }", "no viable overloaded '='"),
        ("kernel void f(device float4* x [[buffer(0)]]) { x[0] = float4(1.0, x[1].xy); }", "as many elements"),
        ("kernel void f(device float4* x [[buffer(0)]]) { x[0] = int4(1); }", "no viable overloaded '='"),
        ("kernel void f(constant float* x [[buffer(0)]]) { x[0] = 1.0; }", "const"),
        ("kernel void f(device uint* x [[buffer(0)]]) { x[0] = as_type<uint>(1.0h); }", "keeps the bits"),
        (
            "kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
                float s[5000]; for (uint k = 0; k < 5000; k++) s[k] = x[k]; x[0] = s[i] + s[i + 1] * s[i + 7] * s[i * 3]; x[i] = s[i * 5]; }",
            "stack frame size",
        ),
    ] {
        let error = refused(&text(body));
        assert!(error.contains(says), "{body}: {error}");
    }
}

#[test]
fn fast_math_is_what_it_says() {
    let source = text("kernel void f(device float* x [[buffer(0)]]) { x[1] = (x[0] + 1e8f) - 1e8f; }");
    for (fast_math, expected) in [(false, 0.0), (true, 0.25)] {
        let library = Library::compile(&source, &Options { fast_math }).unwrap();
        let mut x = [0.25f32, 0.0];
        run(&library.function("f").unwrap(), 1, 1, &mut [raw(&mut x)]);
        assert_eq!(x[1], expected);
    }
}
