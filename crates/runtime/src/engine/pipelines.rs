//! Compiled kernels: one compile for each.
//!
//! A kernel that is a `static` of the program has a number ([`StaticKernel`]), and a device has a place for each
//! number, where its compiled form stays: a look-up is two loads. All others, which a program may make without end, are
//! in the device's [`Cache`], within bounds, and are found by what they are. A kernel that is evicted is compiled
//! again; a [`Pipeline`] that somebody has, and every list that uses it until that has settled, keep the old one.

#[cfg(all(test, not(loom)))]
mod tests;

use super::Engine;
use crate::base::cache::{Cache, CacheStats};
use crate::base::config::Config;
use crate::base::error::Result;
use crate::base::wait_policy::WaitPolicy;
use crate::order::work::Pipeline;
use std::sync::OnceLock;
use thalweg_hal::{KernelSource, StaticKernel};

/// The pipelines of a device.
#[derive(Debug)]
pub(crate) struct Pipelines {
    cache: Cache<KernelSource, Pipeline>,
    places: Places,
}

/// A place for each number. They lie in chunks, each twice as long as the one before, that stay where they are.
#[derive(Debug)]
struct Places([OnceLock<Box<[OnceLock<Pipeline>]>>; Places::CHUNKS]);

impl Places {
    /// The first chunk has so many places, as a power of two: the library's own kernels fit it.
    const FIRST: u32 = 7;
    /// Enough for every number.
    const CHUNKS: usize = (usize::BITS - Self::FIRST) as usize;

    fn new() -> Self {
        Self([const { OnceLock::new() }; Self::CHUNKS])
    }

    fn of(&self, number: usize) -> &OnceLock<Pipeline> {
        let at = number.saturating_add(1 << Self::FIRST);
        let chunk = at.ilog2() - Self::FIRST;
        let first = 1 << (chunk + Self::FIRST);
        &self.0[chunk as usize].get_or_init(|| (0..first).map(|_| OnceLock::new()).collect())[at - first]
    }
}

impl Pipelines {
    pub(super) fn new(config: &Config) -> Self {
        let bytes = |_: &_, pipeline: &Pipeline| pipeline.hal.bytes();
        Self { cache: Cache::new(config.pipelines, config.pipeline_bytes, bytes), places: Places::new() }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
        self.places = Places::new();
    }
}

impl Engine {
    /// The compiled form of a kernel, from the cache.
    pub(crate) fn pipeline(&self, source: &KernelSource, policy: WaitPolicy) -> Result<Pipeline> {
        let entry = self.pipelines.cache.entry(source, policy, || self.compile(source))?;
        Ok(entry.value.clone())
    }

    /// The compiled form of a kernel of the program, from its place.
    pub(crate) fn static_pipeline(&self, kernel: &'static StaticKernel, policy: WaitPolicy) -> Result<&Pipeline> {
        let place = self.pipelines.places.of(kernel.number());
        match place.get() {
            Some(pipeline) => Ok(pipeline),
            None => self.fill_place(place, kernel, policy),
        }
    }

    /// Through the cache, which has one thread compile it and the others wait.
    #[cold]
    fn fill_place<'a>(
        &self,
        place: &'a OnceLock<Pipeline>,
        kernel: &KernelSource,
        policy: WaitPolicy,
    ) -> Result<&'a Pipeline> {
        let pipeline = self.pipeline(kernel, policy)?;
        Ok(place.get_or_init(|| pipeline))
    }

    fn compile(&self, source: &KernelSource) -> Result<Pipeline> {
        let begun = self.trace.begin();
        let hal = self.hal.create_pipeline(source)?;
        begun.compiled(&source.name);
        Ok(Pipeline { hal, device: self.id })
    }
}
