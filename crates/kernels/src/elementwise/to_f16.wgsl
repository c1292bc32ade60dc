// To f16, by way of f32: what that rounds is beyond f16.
alias result = f16;

fn converted(v: scalar) -> result {
    return f16(f32(v));
}
