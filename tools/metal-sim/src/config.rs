//! What the environment says, read once.

use std::env::var;
use std::ffi::CStr;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    /// METAL_SIM_SEED: what the engine's choices follow from, as far as the threads of the program allow.
    pub seed: u64,
    /// METAL_SIM_MACOS: the system's version; before 15 there are no residency sets and no math mode.
    pub macos: u32,
    /// METAL_SIM_UNIFIED: whether device and host share their memory.
    pub unified: bool,
    /// METAL_SIM_POOLS: whether an autorelease without a pool ends the process.
    pub judges_pools: bool,
    /// METAL_SIM_PATIENCE: milliseconds after which a queue that is full, or waits for an event, is taken for stuck.
    pub patience: Option<Duration>,
}

/// Methods that came with macOS 15.
const SINCE_15: [&CStr; 7] = [
    c"newResidencySetWithDescriptor:error:",
    c"addResidencySet:",
    c"removeResidencySet:",
    c"useResidencySet:",
    c"setMathMode:",
    c"mathMode",
    c"setInitialCapacity:",
];

impl Config {
    /// Whether the system is too old for a method.
    pub fn hides(&self, selector: &CStr) -> bool {
        self.macos < 15 && SINCE_15.contains(&selector)
    }
}

/// What the environment says.
pub fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Config {
            seed: number("METAL_SIM_SEED").unwrap_or(clock ^ u64::from(std::process::id()) << 32),
            macos: number("METAL_SIM_MACOS").unwrap_or(15),
            unified: switch("METAL_SIM_UNIFIED").unwrap_or(true),
            patience: number("METAL_SIM_PATIENCE").map(Duration::from_millis),
            judges_pools: switch("METAL_SIM_POOLS").unwrap_or(false),
        }
    })
}

/// A variable that is a number, if it is there.
fn number<T: FromStr>(name: &str) -> Option<T> {
    let text = var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| wrong(name, &text, "a number")))
}

/// A variable that is a switch, if it is there.
fn switch(name: &str) -> Option<bool> {
    match var(name).ok().filter(|text| !text.is_empty())?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        text => wrong(name, text, "0 or 1"),
    }
}

/// What is meant is not known, and a default would show something else.
fn wrong(name: &str, text: &str, expected: &str) -> ! {
    eprintln!("metal-sim: {name} is {text:?}; expected {expected}");
    std::process::exit(2)
}
