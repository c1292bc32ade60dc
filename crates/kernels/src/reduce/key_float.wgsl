// A number that rises with a float, or falls: the same for both zeros, greatest of all for NaN.
fn key_or_turned(stored: scalar, least: bool) -> u32 {
    let value = f32(stored);
    return turned_key(key_of(select(value, 0.0, value == 0.0)), least);
}
