// A number that rises with an integer, or falls: its own.
fn key_or_turned(stored: scalar, least: bool) -> u32 {
    return select(stored, ~stored, least);
}
