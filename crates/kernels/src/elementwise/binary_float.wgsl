// Operations on two floats. The sums are f32, whatever is stored.
alias number = f32;

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
