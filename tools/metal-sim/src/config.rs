//! What the environment says, read once.

use std::env::var;
use std::ffi::CStr;
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
        let seed = var("METAL_SIM_SEED").ok().and_then(|text| text.parse().ok());
        Config {
            seed: seed.unwrap_or(clock ^ u64::from(std::process::id()) << 32),
            macos: var("METAL_SIM_MACOS").ok().and_then(|text| text.parse().ok()).unwrap_or(15),
            unified: var("METAL_SIM_UNIFIED").map_or(true, |text| text != "0"),
            patience: var("METAL_SIM_PATIENCE").ok().and_then(|text| text.parse().ok()).map(Duration::from_millis),
            judges_pools: var("METAL_SIM_POOLS").is_ok_and(|text| text != "0"),
        }
    })
}
