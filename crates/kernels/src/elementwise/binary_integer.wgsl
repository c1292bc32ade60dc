// Operations on two integers of the stored type. They wrap; the smallest divided by -1 is itself.
alias number = scalar;

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
        default: {
            return min(a, b);
        }
    }
}
