// Operations on two floats.
alias result = scalar;

const LAST: u32 = 6u;

fn has_result(operation: u32, b: number) -> bool {
    return true;
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
        case 6u: {
            return power_of(a, b);
        }
        default: {
            if is_nan(a) {
                return a;
            }
            if is_nan(b) {
                return b;
            }
            return select(min(a, b), max(a, b), operation == 4u);
        }
    }
}
