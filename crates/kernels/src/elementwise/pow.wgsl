// a^b as FreeBSD's e_powf.c has it (Sun Microsystems, 1993): the logarithm to base 2 in two floats, of which the first
// has 12 bits, so that its products with others of 12 bits are exact. Within 1.1 ulp where division is exact.

fn high_bits(v: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(v) & 0xfffff000u);
}

fn infinity() -> f32 {
    var bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

fn power_of(a: f32, b: f32) -> f32 {
    let size = bitcast<u32>(a) & 0x7fffffffu;
    let negative = (bitcast<u32>(a) & 0x80000000u) != 0u;
    if b == 0.0 || bitcast<u32>(a) == 0x3f800000u {
        return 1.0;
    }
    if is_nan(a) || is_nan(b) {
        return not_a_number();
    }
    if is_infinite(b) {
        if size == 0x3f800000u {
            return 1.0;
        }
        return select(0.0, infinity(), (size > 0x3f800000u) == (b > 0.0));
    }
    // From 2^24 on every number is even.
    let large = abs(b) >= 16777216.0;
    let whole = large || trunc(b) == b;
    let odd = whole && !large && (i32(select(b, 0.0, large)) & 1) != 0;
    var power = 0.0;
    if size == 0u || size == 0x7f800000u {
        power = select(0.0, infinity(), (size == 0u) == (b < 0.0));
    } else if negative && !whole {
        return not_a_number();
    } else {
        power = power_of_size(size, b);
    }
    return select(power, -power, negative && odd);
}

// `bits` are those of a number above 0.
fn power_of_size(bits: u32, b: f32) -> f32 {
    var own = bits;
    var n = -127;
    if own < 0x00800000u {
        // Subnormal: its bits are the number in units of 2^-149.
        own = bitcast<u32>(f32(own));
        n = -149 - 127;
    }
    n += i32(own >> 23u);
    let fraction = own & 0x007fffffu;
    let upper = fraction >= 0x5db3d7u;
    n += select(0, 1, upper);
    let m = bitcast<f32>((fraction | 0x3f800000u) - select(0u, 0x00800000u, upper));
    let half = fraction > 0x1cc471u && !upper;
    let base = select(1.0, 1.5, half);

    // s = (m - base) / (m + base) in two parts.
    let above = m - base;
    let reciprocal = 1.0 / (m + base);
    let s = above * reciprocal;
    let s_high = high_bits(s);
    let sum_high = high_bits(m + base);
    let sum_low = m - (sum_high - base);
    let s_low = reciprocal * ((above - s_high * sum_high) - s_high * sum_low);
    // 3 s (1 + s^2 / 3 + ..) = 1.5 ln((1 + s) / (1 - s)).
    let z = s * s;
    var r = fma(z, 0.20697501, 0.23066075);
    r = fma(z, r, 0.27272812);
    r = fma(z, r, 0.33333334);
    r = fma(z, r, 0.42857143);
    r = z * z * fma(z, r, 0.6);
    r += s_low * (s_high + s);
    let square = s_high * s_high;
    let t_high = high_bits(3.0 + square + r);
    let t_low = r - ((t_high - 3.0) - square);
    let u = s_high * t_high;
    let v = s_low * t_high + t_low * s;
    // Times 2 / (3 ln 2), plus the logarithm of the base and n.
    let w_high = high_bits(u + v);
    let w_low = v - (w_high - u);
    let log_high = 0.9619140625 * w_high;
    let log_low = -0.00011736857 * w_high + w_low * 0.9617967 + select(0.0, 1.56322085e-6, half);
    let base_log = select(0.0, 0.584960938, half);
    let whole = f32(n);
    let first = high_bits(((log_high + log_low) + base_log) + whole);
    let second = log_low - (((first - whole) - base_log) - log_high);

    let b_high = high_bits(b);
    let low = (b - b_high) * first + b * second;
    let high = b_high * first;
    let power = low + high;
    if power > 135.0 {
        return infinity();
    }
    if power < -155.0 {
        return 0.0;
    }
    // 2^(high + low).
    let q = round(power);
    let rest = high - q;
    let t = bitcast<f32>(bitcast<u32>(low + rest) & 0xffff8000u);
    let x_high = t * 0.693145752;
    let x_low = (low - (t - rest)) * 0.6931472 + t * 1.42860654e-6;
    let x = x_high + x_low;
    let lost = x_low - (x - x_high);
    var e = fma(x, 1.0 / 5040.0, 1.0 / 720.0);
    e = fma(e, x, 1.0 / 120.0);
    e = fma(e, x, 1.0 / 24.0);
    e = fma(e, x, 1.0 / 6.0);
    e = fma(e, x, 0.5);
    e = fma(e, x * x, x);
    e = (e + fma(lost, e, lost)) + 1.0;
    let part = round(q * 0.5);
    return e * power_of_2(part) * power_of_2(q - part);
}
