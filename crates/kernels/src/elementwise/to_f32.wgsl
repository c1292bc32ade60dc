// To f32.
alias result = f32;

fn converted(v: scalar) -> result {
    return f32(v);
}
