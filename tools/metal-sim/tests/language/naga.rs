//! What naga writes for the built-in functions, subgroups and cooperative matrices of WGSL.

use crate::rig::{function, raw, run};
use half::f16;
use std::borrow::Cow;
use thalweg_doubles::testing::Random;
use thalweg_hal::shader::{Msl, compile};
use thalweg_hal::{Access, Features, Groups, KernelSource, Wgsl, WgslModule};

/// A module's text in Metal's language, with bindings 0 to 3 of which the last is written.
fn translate(source: &str, features: Features, clamped: bool) -> Msl {
    let module = WgslModule {
        source: Cow::Owned(source.to_owned()),
        entry: "main".into(),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features,
        failures: Cow::Borrowed(&[]),
    };
    // SAFETY: the modules of these tests keep inside of their bindings.
    let wgsl = if clamped { Wgsl::clamped(module) } else { unsafe { Wgsl::unchecked(module) } };
    let source = KernelSource {
        name: "test".into(),
        bindings: Cow::Borrowed(&[Access::Read, Access::Read, Access::Read, Access::ReadWrite]),
        params_bytes: 0,
        wgsl: Some(wgsl),
        host: None,
    };
    compile(&source, "test", |shader| shader.msl()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a module on bindings 0 to 3.
fn run_module(msl: &Msl, groups: u32, threads: u32, bindings: [&mut [u8]; 4]) {
    let mut lengths: Vec<u32> = msl.lengths.iter().map(|binding| bindings[*binding as usize].len() as u32).collect();
    let [a, b, c, d] = bindings;
    // The parameters' place stays empty.
    run(&function(&msl.text, &msl.entry), groups, threads, &mut [a, b, c, d, &mut [], raw(&mut lengths)]);
}

/// An expression of `x` and `y`, and what it is.
type Case<T> = (&'static str, fn(T, T) -> T);

const FLOATS: &[Case<f64>] = &[
    ("abs(x)", |x, _| x.abs()),
    ("acos(x)", |x, _| x.acos()),
    ("acosh(abs(x) + 1.0)", |x, _| (x.abs() + 1.0).acosh()),
    ("asin(x)", |x, _| x.asin()),
    ("asinh(x)", |x, _| x.asinh()),
    ("atan(x)", |x, _| x.atan()),
    ("atanh(x * 0.9)", |x, _| (x * 0.9).atanh()),
    ("atan2(x, y)", |x, y| x.atan2(y)),
    ("ceil(x * 4.0)", |x, _| (x * 4.0).ceil()),
    ("clamp(x, -0.5, y)", |x, y| x.max(-0.5).min(y)),
    ("cos(x)", |x, _| x.cos()),
    ("cosh(x)", |x, _| x.cosh()),
    ("degrees(x)", |x, _| x.to_degrees()),
    ("exp(x)", |x, _| x.exp()),
    ("exp2(x)", |x, _| x.exp2()),
    ("floor(x * 4.0)", |x, _| (x * 4.0).floor()),
    ("fma(x, y, 0.25)", |x, y| x * y + 0.25),
    ("fract(x * 4.0)", |x, _| x * 4.0 - (x * 4.0).floor()),
    ("inverseSqrt(abs(x) + 1.0)", |x, _| 1.0 / (x.abs() + 1.0).sqrt()),
    ("ldexp(x, 3)", |x, _| x * 8.0),
    ("length(vec2f(x, y))", |x, y| x.hypot(y)),
    ("distance(vec3f(x, y, 1.0), vec3f(y, x, 1.0))", |x, y| (2.0 * (x - y) * (x - y)).sqrt()),
    ("dot(vec3f(x, y, 2.0), vec3f(y, x, 1.0))", |x, y| 2.0 * x * y + 2.0),
    ("log(abs(x) + 0.5)", |x, _| (x.abs() + 0.5).ln()),
    ("log2(abs(x) + 0.5)", |x, _| (x.abs() + 0.5).log2()),
    ("max(x, y)", |x, y| x.max(y)),
    ("min(x, y)", |x, y| x.min(y)),
    ("mix(x, y, 0.25)", |x, y| x * 0.75 + y * 0.25),
    ("pow(abs(x) + 0.1, y)", |x, y| (x.abs() + 0.1).powf(y)),
    ("radians(x)", |x, _| x.to_radians()),
    ("round(x * 4.0)", |x, _| (x * 4.0).round_ties_even()),
    ("saturate(x)", |x, _| x.clamp(0.0, 1.0)),
    ("sign(x)", |x, _| x.signum()),
    ("sin(x)", |x, _| x.sin()),
    ("sinh(x)", |x, _| x.sinh()),
    ("smoothstep(-1.0, 1.0, x)", |x, _| {
        let t = (x + 1.0) / 2.0;
        t * t * (3.0 - 2.0 * t)
    }),
    ("sqrt(abs(x))", |x, _| x.abs().sqrt()),
    ("step(x, y)", |x, y| f64::from(x <= y)),
    ("tan(x)", |x, _| x.tan()),
    ("tanh(x)", |x, _| x.tanh()),
    ("trunc(x * 4.0)", |x, _| (x * 4.0).trunc()),
    ("modf(x * 4.0).whole", |x, _| (x * 4.0).trunc()),
    ("frexp(abs(x) + 1.0).fract", |x, _| (x.abs() + 1.0) / 2.0),
    ("(x * 4.0) % y", |x, y| (x * 4.0) % y),
    ("select(x, y, x < y)", |x, y| x.max(y)),
    ("f32(i32(x * 100.0))", |x, _| (x * 100.0).trunc()),
    ("f32(u32(x * 100.0))", |x, _| (x * 100.0).trunc().max(0.0)),
    ("f32(vec3i(vec3f(0.0, x * 100.0, 0.0)).y)", |x, _| (x * 100.0).trunc()),
    ("determinant(mat2x2f(x, y, 1.0, 2.0))", |x, y| 2.0 * x - y),
    ("(mat3x2f(x, y, 1.0, 2.0, 3.0, 4.0) * vec3f(1.0, 2.0, 3.0)).y", |_, y| y + 16.0),
    ("normalize(vec3f(x, y, 2.0)).x", |x, y| x / (x * x + y * y + 4.0).sqrt()),
    ("cross(vec3f(x, y, 2.0), vec3f(1.0, 0.0, 0.0)).z", |_, y| -y),
    ("vec4f(x, y, 1.0, 2.0).wzyx.z", |_, y| y),
];

const INTEGERS: &[Case<i32>] = &[
    ("x / y", |x, y| if y == 0 { x } else { x.wrapping_div(y) }),
    ("x % y", |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) }),
    ("vec2i(7, x / 3).y * y", |x, y| (x / 3).wrapping_mul(y)),
    ("(vec2i(7, x) / vec2i(y, y)).y", |x, y| if y == 0 { x } else { x.wrapping_div(y) }),
    ("i32(u32(x) / u32(y))", |x, y| (x as u32).checked_div(y as u32).unwrap_or(x as u32) as i32),
    ("abs(x)", |x, _| x.wrapping_abs()),
    ("abs(vec2i(x, y)).y", |_, y| y.wrapping_abs()),
    ("sign(x)", |x, _| x.signum()),
    ("sign(vec2i(x, y)).x", |x, _| x.signum()),
    ("-x", |x, _| x.wrapping_neg()),
    ("x * y - 3", |x, y| x.wrapping_mul(y).wrapping_sub(3)),
    ("clamp(x, -5, y)", |x, y| x.max(-5).min(y)),
    ("countLeadingZeros(x)", |x, _| x.leading_zeros() as i32),
    ("countTrailingZeros(x)", |x, _| x.trailing_zeros() as i32),
    ("countOneBits(x)", |x, _| x.count_ones() as i32),
    ("reverseBits(x)", |x, _| x.reverse_bits()),
    ("firstLeadingBit(x)", |x, _| 31 - (if x < 0 { !x } else { x }).leading_zeros() as i32),
    ("firstLeadingBit(vec2i(y, x)).y", |x, _| 31 - (if x < 0 { !x } else { x }).leading_zeros() as i32),
    ("bitcast<i32>(firstLeadingBit(u32(x)))", |x, _| 31 - x.leading_zeros() as i32),
    ("firstTrailingBit(x)", |x, _| if x == 0 { -1 } else { x.trailing_zeros() as i32 }),
    ("extractBits(x, 3u, 7u)", |x, _| x << 22 >> 25),
    ("i32(extractBits(u32(x), 30u, 7u))", |x, _| (x as u32 >> 30) as i32),
    ("insertBits(x, y, 4u, 9u)", |x, y| (x & !0x1ff0) | ((y << 4) & 0x1ff0)),
    ("x << (u32(y) & 31u)", |x, y| x.wrapping_shl(y as u32)),
    ("x >> (u32(y) & 31u)", |x, y| x.wrapping_shr(y as u32)),
    ("dot(vec3i(x, y, 2), vec3i(y, 3, x))", |x, y| {
        x.wrapping_mul(y).wrapping_add(y.wrapping_mul(3)).wrapping_add(x.wrapping_mul(2))
    }),
    ("dot4I8Packed(u32(x), u32(y))", |x, y| {
        x.to_le_bytes().into_iter().zip(y.to_le_bytes()).map(|(a, b)| i32::from(a as i8) * i32::from(b as i8)).sum()
    }),
    ("i32(dot4U8Packed(u32(x), u32(y)))", |x, y| {
        x.to_le_bytes().into_iter().zip(y.to_le_bytes()).map(|(a, b)| i32::from(a) * i32::from(b)).sum()
    }),
    ("unpack4xI8(u32(x)).y", |x, _| i32::from((x >> 8) as i8)),
    ("i32(unpack4xU8(u32(x)).z)", |x, _| i32::from((x >> 16) as u8)),
    ("i32(pack4xI8(vec4i(x, y, 3, -1)))", |x, y| i32::from_le_bytes([x as u8, y as u8, 3, 255])),
    ("i32(pack4xI8Clamp(vec4i(x, y, 3, -1)))", |x, y| {
        i32::from_le_bytes([x.clamp(-128, 127) as u8, y.clamp(-128, 127) as u8, 3, 255])
    }),
    ("i32(pack4xU8Clamp(vec4u(u32(x), u32(y), 3u, 999u)))", |x, y| {
        i32::from_le_bytes([(x as u32).min(255) as u8, (y as u32).min(255) as u8, 3, 255])
    }),
    ("i32(pack4x8snorm(vec4f(-1.0, 1.0, 0.5, f32(y & 1))))", |_, y| {
        i32::from_le_bytes([129, 127, 64, (y & 1) as u8 * 127])
    }),
    ("i32(all(vec2<bool>(x > 0, y > 0))) + 2 * i32(any(vec3i(x, y, 0) > vec3i(0)))", |x, y| {
        i32::from(x > 0 && y > 0) + 2 * i32::from(x > 0 || y > 0)
    }),
    ("select(vec2i(x, 1), vec2i(y, 2), vec2<bool>(x > y, true)).x", |x, y| if x > y { y } else { x }),
];

#[test]
fn built_in_functions_compute_what_wgsl_says() {
    let mut body = "@group(0) @binding(0) var<storage, read> floats: array<vec2f>;
        @group(0) @binding(1) var<storage, read> integers: array<vec2i>;
        @group(0) @binding(2) var<storage, read> out_i_first: array<u32>;
        struct Both { f: f32, i: i32 };
        @group(0) @binding(3) var<storage, read_write> out: array<Both>;
        fn floats_of(at: u32, x: f32, y: f32) -> f32 { switch at {\n"
        .to_owned();
    for (at, (expression, _)) in FLOATS.iter().enumerate() {
        body += &format!("case {at}u: {{ return {expression}; }}\n");
    }
    body +=
        "default: { return f32(out_i_first[0]); } } }\nfn integers_of(at: u32, x: i32, y: i32) -> i32 { switch at {\n";
    for (at, (expression, _)) in INTEGERS.iter().enumerate() {
        body += &format!("case {at}u: {{ return {expression}; }}\n");
    }
    body += "default: { return 0; } } }
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        for (var at = 0u; at < 64u; at++) {
            out[id.x * 64u + at] = Both(floats_of(at, floats[id.x].x, floats[id.x].y), integers_of(at, integers[id.x].x, integers[id.x].y));
        } }";
    let mut random = Random::new(1);
    let mut floats: Vec<[f32; 2]> = (0..128).map(|_| [random.unit(), random.unit()]).collect();
    let mut integers: Vec<[i32; 2]> = (0..128)
        .map(|_| {
            [0; 2].map(|_| match random.below(5) {
                0 => [0, 1, -1, i32::MIN, i32::MAX][random.below(5) as usize],
                1 => random.below(200) as i32 - 100,
                _ => random.bits() as i32,
            })
        })
        .collect();
    for clamped in [false, true] {
        let msl = translate(&body, Features::NONE, clamped);
        let mut out = vec![[0u32; 2]; 128 * 64];
        run_module(&msl, 2, 64, [raw(&mut floats), raw(&mut integers), raw(&mut [0u32]), raw(&mut out)]);
        for (id, out) in out.chunks(64).enumerate() {
            let [x, y] = floats[id];
            for ((name, reference), [out, _]) in FLOATS.iter().zip(out) {
                let (out, expected) = (f64::from(f32::from_bits(*out)), reference(x.into(), y.into()));
                let near = 4e-6 * expected.abs().max(1.0);
                assert!((out - expected).abs() <= near, "{name} of {x} and {y}: {out}, not {expected}");
            }
            let [x, y] = integers[id];
            for ((name, reference), [_, out]) in INTEGERS.iter().zip(out) {
                assert_eq!(*out as i32, reference(x, y), "{name} of {x} and {y}");
            }
        }
    }
}

#[test]
fn subgroups_compute_what_wgsl_says() {
    /// An expression of `x`, and what it is by what the subgroup has and the invocation's place in it.
    type Case = (&'static str, fn(&[u32], usize) -> u32);
    const CASES: &[Case] = &[
        ("subgroupAdd(x)", |x, _| x.iter().sum()),
        ("subgroupMul(x)", |x, _| x.iter().fold(1, |a, b| a.wrapping_mul(*b))),
        ("subgroupMin(x)", |x, _| *x.iter().min().unwrap()),
        ("subgroupMax(x)", |x, _| *x.iter().max().unwrap()),
        ("subgroupAnd(x)", |x, _| x.iter().fold(u32::MAX, |a, b| a & b)),
        ("subgroupOr(x)", |x, _| x.iter().fold(0, |a, b| a | b)),
        ("subgroupXor(x)", |x, _| x.iter().fold(0, |a, b| a ^ b)),
        ("subgroupExclusiveAdd(x)", |x, lane| x[..lane].iter().sum()),
        ("subgroupInclusiveAdd(x)", |x, lane| x[..=lane].iter().sum()),
        ("subgroupExclusiveMul(x)", |x, lane| x[..lane].iter().fold(1, |a, b| a.wrapping_mul(*b))),
        ("subgroupInclusiveMul(x)", |x, lane| x[..=lane].iter().fold(1, |a, b| a.wrapping_mul(*b))),
        ("subgroupBallot(x > 500u).x", |x, _| x.iter().enumerate().map(|(lane, x)| u32::from(*x > 500) << lane).sum()),
        ("u32(subgroupAll(x > 5u)) + 2u * u32(subgroupAny(x > 990u))", |x, _| {
            u32::from(x.iter().all(|x| *x > 5)) + 2 * u32::from(x.iter().any(|x| *x > 990))
        }),
        ("subgroupBroadcast(x, 9u)", |x, _| x[9]),
        ("subgroupBroadcastFirst(x)", |x, _| x[0]),
        ("subgroupShuffle(x, lane ^ 7u)", |x, lane| x[lane ^ 7]),
        ("subgroupShuffleXor(x, 16u)", |x, lane| x[lane ^ 16]),
        ("subgroupShuffleUp(x, min(lane, 3u))", |x, lane| x[lane - lane.min(3)]),
        ("subgroupShuffleDown(x, min(31u - lane, 3u))", |x, lane| x[lane + (31 - lane).min(3)]),
        ("quadBroadcast(x, 2u)", |x, lane| x[lane / 4 * 4 + 2]),
        ("quadSwapX(x)", |x, lane| x[lane ^ 1]),
        ("quadSwapY(x)", |x, lane| x[lane ^ 2]),
        ("quadSwapDiagonal(x)", |x, lane| x[lane ^ 3]),
        ("size * 100u + count * 10u + subgroup", |_, _| u32::MAX),
    ];
    let mut body = "
        @group(0) @binding(0) var<storage, read> in: array<u32>;
        @group(0) @binding(1) var<storage, read> b: array<u32>;
        @group(0) @binding(2) var<storage, read> c: array<u32>;
        @group(0) @binding(3) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(96) fn main(@builtin(global_invocation_id) id: vec3u,
            @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_size) size: u32,
            @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) count: u32) {
        let x = in[id.x] + b[0] + c[0];\n"
        .to_owned();
    for (at, (expression, _)) in CASES.iter().enumerate() {
        body += &format!("out[id.x * 32u + {at}u] = {expression}; subgroupBarrier();\n");
    }
    body += "}";
    let features = Features { subgroups: true, ..Features::NONE };
    let msl = translate(&body, features, false);
    let mut random = Random::new(2);
    let mut x: Vec<u32> = (0..192).map(|_| random.below(1000)).collect();
    let mut out = vec![0u32; 192 * 32];
    run_module(&msl, 2, 96, [raw(&mut x), raw(&mut [0u32]), raw(&mut [0u32]), raw(&mut out)]);
    for (id, out) in out.chunks(32).enumerate() {
        for ((name, reference), out) in CASES.iter().zip(out) {
            let expected = reference(&x[id / 32 * 32..][..32], id % 32);
            let expected = if expected == u32::MAX { 3230 + id as u32 % 96 / 32 } else { expected };
            assert_eq!(*out, expected, "{name} in invocation {id}");
        }
    }
}

/// `c + a * b` by cooperative matrices, from storage and from workgroup memory.
fn cooperative(scalar: &str) -> String {
    let enable = if scalar == "f16" { "enable f16;\n" } else { "" };
    format!(
        "{enable}enable wgpu_cooperative_matrix;
        @group(0) @binding(0) var<storage, read> a: array<{scalar}>;
        @group(0) @binding(1) var<storage, read> b: array<{scalar}>;
        @group(0) @binding(2) var<storage, read> c: array<f32>;
        @group(0) @binding(3) var<storage, read_write> out: array<f32>;
        var<workgroup> tile: array<{scalar}, 64>;
        @compute @workgroup_size(32) fn main(@builtin(local_invocation_index) t: u32) {{
            tile[t] = b[t];
            tile[t + 32u] = b[t + 32u];
            workgroupBarrier();
            let x = coopLoadT<coop_mat8x8<{scalar}, A>>(&a[0], 8u);
            let y = coopLoadT<coop_mat8x8<{scalar}, B>>(&tile[0], 8u);
            var z = coopLoadT<coop_mat8x8<f32, C>>(&c[0], 8u);
            z = coopMultiplyAdd(x, y, z);
            z = coopMultiplyAdd(x, y, z);
            coopStoreT(z, &out[0], 8u);
            // By columns.
            let w = coopLoad<coop_mat8x8<f32, C>>(&c[0], 8u);
            coopStoreT(w, &out[64], 8u);
            coopStore(z, &out[128], 8u);
        }}"
    )
}

fn cooperative_agrees<T: bytemuck::Pod>(scalar: &str, of: impl Fn(f32) -> T, value: impl Fn(T) -> f64) {
    let features = Features { f16: scalar == "f16", matrices: true, ..Features::NONE };
    let msl = translate(&cooperative(scalar), features, false);
    let mut random = Random::new(3);
    let mut matrix = || (0..64).map(|_| of(random.unit())).collect::<Vec<T>>();
    let (mut a, mut b) = (matrix(), matrix());
    let (mut c, mut out) = (random.units(64), vec![0f32; 192]);
    run_module(&msl, 1, 32, [raw(&mut a), raw(&mut b), raw(&mut c), raw(&mut out)]);
    for row in 0..8 {
        for column in 0..8 {
            let product: f64 = (0..8).map(|k| value(a[row * 8 + k]) * value(b[k * 8 + column])).sum();
            let expected = f64::from(c[row * 8 + column]) + 2.0 * product;
            assert!((f64::from(out[row * 8 + column]) - expected).abs() < 1e-5, "{scalar} {row} {column}");
            assert_eq!(out[64 + row * 8 + column], c[column * 8 + row], "{scalar} {row} {column}");
            assert_eq!(out[128 + column * 8 + row], out[row * 8 + column]);
        }
    }
}

#[test]
fn cooperative_matrices_multiply() {
    cooperative_agrees("f32", |x| x, f64::from);
    cooperative_agrees("f16", f16::from_f32, f16::to_f64);
}
