// A number that rises with an integer, or falls: 2^31 more.
fn key_or_turned(stored: scalar, least: bool) -> u32 {
    let key = bitcast<u32>(stored) ^ 0x80000000u;
    return select(key, ~key, least);
}
