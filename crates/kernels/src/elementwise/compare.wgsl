// Comparisons of two numbers: 1 where it is so, 0 where not. A compiler may take for granted that there is no NaN, so
// it is looked for.
alias result = u32;

const LAST: u32 = 5u;

fn has_result(operation: u32, b: number) -> bool {
    return true;
}

fn apply(operation: u32, a: number, b: number) -> result {
    if is_no_number(a) || is_no_number(b) {
        return select(0u, 1u, operation == 1u);
    }
    switch operation {
        case 0u: {
            return select(0u, 1u, a == b);
        }
        case 1u: {
            return select(0u, 1u, a != b);
        }
        case 2u: {
            return select(0u, 1u, a < b);
        }
        case 3u: {
            return select(0u, 1u, a <= b);
        }
        case 4u: {
            return select(0u, 1u, a > b);
        }
        default: {
            return select(0u, 1u, a >= b);
        }
    }
}
