// The activations, by the numbers that the host gives them.
const ACTIVATIONS: u32 = 7u;

fn activation_of(activation: u32, v: f32) -> f32 {
    switch activation {
        case 1u: {
            return gelu_of(v);
        }
        case 2u: {
            return gelu_tanh_of(v);
        }
        case 3u: {
            return relu_of(v);
        }
        case 4u: {
            return silu_of(v);
        }
        case 5u: {
            return tanh_of(v);
        }
        case 6u: {
            return sigmoid_of(v);
        }
        default: {
            return v;
        }
    }
}
