//! How a broken rule is said.

/// Says on standard error which rule is broken and by what, and ends the process: a simulated device that went on after
/// a mistake would hide it.
pub fn broken(rule: &'static str, what: std::fmt::Arguments<'_>) -> ! {
    eprintln!("metal-sim: {rule}: {what}");
    std::process::abort()
}
