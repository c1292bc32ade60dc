// A float to u32, towards 0. The ends are looked for, because a conversion of what is beyond them is anything.
alias result = u32;

fn converted(v: scalar) -> result {
    let wide = f32(v);
    if is_nan(wide) || wide <= 0.0 {
        return 0u;
    }
    if wide >= 4294967296.0 {
        return 0xffffffffu;
    }
    return u32(wide);
}
