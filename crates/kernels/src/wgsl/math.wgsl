// The elementary functions of the host form (simd/math.rs): the same reductions and polynomials. Every function is
// defined for every argument, and NaN stays NaN.

// v's bits if it is NaN, else the result's.
fn keep_nan(v: f32, result: f32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(result), bitcast<u32>(v), is_nan(v)));
}

fn with_sign(magnitude: f32, sign: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(magnitude) & 0x7fffffffu) | (bitcast<u32>(sign) & 0x80000000u));
}

// 2^n for whole n in -126..127.
fn power_of_2(n: f32) -> f32 {
    return bitcast<f32>(u32(i32(n) + 127) << 23u);
}

// e^v by Cody and Waite's reduction and the Taylor polynomial of degree 7.
fn exp_of(v: f32) -> f32 {
    let x = clamp(v, -105.0, 89.0);
    let n = round(x * 1.4426950408889634);
    let r = fma(n, 2.1219444e-4, fma(n, -0.693359375, x));
    var t = fma(1.0 / 5040.0, r, 1.0 / 720.0);
    t = fma(t, r, 1.0 / 120.0);
    t = fma(t, r, 1.0 / 24.0);
    t = fma(t, r, 1.0 / 6.0);
    t = fma(t, r, 0.5);
    t = fma(t, r * r, r) + 1.0;
    // In two steps: 2^n alone would leave the range for the smallest and the greatest results.
    let part = round(n * 0.5);
    return keep_nan(v, t * power_of_2(part) * power_of_2(n - part));
}

// The natural logarithm: v = 2^n m with m in sqrt(1/2)..sqrt(2), and ln m = 2 artanh((m - 1) / (m + 1)).
fn ln_of(v: f32) -> f32 {
    if is_nan(v) || bitcast<u32>(v) == 0x7f800000u {
        return v;
    }
    if (bitcast<u32>(v) & 0x7fffffffu) == 0u {
        var infinity = 0xff800000u;
        return bitcast<f32>(infinity);
    }
    if (bitcast<u32>(v) & 0x80000000u) != 0u {
        return not_a_number();
    }
    var bits = bitcast<u32>(v);
    var n = -127.0;
    if bits < 0x00800000u {
        // Subnormal: its bits are the number in units of 2^-149.
        bits = bitcast<u32>(f32(bits));
        n = -149.0 - 127.0;
    }
    n += f32(bits >> 23u);
    var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u);
    if m > 1.41421356 {
        m *= 0.5;
        n += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    var t = fma(z, 2.0 / 11.0, 2.0 / 9.0);
    t = fma(t, z, 2.0 / 7.0);
    t = fma(t, z, 2.0 / 5.0);
    t = fma(t, z, 2.0 / 3.0);
    t = fma(s * z, t, 2.0 * s);
    return fma(n, 0.693359375, fma(n, -2.1219444e-4, t));
}

// tanh v: an odd polynomial below 5/8, 1 - 2 / (e^2|v| + 1) above.
fn tanh_of(v: f32) -> f32 {
    // From 9.1 on the result is 1.
    let a = min(abs(v), 10.0);
    if a < 0.625 {
        let t = a * a;
        var p = fma(-0.005717042, t, 0.020650584);
        p = fma(p, t, -0.053743497);
        p = fma(p, t, 0.13331491);
        p = fma(p, t, -0.33333284);
        return keep_nan(v, with_sign(fma(a * t, p, a), v));
    }
    return keep_nan(v, with_sign(1.0 - 2.0 / (exp_of(a + a) + 1.0), v));
}

// erf v: an odd polynomial below 1; above, 1 - e^p(|v|), where p approximates the logarithm of the complement.
fn erf_of(v: f32) -> f32 {
    let a = min(abs(v), 4.0);
    if a < 1.0 {
        let t = a * a;
        var p = fma(7.8538565e-5, t, -0.0008010192);
        p = fma(p, t, 0.0051883275);
        p = fma(p, t, -0.026853812);
        p = fma(p, t, 0.11283585);
        p = fma(p, t, -0.37612626);
        p = fma(p, t, 0.12837917);
        return keep_nan(v, with_sign(fma(a, p, a), v));
    }
    var p = fma(0.00018557307, a, -0.0029395984);
    p = fma(p, a, 0.021805284);
    p = fma(p, a, -0.1030373);
    p = fma(p, a, -0.63822576);
    p = fma(p, a, -1.12704);
    p = fma(p, a, -0.0003537307);
    return keep_nan(v, with_sign(1.0 - exp_of(p), v));
}

fn relu_of(v: f32) -> f32 {
    return keep_nan(v, max(v, 0.0));
}

fn gelu_of(v: f32) -> f32 {
    return v * 0.5 * (1.0 + erf_of(v * 0.7071067811865476));
}

fn gelu_tanh_of(v: f32) -> f32 {
    return v * 0.5 * (1.0 + tanh_of(fma(v * v * v, 0.044715, v) * 0.7978846));
}

fn silu_of(v: f32) -> f32 {
    return v / (1.0 + exp_of(-v));
}

fn sigmoid_of(v: f32) -> f32 {
    return 1.0 / (1.0 + exp_of(-v));
}
