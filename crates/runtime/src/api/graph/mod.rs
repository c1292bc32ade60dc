//! Graphs: operations recorded once and run often.
//!
//! ```text
//!  Graph::capture ──► Capture (operations, no memory) ──plan──► template ┬──► Instance (memory, prepared list, hazard)
//!                                                                        └──► Instance ...
//!  Graph::replay ──► copies in, Command::Run, copies out, in the thread's stream like any operation
//! ```
//!
//! While a graph is captured nothing runs and nothing is allocated: storages are numbers, and operations go into a
//! private list, whatever other threads do meanwhile. When the closure ends, `plan` finds the barriers and lets
//! buffers share bytes if their lives do not meet.
//!
//! A replay is *one operation* of the stream that it is recorded on. Its operands are the inputs, which are copied in,
//! and fresh outputs, which are copied out, so tensors stay values. What lies between, the graph's own memory, has one
//! hazard: two replays in the same memory come one after the other, on any stream. So that threads do not wait
//! for each other, a graph makes itself further instances, each with memory of its own, up to a limit, as it finds the
//! others in use.
//!
//! If a kernel of a replay fails, all outputs of that replay fail, and nothing else.

mod capture;

pub(crate) use capture::Capture;

use super::check;
use super::device::Device;
use super::pool::Pool;
use super::storage::{Operand, Storage};
use super::stream::Stream;
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::base::rank::Rank;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicUsize, Ordering};
use crate::base::wait_policy::WaitPolicy;
use crate::engine::instance::Instance;
use crate::order::work::Replay;
use capture::Captured;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use thalweg_hal::Access;

/// The most instances that a graph makes by itself.
const MAX_INSTANCES: usize = 16;

/// Operations that were recorded once, to be run any number of times, by any number of threads. Cloning shares it.
///
/// ```
/// # use thalweg_runtime::{Device, Graph, Operand, Result, Storage, Stream, Work};
/// # fn example(device: &Device, data: &Storage) -> Result<()> {
/// let graph = Graph::capture(device, &[data.bytes()], |inputs| {
///     let mut copy = Stream::current(device)?.allocate(inputs[0].bytes())?;
///     let operands = [Operand::read(&inputs[0], 0, inputs[0].bytes()), Operand::write(&mut copy)];
///     Stream::current(device)?.record(&Work::Copy, &operands)?;
///     Ok::<_, thalweg_runtime::Error>(vec![copy])
/// })?;
/// let copies: Vec<Storage> = graph.replay(&[Operand::read(data, 0, data.bytes())])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Graph {
    core: Arc<GraphCore>,
}

struct GraphCore {
    pool: Pool,
    captured: Captured,
    /// Added to, up to the limit; never taken out.
    instances: Mutex<Vec<Arc<Instance>>>,
    limit: usize,
    /// Where the next look for an instance starts. Relaxed: it only spreads the threads.
    next: AtomicUsize,
}

impl Graph {
    /// Captures what `call` records on this thread's current stream: nothing runs, and other threads and streams go on
    /// undisturbed. `inputs` are the lengths of the inputs in bytes; `call` gets storages that stand for them, and
    /// returns the outputs: what it has written, an input, or frozen memory.
    ///
    /// Frozen memory and compiled kernels are used as they are, and kept. Memory made of host data in the closure
    /// becomes a constant of the graph. Everything else from outside has to be an input.
    ///
    /// # Errors
    /// [`Error::NotCapturable`] if the closure reads back, waits, or asks for anything else that is not an operation;
    /// [`Error::NotAnInput`] if an operation uses memory from outside; [`Error::NotAnOutput`]; what `call` answers;
    /// what the first instance costs ([`Error::OutOfMemory`]) or the device says.
    pub fn capture<S: Borrow<Storage>, E: From<Error>>(
        device: &Device,
        inputs: &[u64],
        call: impl FnOnce(Vec<Storage>) -> Result<Vec<S>, E>,
    ) -> Result<Self, E> {
        Self::capture_in(&Pool::new(device, "graph")?, inputs, call)
    }

    /// As [`capture`](Self::capture), with memory from a pool that the graph shares with others.
    ///
    /// # Errors
    /// As for [`capture`](Self::capture).
    pub fn capture_in<S: Borrow<Storage>, E: From<Error>>(
        pool: &Pool,
        inputs: &[u64],
        call: impl FnOnce(Vec<Storage>) -> Result<Vec<S>, E>,
    ) -> Result<Self, E> {
        let device = pool.device();
        device.check()?;
        let current = Stream::current(device)?;
        if current.capture().is_some() {
            return Err(current.refuse("the capture of another graph").into());
        }
        let capture = Capture::new();
        let storages = inputs.iter().map(|bytes| Storage::captured_in(&current.lease, &capture, *bytes, true));
        let storages = storages.collect::<Result<Vec<_>>>()?;
        // Also if the closure panics or fails: a handle that it let out records nowhere.
        let _ended = Ended(&capture);
        let outputs = current.capturing(&capture).scope(|| call(storages));
        // What could not be captured is the reason, whatever the closure made of it.
        capture.check()?;
        let outputs = outputs?;
        let outputs: Vec<&Storage> = outputs.iter().map(Borrow::borrow).collect();
        if let Some(operand) = outputs.iter().position(|output| !output.device().is_same(device)) {
            return Err(Error::OtherDevice { operand }.into());
        }
        let captured = capture.finish(inputs, &outputs)?;
        let limit = (device.info().parallelism as usize).clamp(1, MAX_INSTANCES);
        let first = captured.instance(pool, current.policy())?;
        let (instances, next) = (Mutex::new(Rank::Instances, vec![Arc::new(first)]), AtomicUsize::new(0));
        Ok(Self { core: Arc::new(GraphCore { pool: pool.clone(), captured, instances, limit, next }) })
    }

    /// Runs the graph on the current stream, with these inputs, and gives the outputs. Recorded like any operation: it
    /// returns at once, and a read of an output waits for it. Costs an allocation and a copy for each output and a
    /// copy for each input, beside one command for the whole graph.
    ///
    /// # Errors
    /// [`Error::GraphInput`] if an input is missing, too many, or of another length; as for any operation.
    pub fn replay(&self, inputs: &[Operand<'_>]) -> Result<Vec<Storage>> {
        let instance = match self.idle()? {
            Some(idle) => idle,
            None => self.any()?,
        };
        self.replay_in(&instance, inputs)
    }

    /// As [`replay`](Self::replay), unless that run would come after another thread's, because there are no more
    /// memories for it to run in: then nothing happens, and the answer is `None`. For callers that can do the same
    /// without the graph.
    ///
    /// # Errors
    /// As for [`replay`](Self::replay).
    pub fn replay_if_idle(&self, inputs: &[Operand<'_>]) -> Result<Option<Vec<Storage>>> {
        self.idle()?.map(|instance| self.replay_in(&instance, inputs)).transpose()
    }

    fn replay_in(&self, instance: &Instance, inputs: &[Operand<'_>]) -> Result<Vec<Storage>> {
        let stream = Stream::current(self.device())?;
        if stream.capture().is_some() {
            return Err(stream.refuse("a replay"));
        }
        let captured = &self.core.captured;
        let given = inputs.iter().map(|input| input.bytes);
        if !given.clone().eq(captured.inputs.iter().map(|(_, bytes)| *bytes)) {
            let expected = captured.inputs.iter().map(|(_, bytes)| *bytes).collect();
            return Err(Error::GraphInput { given: given.collect(), expected });
        }
        let outputs = captured.outputs.iter().map(|(_, bytes)| stream.allocate(*bytes));
        let mut outputs = outputs.collect::<Result<Vec<_>>>()?;
        self.record(&stream, instance, inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Records a run. The inputs fit the graph. Inputs of no bytes are left out.
    fn record<'a>(
        &self,
        stream: &Stream,
        instance: &Instance,
        inputs: &[Operand<'a>],
        outputs: &'a mut [Storage],
    ) -> Result<()> {
        let Captured { inputs: read, outputs: written, .. } = &self.core.captured;
        // Whatever else the caller may do with an input, a run reads it.
        let inputs = inputs.iter().map(|input| Operand { access: Access::Read, ..*input }).zip(read);
        let outputs = outputs.iter_mut().map(Operand::write).zip(written);
        let mut operands = SmallVec::<[Operand<'_>; 8]>::new();
        let mut regions = SmallVec::<[(u64, u64); 8]>::new();
        for (operand, (offset, bytes)) in inputs.chain(outputs).filter(|(_, (_, bytes))| *bytes > 0) {
            operands.push(Operand { bytes: *bytes, ..operand });
            regions.push((instance.offset() + offset, *bytes));
        }
        self.device().check()?;
        check::replay(self.device(), &operands)?;
        check::has_bytes(&operands)?;
        let inputs = operands.iter().take_while(|operand| operand.access == Access::Read).count();
        let (memory, list) = (instance.memory(), &instance.list);
        let replay = Replay { operands: &operands, inputs, regions: &regions, memory, list };
        stream.engine().replay(stream.id(), instance, &replay, stream.policy())
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.core.pool.device()
    }

    /// The lengths of the inputs in bytes.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.core.captured.inputs.iter().map(|(_, bytes)| *bytes)
    }

    /// Number of commands of a run, barriers included.
    pub fn commands(&self) -> usize {
        self.core.captured.list.commands.len()
    }

    /// Bytes of device memory that the graph has by now: those of one run, for each instance.
    pub fn memory(&self) -> u64 {
        if fork::forked() {
            return 0; // the lock may be held for ever
        }
        self.core.captured.bytes * self.core.instances.lock().len() as u64
    }

    /// Bytes of device memory that it may come to have.
    pub fn most_memory(&self) -> u64 {
        self.core.captured.bytes * self.core.limit as u64
    }

    /// An instance that is not in use, or a new one; `None` at the limit, or without room for one more.
    fn idle(&self) -> Result<Option<Arc<Instance>>> {
        fork::check_fork()?; // before any lock
        let GraphCore { pool, captured, instances, limit, next } = &*self.core;
        let known = instances.lock();
        let start = next.fetch_add(1, Ordering::Relaxed);
        let engine = &*pool.device().engine;
        let find = |known: &[Arc<Instance>]| {
            let mut in_turn = (0..known.len()).map(|at| &known[(start + at) % known.len()]);
            in_turn.find(|instance| instance.is_idle(engine)).cloned()
        };
        if let Some(idle) = find(&known) {
            return Ok(Some(idle));
        }
        // A run may be over that nobody has settled. With nothing locked: that may drop what its list held.
        let all = Vec::clone(&known);
        drop(known);
        all.iter().for_each(|instance| instance.settle(engine));
        if let Some(idle) = find(&all) {
            return Ok(Some(idle));
        }
        if all.len() < *limit {
            match captured.instance(pool, WaitPolicy::Never) {
                Ok(new) => {
                    let new = Arc::new(new);
                    let mut instances = instances.lock();
                    // Of threads that made one at once, the last ones' are theirs alone, for this run.
                    if instances.len() < *limit {
                        instances.push(Arc::clone(&new));
                    }
                    return Ok(Some(new));
                }
                // There is no room, at present or beside what is frozen.
                Err(error) if error.is_retryable() || matches!(error, Error::OutOfMemory(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Any instance: then this run comes after that one's last.
    fn any(&self) -> Result<Arc<Instance>> {
        let known = self.core.instances.lock();
        let at = self.core.next.load(Ordering::Relaxed) % known.len().max(1);
        known.get(at).cloned().ok_or(Error::Busy)
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Captured { list, bytes, inputs, outputs, .. } = &self.core.captured;
        let (commands, inputs, outputs) = (list.commands.len(), inputs.len(), outputs.len());
        let name = &self.device().info().name;
        write!(f, "Graph({inputs} inputs, {outputs} outputs, {commands} commands in {bytes} bytes on {name})")
    }
}

/// Ends a capture when it is dropped.
struct Ended<'a>(&'a Capture);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
