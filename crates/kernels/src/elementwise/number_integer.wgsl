// What operations on integers compute with: the stored type.
alias number = scalar;

fn number_of(value: scalar) -> number {
    return value;
}

fn number_of_bits(bits: u32) -> number {
    return number(bits);
}

fn is_no_number(value: number) -> bool {
    return false;
}
