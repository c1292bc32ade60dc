// A float to i32, towards 0. The ends are looked for, because a conversion of what is beyond them is anything.
alias result = i32;

fn converted(v: scalar) -> result {
    let wide = f32(v);
    if is_nan(wide) {
        return 0;
    }
    if wide >= 2147483648.0 {
        return 0x7fffffff;
    }
    if wide <= -2147483648.0 {
        return bitcast<i32>(0x80000000u);
    }
    return i32(wide);
}
