const LAST: u32 = 18u;

fn apply(operation: u32, v: f32) -> f32 {
    switch operation {
        case 0u: {
            return -v;
        }
        case 1u: {
            return abs(v);
        }
        case 2u: {
            return exp_of(v);
        }
        case 3u: {
            return ln_of(v);
        }
        case 4u: {
            return root_of(v);
        }
        case 5u: {
            return 1.0 / v;
        }
        case 6u: {
            return tanh_of(v);
        }
        case 7u: {
            return relu_of(v);
        }
        case 8u: {
            return silu_of(v);
        }
        case 9u: {
            return gelu_of(v);
        }
        case 10u: {
            return gelu_tanh_of(v);
        }
        case 11u: {
            return erf_of(v);
        }
        case 12u: {
            return sin_of(v);
        }
        case 13u: {
            return cos_of(v);
        }
        case 14u: {
            return 1.0 / root_of(v);
        }
        case 15u: {
            return 1.0 / (1.0 + exp_of(-v));
        }
        case 16u: {
            return keep_nan(v, floor(v));
        }
        case 17u: {
            return keep_nan(v, ceil(v));
        }
        default: {
            return keep_nan(v, round(v));
        }
    }
}

// The square root; NaN below 0.
fn root_of(v: f32) -> f32 {
    if is_nan(v) || v == 0.0 || bitcast<u32>(v) == 0x7f800000u {
        return v;
    }
    if v < 0.0 {
        return not_a_number();
    }
    return sqrt(v);
}
