//! Passes that are captured once for their shape and run again.
//!
//! A single short text keeps a GPU busy for less time than it takes to record and encode some fifty operations. So the
//! operations are captured once for each number of tokens, and run with the tokens as their input.

use crate::packed::PackedBatch;
use std::sync::atomic::{AtomicUsize, Ordering};
use thalweg_hal::DeviceKind;
use thalweg_runtime::{Cache, CacheStats, Device, Pool};
use thalweg_tensor::{Error, Graph, Result, Tensor};

/// Passes of more tokens are not captured: their time is the kernels'.
const MOST_TOKENS: usize = 512;
/// The most shapes, whatever they take.
const MOST_GRAPHS: usize = 512;
/// Bytes for graphs on a GPU, unless somebody says otherwise.
const GPU_BYTES: u64 = 256 << 20;

/// The graphs of a model, by the number of tokens of the one sequence and the kind of what is recorded.
pub(crate) struct Graphs {
    cache: Cache<(usize, usize), Graph, Error>,
    pool: Pool,
    bytes: u64,
    /// Passes of more tokens are not captured. Lowered by a thread that finds a graph too large to be kept; Relaxed: it
    /// orders nothing.
    most_tokens: AtomicUsize,
}

impl Graphs {
    /// With so many bytes for all of them; `None` for none. The processor gains nothing by them: its kernels take
    /// longer.
    pub(crate) fn new(device: &Device, bytes: Option<u64>) -> Result<Option<Self>> {
        let gpu = matches!(device.info().kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
        let bytes = bytes.unwrap_or(if gpu { GPU_BYTES } else { 0 });
        if bytes == 0 {
            return Ok(None);
        }
        let cache = Cache::new(MOST_GRAPHS, bytes, |_, graph: &Graph| graph.most_memory());
        let pool = Pool::new(device, "graphs of a model")?;
        Ok(Some(Self { cache, pool, bytes, most_tokens: AtomicUsize::new(MOST_TOKENS) }))
    }

    /// What `forward` makes of a batch; by a graph, if the batch is one short sequence and there is room. What is of
    /// one `kind` records the same.
    pub(crate) fn run(
        &self,
        batch: &PackedBatch,
        kind: usize,
        forward: impl Fn(&PackedBatch) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let tokens = batch.tokens();
        if batch.sequences() != 1 || tokens > self.most_tokens.load(Ordering::Relaxed) {
            return forward(batch);
        }
        let capture = || {
            Graph::capture_in(&self.pool, &[batch.packed()], |inputs| {
                let output = forward(&batch.with_packed(inputs[0].clone())?)?;
                Ok(vec![output])
            })
        };
        match self.cache.get_or_busy(&(tokens, kind), capture) {
            Ok(graph) => {
                if graph.most_memory() > self.bytes {
                    self.most_tokens.fetch_min(tokens - 1, Ordering::Relaxed);
                }
                match graph.replay_if_idle(&[batch.packed()])? {
                    Some(mut outputs) => Ok(outputs.swap_remove(0)),
                    // All of its memories are in use: more work at once is what the device wants.
                    None => forward(batch),
                }
            }
            // Another thread is making it, or there is no room for it.
            Err(error) if error.is_retryable() || is_out_of_memory(&error) => forward(batch),
            Err(error) => Err(error),
        }
    }

    /// What has been asked of them.
    pub(crate) fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

/// Not even once others have dropped tensors, perhaps: the pass may still fit without a graph.
fn is_out_of_memory(error: &Error) -> bool {
    matches!(error, Error::Runtime(thalweg_runtime::Error::OutOfMemory(_)))
}
