// Operations on two integers of the stored type. They wrap; the smallest divided by -1 is itself.
alias result = scalar;

const LAST: u32 = 6u;

fn has_result(operation: u32, b: number) -> bool {
    return operation != 3u || b != number(0);
}

fn apply(operation: u32, a: number, b: number) -> number {
    switch operation {
        case 0u: {
            return a + b;
        }
        case 1u: {
            return a - b;
        }
        case 2u: {
            return a * b;
        }
        case 3u: {
            return a / b;
        }
        case 4u: {
            return max(a, b);
        }
        case 5u: {
            return min(a, b);
        }
        default: {
            return power_of(a, b);
        }
    }
}

// By squaring. A negative power is towards 0.
fn power_of(a: number, b: number) -> number {
    var bits = u32(b);
    if b < number(0) {
        if a == number(1) {
            return a;
        }
        if a + number(1) != number(0) {
            return number(0);
        }
        // -1: what counts is whether the power is odd.
        bits &= 1u;
    }
    var base = a;
    var power = number(1);
    while bits != 0u {
        if (bits & 1u) != 0u {
            power *= base;
        }
        base *= base;
        bits >>= 1u;
    }
    return power;
}
