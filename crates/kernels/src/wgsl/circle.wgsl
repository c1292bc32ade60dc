// Sine and cosine. Their polynomials are the host's (simd/math.rs), the reduction is not: a compiler may rearrange sums
// of floats, and then the parts of pi do not cancel what they are to.

// A multiple of pi / 2, by its number's remainder of a division by 4, and what is left of the argument.
struct Turned {
    quarter: u32,
    rest: f32,
}

fn sin_of(v: f32) -> f32 {
    if is_nan(v) || is_infinite(v) {
        return not_a_number();
    }
    return quarter_sin(turned(v));
}

fn cos_of(v: f32) -> f32 {
    if is_nan(v) || is_infinite(v) {
        return not_a_number();
    }
    let own = turned(v);
    return quarter_sin(Turned((own.quarter + 1u) & 3u, own.rest));
}

fn quarter_sin(at: Turned) -> f32 {
    let r = at.rest;
    let z = r * r;
    var value = 0.0;
    if (at.quarter & 1u) == 0u {
        let p = fma(fma(-0.00019515296, z, 0.008332161), z, -0.16666655);
        value = fma(p * z, r, r);
    } else {
        let p = fma(fma(2.4433157e-5, z, -0.0013887316), z, 0.041666646);
        value = fma(p * z, z, fma(z, -0.5, 1.0));
    }
    return select(value, -value, at.quarter >= 2u);
}

// Payne and Hanek's reduction, in integers: the product with 96 bits of 2 / pi. Earlier bits make multiples of 4, later
// ones make no difference.
fn turned(v: f32) -> Turned {
    if abs(v) <= 0.7853982 {
        return Turned(0u, v);
    }
    let bits = bitcast<u32>(v);
    let m = (bits & 0x007fffffu) | 0x00800000u;
    // The first bit that counts, of 2 / pi behind 32 zeros; v is m * 2^(exponent - 150).
    let first = ((bits >> 23u) & 255u) - 150u + 30u;
    let at = first / 32u;
    let shift = first % 32u;
    let high = shifted(two_over_pi(at), two_over_pi(at + 1u), shift);
    let middle = shifted(two_over_pi(at + 1u), two_over_pi(at + 2u), shift);
    let low = shifted(two_over_pi(at + 2u), two_over_pi(at + 3u), shift);
    let below = high_product(low, m);
    let lower = middle * m + below;
    let carry = select(0u, 1u, lower < below);
    let upper = high * m + high_product(middle, m) + carry;
    // The two highest bits are the quarters, the others the fraction, of which half and more is one less of the next.
    let fraction = bitcast<i32>((upper << 2u) | (lower >> 30u));
    let quarter = (upper >> 30u) + ((upper >> 29u) & 1u);
    let rest = f32(fraction) * 3.6572952e-10; // pi / 2 of 2^32
    let negative = (bits & 0x80000000u) != 0u;
    return Turned(select(quarter, 0u - quarter, negative) & 3u, select(rest, -rest, negative));
}

fn shifted(a: u32, b: u32, by: u32) -> u32 {
    if by == 0u {
        return a;
    }
    return (a << by) | (b >> (32u - by));
}

// The upper word of a product with a number of 24 bits.
fn high_product(a: u32, m: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let m_low = m & 0xffffu;
    let m_high = m >> 16u;
    let one = a_high * m_low;
    let other = a_low * m_high;
    let middle = (a_low * m_low >> 16u) + (one & 0xffffu) + (other & 0xffffu);
    return a_high * m_high + (one >> 16u) + (other >> 16u) + (middle >> 16u);
}

// 32 bits of 2 / pi, the first of them all zeros.
fn two_over_pi(at: u32) -> u32 {
    switch at {
        case 1u: {
            return 0xa2f9836eu;
        }
        case 2u: {
            return 0x4e441529u;
        }
        case 3u: {
            return 0xfc2757d1u;
        }
        case 4u: {
            return 0xf534ddc0u;
        }
        case 5u: {
            return 0xdb629599u;
        }
        case 6u: {
            return 0x3c439041u;
        }
        case 7u: {
            return 0xfe5163abu;
        }
        default: {
            return 0u;
        }
    }
}
