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
        // One thread for each of the processor's, so that some tokenise while others compute. Larger batches are no
        // faster.
        DeviceKind::Cpu | DeviceKind::SoftwareGpu => {
            Pace { threads: (info.parallelism as usize).clamp(1, 64), batch: 16 }
        }
        // Some tokenise while the device computes for others.
        _ => Pace { threads: 8, batch: 32 },
    }
}

/// Where the processor tokenises, and nothing else.
pub fn without_device() -> Pace {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Pace { threads: threads.clamp(1, 64), batch: 64 }
}
