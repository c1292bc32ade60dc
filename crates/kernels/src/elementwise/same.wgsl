// The same type on both sides: a copy.
alias result = scalar;

fn converted(v: scalar) -> result {
    return v;
}
