//! Tensors of known values, and the operations that make them.
//!
//! A tensor is a progression, and the kernels keep it one, so the host knows what each must hold from two numbers.

use crate::order::results::DOWNLOAD;
use crate::{Config, Device, Error, Graph, Operand, Result, Storage, Stream, Work};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use thalweg_doubles::faulty::{Faulty, Plan};
use thalweg_doubles::mock::{MockConfig, MockDevice};
pub(crate) use thalweg_doubles::progression::{ADVANCE, BYTES, COMBINE, FAIL_IF_EVEN, WORDS};
use thalweg_doubles::progression::{advanced, combined, words};

/// A tensor and what it must hold.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) storage: Storage,
    start: u32,
    slope: u32,
    pub(crate) origin: Arc<Origin>,
}

/// A list, by its stream and the value that it signals.
pub(crate) type ListId = (u32, u64);

/// Where a tensor comes from: what must have failed if it did. Which submissions the device refuses is only known when
/// all is over, so that is asked last.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The list that wrote it; none if the host did.
    list: Option<ListId>,
    /// The operation itself fails, whatever becomes of the list.
    fails: bool,
    from: Vec<Arc<Origin>>,
    failures: OnceLock<Vec<ListId>>,
}

impl Origin {
    /// The lists in which something failed first that this tensor depends on. `refused` says which lists were not
    /// taken.
    pub(crate) fn failures(&self, refused: &HashSet<ListId>) -> &[ListId] {
        // Oldest first, with a stack of our own: chains of operations are long.
        let mut stack: Vec<(&Self, bool)> = vec![(self, false)];
        while let Some((origin, from_known)) = stack.pop() {
            if origin.failures.get().is_some() {
                continue;
            }
            if !from_known {
                stack.push((origin, true));
                stack.extend(origin.from.iter().map(|from| (&**from, false)));
                continue;
            }
            let known = |from: &Arc<Self>| from.failures.get().cloned().unwrap_or_default();
            let mut failures: Vec<_> = origin.from.iter().flat_map(known).collect();
            failures.extend(origin.list.filter(|list| origin.fails || refused.contains(list)));
            failures.sort_unstable();
            failures.dedup();
            origin.failures.get_or_init(|| failures);
        }
        self.failures.get().expect("the stack ends with this one")
    }
}

/// What reading a tensor gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Every word as it must be, if nothing failed.
    Right,
    /// Other words.
    Wrong,
    /// A failure, of this list.
    Failed(ListId),
    /// Of the copy to the host, in this list.
    Undelivered(ListId),
    /// An error that was not to be expected.
    Error,
}

impl Known {
    /// Written by the host.
    pub(crate) fn upload(device: &Device, start: u32, slope: u32) -> Result<Self> {
        let storage = Storage::from_bytes(device, &words(start, slope))?;
        // Where the host does not see the memory, a list brings it there.
        let origin = origin(&storage, &[], false);
        Ok(Self { storage, start, slope, origin })
    }

    /// Written by the host, and frozen.
    pub(crate) fn freeze(device: &Device, start: u32, slope: u32) -> Result<Self> {
        let storage = Storage::frozen_from_bytes(device, &words(start, slope))?;
        Ok(Self { storage, start, slope, origin: Arc::default() })
    }

    pub(crate) fn fill(stream: &Stream, pattern: u32) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Fill(pattern), &[Operand::write(&mut storage)])?;
        Ok(Self::made(storage, (pattern, 0), &[], false))
    }

    pub(crate) fn copy(&self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[self.read(), Operand::write(&mut storage)])?;
        Ok(Self::made(storage, (self.start, self.slope), &[self], false))
    }

    pub(crate) fn combine(&self, other: &Self, salt: u32, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&COMBINE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), other.read(), Operand::write(&mut storage)])?;
        let start = combined(self.start, other.start, salt);
        let slope = combined(self.slope, other.slope, 0);
        Ok(Self::made(storage, (start, slope), &[self, other], false))
    }

    pub(crate) fn advance(&mut self, salt: u32, stream: &Stream) -> Result<()> {
        let pipeline = stream.device().pipeline(&ADVANCE)?;
        let params = &salt.to_ne_bytes();
        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[Operand::update(&mut self.storage)])?;
        (self.start, self.slope) = (advanced(self.start, salt), advanced(self.slope, 0));
        self.origin = origin(&self.storage, &[self], false);
        Ok(())
    }

    /// A copy that fails, in the kernel, if the first word is even.
    pub(crate) fn odd_copy(&self, stream: &Stream) -> Result<Self> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&FAIL_IF_EVEN)?;
        let work = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), Operand::write(&mut storage)])?;
        Ok(Self::made(storage, (self.start, self.slope), &[self], self.start.is_multiple_of(2)))
    }

    /// A storage of a capture, whatever it will hold.
    pub(crate) fn of(storage: Option<Storage>, start: u32) -> Self {
        let storage = storage.expect("a graph has as many inputs as were asked for");
        Self { storage, start, slope: 0, origin: Arc::default() }
    }

    /// As [`odd_copy`](Self::odd_copy), in a capture.
    pub(crate) fn odd_copy_captured(&self, stream: &Stream) -> Result<Storage> {
        let mut storage = stream.allocate(BYTES)?;
        let pipeline = stream.device().pipeline(&FAIL_IF_EVEN)?;
        let work = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [WORDS as u32, 1, 1] };
        stream.record(&work, &[self.read(), Operand::write(&mut storage)])?;
        Ok(storage)
    }

    /// As [`copy`](Self::copy), in a capture.
    pub(crate) fn copy_captured(&self, stream: &Stream) -> Result<Storage> {
        let mut storage = stream.allocate(BYTES)?;
        stream.record(&Work::Copy, &[self.read(), Operand::write(&mut storage)])?;
        Ok(storage)
    }

    fn made(storage: Storage, (start, slope): (u32, u32), from: &[&Self], fails: bool) -> Self {
        let origin = origin(&storage, from, fails);
        Self { storage, start, slope, origin }
    }

    /// Reads it.
    pub(crate) fn look(&self) -> Found {
        found(self.is_right())
    }

    /// Whether every word is right.
    pub(crate) fn is_right(&self) -> Result<bool> {
        let mut found = vec![0; BYTES as usize];
        self.storage.read(0, &mut found)?;
        Ok(self.is(&found))
    }

    /// Whether these are its words.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        bytes == words(self.start, self.slope)
    }

    pub(crate) fn read(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, BYTES)
    }
}

/// A graph of known operations.
#[derive(Debug)]
pub(crate) struct KnownGraph {
    pub(crate) graph: Graph,
    /// What is there at the start, behind the two inputs.
    constant: (u32, u32),
    steps: Vec<Step>,
    /// Which tensors are the outputs.
    outputs: [usize; 2],
}

/// An operation of a graph, on the tensors that there are by then: two inputs, a constant, and what earlier steps made.
#[derive(Clone, Copy, Debug)]
enum Step {
    Combine(usize, usize, u32),
    Copy(usize),
    OddCopy(usize),
    Advance(usize, u32),
    Fill(u32),
}

impl KnownGraph {
    /// Random operations, on streams as `device` has them. With `may_fail`, some fail if what they find is even.
    pub(crate) fn capture(device: &Device, random: &mut fastrand::Rng, may_fail: bool) -> Result<Self> {
        let constant = (random.u32(..), random.u32(..));
        let mut steps = Vec::new();
        let mut tensors = 3;
        for _ in 0..random.usize(1..12) {
            let mut any = || random.usize(..tensors);
            let (a, b) = (any(), any());
            let step = match random.u8(..8) {
                0 => Step::Fill(random.u32(..)),
                1 => Step::Copy(a),
                2 if may_fail => Step::OddCopy(a),
                // The inputs and the constant are not the graph's to change.
                3..5 if a > 2 => Step::Advance(a, random.u32(..)),
                _ => Step::Combine(a, b, random.u32(..)),
            };
            tensors += usize::from(!matches!(step, Step::Advance(..)));
            steps.push(step);
        }
        let outputs = [tensors - 1, random.usize(..tensors)];
        let graph = Graph::capture(device, &[BYTES, BYTES], |inputs| {
            let stream = Stream::current(device)?;
            let mut all = inputs;
            all.push(Storage::from_bytes(device, &words(constant.0, constant.1))?);
            let salted = |source, all: &[Storage], from: &[usize], salt: u32| {
                let pipeline = device.pipeline(source)?;
                let mut made = stream.allocate(BYTES)?;
                let mut operands: Vec<_> = from.iter().map(|at| Operand::read(&all[*at], 0, BYTES)).collect();
                operands.push(Operand::write(&mut made));
                let params = if source.params_bytes == 0 { vec![] } else { salt.to_ne_bytes().to_vec() };
                let work = Work::Dispatch { pipeline: &pipeline, params: &params, extent: [WORDS as u32, 1, 1] };
                stream.record(&work, &operands)?;
                Ok::<_, Error>(made)
            };
            for step in &steps {
                let made = match *step {
                    Step::Combine(a, b, salt) => salted(&COMBINE, &all, &[a, b], salt)?,
                    Step::OddCopy(a) => salted(&FAIL_IF_EVEN, &all, &[a], 0)?,
                    Step::Copy(a) => {
                        let mut made = stream.allocate(BYTES)?;
                        stream.record(&Work::Copy, &[Operand::read(&all[a], 0, BYTES), Operand::write(&mut made)])?;
                        made
                    }
                    Step::Fill(pattern) => {
                        let mut made = stream.allocate(BYTES)?;
                        stream.record(&Work::Fill(pattern), &[Operand::write(&mut made)])?;
                        made
                    }
                    Step::Advance(a, salt) => {
                        let pipeline = device.pipeline(&ADVANCE)?;
                        let params = &salt.to_ne_bytes();
                        let work = Work::Dispatch { pipeline: &pipeline, params, extent: [WORDS as u32, 1, 1] };
                        stream.record(&work, &[Operand::update(&mut all[a])])?;
                        continue;
                    }
                };
                all.push(made);
            }
            let mut all: Vec<_> = all.into_iter().map(Some).collect();
            let second = if outputs[0] == outputs[1] { None } else { all[outputs[1]].take() };
            Ok::<_, Error>(all[outputs[0]].take().into_iter().chain(second).collect())
        })?;
        Ok(Self { graph, constant, steps, outputs })
    }

    /// What a run makes of two inputs.
    pub(crate) fn replay(&self, a: &Known, b: &Known) -> Result<Vec<Known>> {
        let mut values = vec![(a.start, a.slope), (b.start, b.slope), self.constant];
        let mut fails = false;
        for step in &self.steps {
            let made = match *step {
                Step::Combine(a, b, salt) => {
                    (combined(values[a].0, values[b].0, salt), combined(values[a].1, values[b].1, 0))
                }
                Step::Copy(a) => values[a],
                Step::OddCopy(a) => {
                    fails |= values[a].0.is_multiple_of(2);
                    values[a]
                }
                Step::Fill(pattern) => (pattern, 0),
                Step::Advance(a, salt) => {
                    values[a] = (advanced(values[a].0, salt), advanced(values[a].1, 0));
                    continue;
                }
            };
            values.push(made);
        }
        let storages = self.graph.replay(&[a.read(), b.read()])?;
        let made = storages.into_iter().zip(self.outputs);
        Ok(made.map(|(storage, at)| Known::made(storage, values[at], &[a, b], fails)).collect())
    }
}

/// What the result of a comparison says.
pub(crate) fn found(right: Result<bool>) -> Found {
    match right {
        Ok(true) => Found::Right,
        Ok(false) => Found::Wrong,
        Err(Error::Failed(failure)) if failure.operation == DOWNLOAD => {
            Found::Undelivered((failure.stream, failure.value))
        }
        Err(Error::Failed(failure)) => Found::Failed((failure.stream, failure.value)),
        Err(_) => Found::Error,
    }
}

/// Where a storage comes from that an operation on `from` has just written. Nobody else can write it meanwhile.
fn origin(storage: &Storage, from: &[&Known], fails: bool) -> Arc<Origin> {
    let hazard = storage.hazard().expect("operations write pooled storages");
    let list = hazard.uses.lock().writes.first().map(|write| (write.by.at.stream, write.by.at.value));
    let from = from.iter().map(|known| Arc::clone(&known.origin)).collect();
    Arc::new(Origin { list, fails, from, failures: OnceLock::new() })
}

/// A device on the mock.
pub(crate) fn mock(config: MockConfig) -> Device {
    Device::new(MockDevice::new(config), Config::default()).unwrap()
}

/// A device on the mock that can be made to fail.
pub(crate) fn faulty(config: Config, plan: Plan) -> (Device, Arc<Faulty>) {
    let faulty = Faulty::new(MockDevice::new(MockConfig::default()), plan);
    (Device::new(Arc::<Faulty>::clone(&faulty), config).unwrap(), faulty)
}

/// Streams of one's own.
pub(crate) fn streams<const N: usize>(device: &Device) -> [Stream; N] {
    std::array::from_fn(|_| Stream::new(device).unwrap())
}

/// A seed that no earlier run had, or the one in `THALWEG_SEED`.
pub(crate) fn fresh_seed() -> u64 {
    let given = std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}
