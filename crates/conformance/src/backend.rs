//! A way to get at a device, and one case on it.

use crate::deviations::{DEVIATIONS, judged};
use crate::{Case, Context, Failure, Outcome};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use thalweg_doubles::testing::Random;
use thalweg_hal::validate::Validated;
use thalweg_runtime::{Config, Device};

/// A sort of device that cases run on.
#[derive(Debug)]
pub struct Backend {
    /// What its tests' names begin with.
    name: &'static str,
    open: fn(seed: u64) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>,
    /// Shared by all cases, from several threads, so that memory is used again and again. Without it every round has a
    /// device of its own, behind the validator.
    shared: Option<OnceLock<Device>>,
}

impl Backend {
    /// All cases share one device.
    pub const fn shared(
        name: &'static str,
        open: fn(seed: u64) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>,
    ) -> Self {
        Self { name, open, shared: Some(OnceLock::new()) }
    }

    /// Every round has a device of its own, which its seed decides, and the validator sees everything that is
    /// submitted.
    pub const fn of_its_own(
        name: &'static str,
        open: fn(seed: u64) -> thalweg_hal::Result<Arc<dyn thalweg_hal::Device>>,
    ) -> Self {
        Self { name, open, shared: None }
    }

    /// What its tests' names begin with.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Another device of this sort.
    pub(crate) fn open(&self, seed: u64) -> Outcome<Arc<dyn thalweg_hal::Device>> {
        Ok((self.open)(seed)?)
    }

    /// Runs all rounds of a case. A failure says how to see it again.
    ///
    /// # Errors
    /// If a round fails; or none does, although [`deviations`](crate::deviations) says that this device cannot do it.
    pub fn run(&self, case: &Case, seed: u64) -> Outcome {
        let mut device = String::new();
        let rounds = (0..case.rounds).try_for_each(|round| {
            self.round(case, seed, round, &mut device).map_err(|Failure(what)| {
                Failure(format!("{what}\nin round {round} of {}; THALWEG_SEED={seed} repeats it", case.rounds))
            })
        });
        judged(rounds, DEVIATIONS, &device, case.name)
    }

    fn round(&self, case: &Case, seed: u64, round: u64, name: &mut String) -> Outcome {
        // Each case has numbers of its own, whatever else runs.
        let mixed = case.name.bytes().fold(seed, |mixed, byte| Random::new(mixed ^ u64::from(byte)).bits());
        let mut random = Random::new(mixed ^ Random::new(round).bits());
        let (device, validated) = self.device(random.bits())?;
        name.clone_from(&device.info().name);
        let mut context = Context::new(device, random, self);
        catch_unwind(AssertUnwindSafe(|| (case.run)(&mut context))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(Failure(format!("it panicked: {}", said.unwrap_or("with something other than words"))))
        })?;
        match validated.map(|validated| validated.report()) {
            Some(report) if report.violations > 0 => Err(Failure(format!("violations: {:#?}", report.first))),
            _ => Ok(()),
        }
    }

    fn device(&self, seed: u64) -> Outcome<(Device, Option<Arc<Validated>>)> {
        match &self.shared {
            None => {
                let device = self.open(seed)?;
                // Where new memory holds anything, nothing may read what nobody wrote.
                let zeroed = device.info().zeroed;
                let validated = if zeroed { Validated::new(device) } else { Validated::with_first_writes(device) };
                // The seed also decides how many operations make a list.
                let config = Config::default().list_commands(1 + (seed % 9) as usize);
                Ok((Device::new(validated.clone(), config)?, Some(validated)))
            }
            Some(shared) => {
                if let Some(device) = shared.get() {
                    return Ok((device.clone(), None));
                }
                let device = Device::new(self.open(seed)?, Config::default())?;
                // Of several that are opened at once, one is kept.
                Ok((shared.get_or_init(|| device).clone(), None))
            }
        }
    }
}

/// The seed of this run: `THALWEG_SEED`, or a fresh one.
pub fn seed() -> u64 {
    let given = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        Random::new(time ^ u64::from(std::process::id()) << 32).bits()
    })
}
