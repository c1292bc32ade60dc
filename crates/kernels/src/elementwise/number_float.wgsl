// What operations on floats compute with: f32, whatever is stored.
alias number = f32;

fn number_of(value: scalar) -> number {
    return f32(value);
}

fn number_of_bits(bits: u32) -> number {
    return bitcast<f32>(bits);
}

fn is_no_number(value: number) -> bool {
    return is_nan(value);
}
