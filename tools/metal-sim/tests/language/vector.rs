//! Vectors and matrices of a thread: how they are put together, taken apart and combined.

use crate::rig::{function, raw, run, text};

/// What a kernel leaves in an output of as many floats as are expected. `x` is 1, 2, 3, 4, `y` is 10, 20, 30, 40.
#[track_caller]
fn leaves(body: &str, expected: &[f32]) {
    let body = format!(
        "kernel void f(device const float4* in [[buffer(0)]], device float* out [[buffer(1)]]) {{\n\
         float4 x = in[0], y = in[1]; uint n = 0;\n{body}\n}}"
    );
    let mut x = [1.0f32, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0];
    let mut out = vec![0f32; expected.len()];
    run(&function(&text(&body), "f"), 1, 1, &mut [raw(&mut x), raw(&mut out)]);
    assert_eq!(out, expected);
}

#[test]
fn vectors_are_put_together_from_parts() {
    leaves(
        "float4 a = float4(x.xy, 7.0, y.w), b = float4(5.0, x.wzy), c = float4(9.0);
         float3 d = float3(x.x, y.zw);
         for (uint i = 0; i < 4; i++) { out[n++] = a[i]; out[n++] = b[i]; out[n++] = c[i]; }
         for (uint i = 0; i < 3; i++) out[n++] = d[i];",
        &[1.0, 5.0, 9.0, 2.0, 4.0, 9.0, 7.0, 3.0, 9.0, 40.0, 2.0, 9.0, 1.0, 30.0, 40.0],
    );
}

#[test]
fn swizzles_repeat_and_reorder() {
    leaves(
        "float4 a = x.wwxy + y.bgra; float2 b = (x * y).zx; float c = (float3(1.0, 2.0, 3.0).zyx).x;
         for (uint i = 0; i < 4; i++) out[n++] = a[i];
         out[n++] = b.x; out[n++] = b.y; out[n++] = c; out[n++] = dot(x.xyz, y.zyx);",
        &[34.0, 24.0, 11.0, 42.0, 90.0, 10.0, 3.0, 100.0],
    );
}

#[test]
fn elements_are_written_by_name_and_by_index() {
    leaves(
        "float4 a = {}; a.x = 3.0; a[2] = x[1]; a.w += 2.0; a *= 2.0; a -= float4(0.0, 1.0, 0.0, 0.0);
         thread float& r = a[1]; r = r + 0.5;
         for (uint i = 0; i < 4; i++) out[n++] = a[i];",
        &[6.0, -0.5, 4.0, 4.0],
    );
}

#[test]
fn scalars_are_spread_in_operators() {
    leaves(
        "float4 a = 2.0 * x + 1.0, b = 12 / x; uint3 u = 31 - uint3(1, 2, 3); int2 s = -int2(5, -6) % 4;
         out[n++] = a.w; out[n++] = b.z; out[n++] = u.y; out[n++] = s.x; out[n++] = s.y;
         out[n++] = (~uint2(0, 1)).y == 0xfffffffeu;",
        &[9.0, 4.0, 29.0, -1.0, 2.0, 1.0],
    );
}

#[test]
fn conversions_go_by_value_and_as_type_by_bits() {
    leaves(
        "int4 i = int4(float4(-1.7, 1.7, 2.5, -0.5)); float4 f = float4(uint4(1, 2, 3, 4294967295u));
         bool3 t = bool3(float3(0.0, 0.5, -0.0)); half2 h = half2(float2(1.0009766, 65504.0));
         out[n++] = i.x; out[n++] = i.y; out[n++] = i.z; out[n++] = i.w; out[n++] = f.w;
         out[n++] = t.x; out[n++] = t.y; out[n++] = t.z; out[n++] = float(h.x); out[n++] = float3(t).y;
         out[n++] = as_type<float4>(as_type<uint4>(x)).w; out[n++] = as_type<uchar4>(0x04030201u).z;
         out[n++] = int4(as_type<packed_char4>(0xfffefdfcu)).w;",
        &[-1.0, 1.0, 2.0, 0.0, 4294967296.0, 0.0, 1.0, 0.0, 1.0009766, 1.0, 4.0, 3.0, -1.0],
    );
}

#[test]
fn truth_values_combine_by_element() {
    leaves(
        "bool4 a = x < float4(2.5), b = x == 3.0, c = (a || b) && !(x != 1.0 & a);
         out[n++] = all(a); out[n++] = any(a); out[n++] = all(a | b | (x > 3)); out[n++] = any(a && b);
         float4 s = select(x, y, a), t = select(x, float4(0.0), true); int2 u = select(int2(8, 9), 1, bool2(false, true));
         for (uint i = 0; i < 4; i++) { out[n++] = s[i]; out[n++] = c[i]; }
         out[n++] = t.x; out[n++] = u.x; out[n++] = u.y; out[n++] = select(1.0, 2.0, false); out[n++] = x.x < 2 ? 1.0 : 0.0;",
        &[0.0, 1.0, 1.0, 0.0, 10.0, 1.0, 20.0, 0.0, 3.0, 1.0, 4.0, 0.0, 0.0, 8.0, 1.0, 1.0, 1.0],
    );
}

#[test]
fn packed_vectors_have_no_gaps() {
    leaves(
        "struct S { packed_float3 a; float b; packed_half4 c; }; S s; s.a = x.xyz; s.b = 4.0; s.a.y = 7.0; s.c = half4(y);
         float3 a = s.a; float3 b = float3(s.a) * 2.0; s.a[2] += 1.0;
         out[n++] = sizeof(S); out[n++] = alignof(packed_float3); out[n++] = sizeof(float3); out[n++] = alignof(float3);
         out[n++] = a.y; out[n++] = b.z; out[n++] = s.a.z; out[n++] = s.c[3]; out[n++] = sizeof(packed_uchar4);",
        &[24.0, 4.0, 16.0, 16.0, 7.0, 6.0, 4.0, 40.0, 4.0],
    );
}

#[test]
fn geometry() {
    leaves(
        "float3 a = float3(1.0, 2.0, 2.0), b = float3(0.0, 3.0, 4.0), u = normalize(float3(0.0, 3.0, 4.0));
         out[n++] = dot(a, b); out[n++] = length(a); out[n++] = distance(a, b); out[n++] = length_squared(b);
         float3 c = cross(a, b); out[n++] = c.x; out[n++] = c.y; out[n++] = c.z;
         out[n++] = abs(u.y - 0.6) < 1e-6; out[n++] = abs(u.z - 0.8) < 1e-6;
         float3 r = reflect(a, float3(0.0, 1.0, 0.0)); out[n++] = r.x; out[n++] = r.y; out[n++] = r.z;
         out[n++] = faceforward(a, b, -b).x; out[n++] = faceforward(a, b, b).x;
         float2 t = refract(float2(0.0, -1.0), float2(0.0, 1.0), 0.5); out[n++] = t.x; out[n++] = t.y;",
        &[14.0, 3.0, 6f32.sqrt(), 25.0, 2.0, -4.0, 3.0, 1.0, 1.0, 1.0, -2.0, 2.0, 1.0, -1.0, 0.0, -1.0],
    );
}

#[test]
fn matrices_are_by_columns() {
    leaves(
        "float2x3 m = float2x3(float3(1.0, 2.0, 3.0), float3(4.0, 5.0, 6.0)); float3x2 t = transpose(m);
         float3 a = m * float2(1.0, 10.0); float2 b = float3(1.0, 10.0, 100.0) * m; float2x2 p = t * m; m[1].y = 50.0;
         out[n++] = a.x; out[n++] = a.z; out[n++] = b.x; out[n++] = b.y; out[n++] = t[2].y; out[n++] = m[1][1];
         out[n++] = p[0].x; out[n++] = p[1].x; out[n++] = (2.0 * p + p)[1][1]; out[n++] = determinant(p);
         float4x4 d = float4x4(3.0); d[3].x = 7.0; d[0].y = 2.0; out[n++] = determinant(d);
         float3x3 e = float3x3(float3(2.0, 0.0, 1.0), float3(1.0, 3.0, 0.0), float3(0.0, 1.0, 4.0)); out[n++] = determinant(e);
         float2x2 z = {}; out[n++] = z[1].y;",
        &[41.0, 63.0, 321.0, 654.0, 6.0, 50.0, 14.0, 32.0, 231.0, 54.0, 81.0, 25.0, 0.0],
    );
}
