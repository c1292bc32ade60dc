//! Functions of floats and halves.

use crate::rig::{function, raw, run, text};
use half::f16;
use thalweg_doubles::testing::Random;

/// A function, its reference, and which of its arguments are in its domain.
struct Case {
    name: &'static str,
    reference: fn([f64; 3]) -> f64,
    /// A random argument, made from a value in -1..1.
    domain: fn(f32) -> f32,
    arguments: usize,
}

const fn case1(name: &'static str, domain: fn(f32) -> f32, reference: fn([f64; 3]) -> f64) -> Case {
    Case { name, reference, domain, arguments: 1 }
}

const fn case2(name: &'static str, domain: fn(f32) -> f32, reference: fn([f64; 3]) -> f64) -> Case {
    Case { name, reference, domain, arguments: 2 }
}

const fn case3(name: &'static str, domain: fn(f32) -> f32, reference: fn([f64; 3]) -> f64) -> Case {
    Case { name, reference, domain, arguments: 3 }
}

fn unit(x: f32) -> f32 {
    x
}
fn wide(x: f32) -> f32 {
    x * 8.0
}
fn positive(x: f32) -> f32 {
    x.abs() * 8.0 + 0.01
}
fn above_one(x: f32) -> f32 {
    x.abs() * 8.0 + 1.0
}

/// Halves and integers too, where `rint` has to choose.
fn stepped(x: f32) -> f32 {
    (x * 16.0).round() / 2.0
}

const CASES: &[Case] = &[
    case1("abs", wide, |[x, ..]| x.abs()),
    case1("fabs", wide, |[x, ..]| x.abs()),
    case1("acos", unit, |[x, ..]| x.acos()),
    case1("acosh", above_one, |[x, ..]| x.acosh()),
    case1("asin", unit, |[x, ..]| x.asin()),
    case1("asinh", wide, |[x, ..]| x.asinh()),
    case1("atan", wide, |[x, ..]| x.atan()),
    case1("atanh", |x| x * 0.99, |[x, ..]| x.atanh()),
    case1("ceil", stepped, |[x, ..]| x.ceil()),
    case1("cos", wide, |[x, ..]| x.cos()),
    case1("cosh", wide, |[x, ..]| x.cosh()),
    case1("cospi", wide, |[x, ..]| (x * std::f64::consts::PI).cos()),
    case1("exp", wide, |[x, ..]| x.exp()),
    case1("exp10", |x| x * 4.0, |[x, ..]| 10f64.powf(x)),
    case1("exp2", wide, |[x, ..]| x.exp2()),
    case1("floor", stepped, |[x, ..]| x.floor()),
    case1("fract", wide, |[x, ..]| x - x.floor()),
    case1("log", positive, |[x, ..]| x.ln()),
    case1("log10", positive, |[x, ..]| x.log10()),
    case1("log2", positive, |[x, ..]| x.log2()),
    case1("rint", stepped, |[x, ..]| x.round_ties_even()),
    case1("round", stepped, |[x, ..]| x.round()),
    case1("rsqrt", positive, |[x, ..]| 1.0 / x.sqrt()),
    case1("saturate", wide, |[x, ..]| x.clamp(0.0, 1.0)),
    case1("sign", wide, |[x, ..]| x.signum()),
    case1("sin", wide, |[x, ..]| x.sin()),
    case1("sinh", wide, |[x, ..]| x.sinh()),
    case1("sinpi", wide, |[x, ..]| (x * std::f64::consts::PI).sin()),
    case1("sqrt", positive, |[x, ..]| x.sqrt()),
    case1("tan", unit, |[x, ..]| x.tan()),
    case1("tanh", wide, |[x, ..]| x.tanh()),
    case1("trunc", stepped, |[x, ..]| x.trunc()),
    case2("atan2", wide, |[x, y, _]| x.atan2(y)),
    case2("copysign", wide, |[x, y, _]| x.copysign(y)),
    case2("fdim", wide, |[x, y, _]| (x - y).max(0.0)),
    case2("fmax", wide, |[x, y, _]| x.max(y)),
    case2("fmin", wide, |[x, y, _]| x.min(y)),
    case2("fmod", wide, |[x, y, _]| x % y),
    case2("max", wide, |[x, y, _]| x.max(y)),
    case2("min", wide, |[x, y, _]| x.min(y)),
    case2("pow", |x| x.abs() * 3.0 + 0.1, |[x, y, _]| x.powf(y)),
    case2("powr", |x| x.abs() * 3.0 + 0.1, |[x, y, _]| x.powf(y)),
    case2("step", stepped, |[x, y, _]| f64::from(y >= x)),
    case3("fma", wide, |[x, y, z]| x * y + z),
    case3("max3", wide, |[x, y, z]| x.max(y).max(z)),
    case3("median3", wide, |[x, y, z]| x.min(y).max(x.max(y).min(z))),
    case3("min3", wide, |[x, y, z]| x.min(y).min(z)),
    case3("mix", positive, |[x, y, z]| x + (y - x) * z),
];

const LEN: usize = 512;

/// A text with a kernel `name` for each case, on scalars of a type and on vectors of four.
fn texts(scalar: &str) -> String {
    let mut body = String::new();
    for (at, case) in CASES.iter().enumerate() {
        let name = case.name;
        for (suffix, kind) in [("", scalar.to_owned()), ("x4", format!("{scalar}4"))] {
            let list = ["x[i]", "x[i + n]", "x[i + 2 * n]"][..case.arguments].join(", ");
            let count = LEN / if suffix.is_empty() { 1 } else { 4 };
            body += &format!(
                "kernel void f{at}{suffix}(device const {kind}* x [[buffer(0)]], device {kind}* out [[buffer(1)]],\n    \
                 uint i [[thread_position_in_grid]]) {{\n    const uint n = {count}; out[i] = metal::{name}({list});\n}}\n"
            );
        }
    }
    text(&body)
}

fn arguments(case: &Case, random: &mut Random) -> Vec<f32> {
    (0..3 * LEN).map(|_| (case.domain)(random.unit())).collect()
}

fn expected(case: &Case, x: &[f32]) -> Vec<f64> {
    (0..LEN).map(|i| (case.reference)([0, 1, 2].map(|k| f64::from(x[i + k * LEN])))).collect()
}

#[test]
fn functions_of_floats_are_close_to_exact() {
    let (source, mut random) = (texts("float"), Random::new(1));
    for (at, case) in CASES.iter().enumerate() {
        let mut x = arguments(case, &mut random);
        let expected = expected(case, &x);
        let (mut out, mut out4) = (vec![0f32; LEN], vec![0f32; LEN]);
        run(&function(&source, &format!("f{at}")), 4, LEN as u32 / 4, &mut [raw(&mut x), raw(&mut out)]);
        run(&function(&source, &format!("f{at}x4")), 4, LEN as u32 / 16, &mut [raw(&mut x), raw(&mut out4)]);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&out), bits(&out4), "{}: scalars and vectors", case.name);
        for (i, (out, expected)) in out.iter().zip(expected).enumerate() {
            // The two parts of `mix` may be far larger than their sum.
            let [a, b, c] = [0, 1, 2].map(|k| f64::from(x[i + k * LEN]));
            let parts = if case.name == "mix" { a.abs() + ((b - a) * c).abs() } else { 0.0 };
            let near = 1e-6 * expected.abs().max(1e-3).max(parts);
            assert!((f64::from(*out) - expected).abs() <= near, "{} of {}: {out}, not {expected}", case.name, x[i]);
        }
    }
}

#[test]
fn functions_of_halves_are_rounded_once() {
    let (source, mut random) = (texts("half"), Random::new(2));
    for (at, case) in CASES.iter().enumerate() {
        let mut x: Vec<f16> = arguments(case, &mut random).into_iter().map(f16::from_f32).collect();
        let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
        let (mut out, mut out4) = (vec![f16::ZERO; LEN], vec![f16::ZERO; LEN]);
        run(&function(&source, &format!("f{at}")), 4, LEN as u32 / 4, &mut [raw(&mut x), raw(&mut out)]);
        run(&function(&source, &format!("f{at}x4")), 4, LEN as u32 / 16, &mut [raw(&mut x), raw(&mut out4)]);
        assert_eq!(out, out4, "{}: scalars and vectors", case.name);
        for (i, expected) in expected(case, &wide).into_iter().enumerate() {
            // Half a step, and what the float was off.
            let near = 0.5001 / 1024.0 * expected.abs().max(1e-4);
            let out = out[i].to_f64();
            let right = (out - expected).abs() <= near || out == f16::from_f64(expected).to_f64();
            assert!(right, "{} of {}: {out}, not {expected}", case.name, wide[i]);
        }
    }
}

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// Of two arguments the second is the one behind.
fn at(name: &str, arguments: &[f32]) -> f32 {
    let list = (0..arguments.len()).map(|i| format!("x[{i}]")).collect::<Vec<_>>().join(", ");
    let body = format!(
        "kernel void f(device const float* x [[buffer(0)]], device float* out [[buffer(1)]]) {{ out[0] = {name}({list}); }}"
    );
    let (mut x, mut out) = (arguments.to_vec(), [0f32]);
    run(&function(&text(&body), "f"), 1, 1, &mut [raw(&mut x), raw(&mut out)]);
    out[0]
}

#[test]
fn nan_and_infinity_are_as_in_metal() {
    // Of a number and NaN, the number.
    for name in ["min", "max", "fmin", "fmax"] {
        assert_eq!(at(name, &[NAN, 2.0]), 2.0, "{name}");
        assert_eq!(at(name, &[2.0, NAN]), 2.0, "{name}");
        assert!(at(name, &[NAN, NAN]).is_nan(), "{name}");
    }
    assert_eq!(at("clamp", &[NAN, -1.0, 3.0]), -1.0);
    assert_eq!(at("clamp", &[INF, -1.0, 3.0]), 3.0);
    assert_eq!(at("saturate", &[NAN]), 0.0);
    assert_eq!(at("sign", &[NAN]), 0.0);
    for zero in [0.0, -0.0f32] {
        assert_eq!(at("sign", &[zero]).to_bits(), zero.to_bits());
        assert_eq!(at("rint", &[zero]).to_bits(), zero.to_bits());
    }
    assert_eq!(at("rint", &[-0.5]).to_bits(), (-0.0f32).to_bits());
    assert_eq!(at("fract", &[-1e-10]), 1.0 - f32::EPSILON / 2.0);
    assert!(at("fract", &[INF]).is_nan());
    assert_eq!(at("exp", &[-INF]), 0.0);
    assert_eq!(at("exp", &[100.0]), INF);
    assert!(at("sqrt", &[-1.0]).is_nan());
    assert!(at("powr", &[-1.0, 2.0]).is_nan());
    assert_eq!(at("precise::exp", &[0.0]), 1.0);
    assert_eq!(at("metal::fast::sqrt", &[4.0]), 2.0);
    assert_eq!(at("smoothstep", &[1.0, 3.0, 2.0]), 0.5);
}

#[test]
fn classes_of_numbers_are_told_by_their_bits() {
    let body = "kernel void f(device const float* x [[buffer(0)]], device uint* out [[buffer(1)]],
        device const half* h [[buffer(2)]], uint i [[thread_position_in_grid]]) {
        out[i] = uint(isnan(x[i])) | uint(isinf(x[i])) << 1 | uint(isfinite(x[i])) << 2 | uint(signbit(x[i])) << 3;
        bool4 four = isnan(float4(x[i], 0.0, x[i], 1.0));
        out[i] |= uint(four.x && !four.y && four.z) << 4;
        out[i] |= uint(isnan(h[i])) << 8 | uint(isinf(h[i])) << 9 | uint(isfinite(h[i])) << 10;
    }";
    let mut x = [NAN, -NAN, INF, -INF, 0.0, -0.0, f32::MAX, f32::from_bits(0x7f80_0001)];
    let mut h = x.map(f16::from_f32);
    let mut out = [0u32; 8];
    run(&function(&text(body), "f"), 1, 8, &mut [raw(&mut x), raw(&mut out), raw(&mut h)]);
    for ((x, h), out) in x.into_iter().zip(h).zip(out) {
        let expected = [x.is_nan(), x.is_infinite(), x.is_finite(), x.is_sign_negative(), x.is_nan()];
        for (bit, expected) in expected.into_iter().enumerate() {
            assert_eq!(out >> bit & 1 == 1, expected, "{x}: bit {bit}");
        }
        for (bit, expected) in [h.is_nan(), h.is_infinite(), h.is_finite()].into_iter().enumerate() {
            assert_eq!(out >> (8 + bit) & 1 == 1, expected, "{h}: bit {bit}");
        }
    }
}

#[test]
fn parts_of_numbers() {
    let body = "kernel void f(device const float* x [[buffer(0)]], device float4* out [[buffer(1)]],
        uint i [[thread_position_in_grid]]) {
        int e;
        float fraction = frexp(x[i], e), whole, part = modf(x[i], whole);
        out[2 * i] = float4(fraction, float(e), whole, part);
        float2 wholes, c;
        float2 parts = modf(float2(x[i], -x[i]), wholes);
        float sine = sincos(x[i], c.x);
        out[2 * i + 1] = float4(ldexp(fraction, e), parts.y, sine, c.x);
    }";
    let mut random = Random::new(3);
    let mut x: Vec<f32> = (0..64).map(|_| random.unit() * 100.0).collect();
    x[..4].copy_from_slice(&[0.0, 1.0, -0.5, 3.0]);
    let mut out = vec![[0f32; 8]; x.len()];
    run(&function(&text(body), "f"), 1, 64, &mut [raw(&mut x), raw(&mut out)]);
    for (x, [fraction, e, whole, part, back, second, sine, cosine]) in x.into_iter().zip(out) {
        assert!(x == 0.0 || (0.5..1.0).contains(&fraction.abs()), "{x}: {fraction}");
        assert_eq!(fraction * e.exp2(), x);
        assert_eq!([whole, part], [x.trunc(), x.fract()]);
        assert_eq!(back, x);
        assert_eq!(second, -part);
        assert!((sine - x.sin()).abs() < 1e-6 && (cosine - x.cos()).abs() < 1e-6, "{x}");
    }
}

#[test]
fn literals_are_floats_and_halves_round_after_each_operation() {
    let body = "kernel void f(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
        device const half* h [[buffer(2)]], device half* r [[buffer(3)]]) {
        out[0] = x[0] * 0.1;
        out[1] = x[0] / 3.0 + 0.7;
        out[2] = metal::max(x[0], 0.5);
        r[0] = h[0] * h[1] + h[2];
        r[1] = 0.5h * h[0];
        r[2] = h[0] * h[1] * 3h;
    }";
    let (mut x, mut out) = ([1.234_567_8f32], [0f32; 3]);
    let (mut h, mut r) = ([1.001, 3.003, 0.777].map(f16::from_f32), [f16::ZERO; 3]);
    run(&function(&text(body), "f"), 1, 1, &mut [raw(&mut x), raw(&mut out), raw(&mut h), raw(&mut r)]);
    assert_eq!(out, [x[0] * 0.1, x[0] / 3.0 + 0.7, x[0]]);
    assert_eq!(r, [h[0] * h[1] + h[2], f16::from_f32(0.5) * h[0], h[0] * h[1] * f16::from_f32(3.0)]);
}
