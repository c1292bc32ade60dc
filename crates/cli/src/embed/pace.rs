//! How many threads call the model, and with how many texts, where the flags leave it open.

use thalweg::{DeviceInfo, DeviceKind};

/// Threads that call the model, and texts that each call passes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Threads.
    pub threads: usize,
    /// Texts.
    pub batch: usize,
}

/// What is fast on the device. `docs/proof.md` has the figures.
pub fn choose(info: &DeviceInfo) -> Pace {
    match info.kind {
        // One thread for each of the processor's, so that one tokenises while the others compute.
        DeviceKind::Cpu | DeviceKind::SoftwareGpu => {
            Pace { threads: (info.parallelism as usize).clamp(1, 64), batch: 16 }
        }
        // A GPU is full with one large call; the others prepare theirs meanwhile.
        _ => Pace { threads: 4, batch: 64 },
    }
}
