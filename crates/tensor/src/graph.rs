//! Graphs of tensors.

use crate::layout::Layout;
use crate::ops::bindable;
use crate::tensor::WORD;
use crate::{DType, Error, Result, Tensor};
use std::sync::Arc;
use thalweg_runtime::{Device, Operand, Pool, Storage};

/// Operations on tensors that were recorded once, to be run any number of times with other inputs, by any number of
/// threads. Cloning shares it.
///
/// A run costs the host about as much as one operation, whatever the number of operations, and on a GPU they are
/// encoded once. That pays where operations are short and many: a small model on a short text. The results are those of
/// the operations themselves, to the bit.
///
/// A graph has the shapes that it was captured with. Runs in one memory come one after the other; for runs at the same
/// time it makes itself more memories, up to as many as the device overlaps (at most 16).
///
/// ```
/// # use thalweg_tensor::{Graph, Result, Tensor};
/// # fn example(device: &thalweg_runtime::Device, x: &Tensor, y: &Tensor) -> Result<()> {
/// let graph = Graph::capture(device, &[x, y], |inputs| {
///     let sum = inputs[0].add(&inputs[1])?;
///     Ok(vec![sum.mul(&sum)?])
/// })?;
/// let squares = graph.replay(&[x, y])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Graph {
    graph: thalweg_runtime::Graph,
    inputs: Arc<[Kind]>,
    outputs: Arc<[Kind]>,
}

/// What a tensor is, but for its values. Contiguous, from the start of its storage.
#[derive(Clone, Debug)]
struct Kind {
    layout: Layout,
    dtype: DType,
}

impl Kind {
    fn bytes(&self) -> u64 {
        self.layout.bytes(self.dtype)
    }
}

impl Graph {
    /// Captures what `call` does with tensors of the shapes and types of `inputs`; their values do not matter. It gets
    /// tensors that stand for them, in that order, and returns the outputs. Nothing runs meanwhile, and other threads
    /// are not disturbed.
    ///
    /// Besides its inputs and what it makes, `call` may use frozen tensors, [`PackedMatrix`](crate::PackedMatrix) among
    /// them. A tensor made of host data becomes a constant of the graph.
    ///
    /// # Errors
    /// If `call` reads a tensor back, waits, or uses another tensor from outside; the error names it. What `call`
    /// answers; if there is no memory.
    pub fn capture(
        device: &Device,
        inputs: &[&Tensor],
        call: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Self> {
        Self::capture_in(&Pool::new(device, "graph")?, inputs, call)
    }

    /// As [`capture`](Self::capture), with memory from a pool that the graph shares with others.
    ///
    /// # Errors
    /// As for [`capture`](Self::capture).
    pub fn capture_in(
        pool: &Pool,
        inputs: &[&Tensor],
        call: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    ) -> Result<Self> {
        let kind = |tensor: &&Tensor| {
            let layout = Layout::contiguous("Graph::capture", tensor.shape())?;
            Ok(Kind { layout, dtype: tensor.dtype() })
        };
        let inputs: Arc<[Kind]> = inputs.iter().map(kind).collect::<Result<_>>()?;
        let bytes: Vec<u64> = inputs.iter().map(Kind::bytes).collect();
        let mut outputs = Vec::new();
        let graph = thalweg_runtime::Graph::capture_in(pool, &bytes, |storages: Vec<Storage>| {
            let stands_for = |(storage, kind): (Storage, &Kind)| Tensor {
                storage: Arc::new(storage),
                layout: kind.layout.clone(),
                dtype: kind.dtype,
            };
            let tensors: Vec<Tensor> = storages.into_iter().zip(&*inputs).map(stands_for).collect();
            let made = call(&tensors)?;
            let whole = made.iter().map(Tensor::alone).collect::<Result<Vec<_>>>()?;
            outputs = whole.iter().map(|tensor| Kind { layout: tensor.layout.clone(), dtype: tensor.dtype }).collect();
            Ok::<_, Error>(whole.into_iter().map(|tensor| tensor.storage).collect())
        })?;
        Ok(Self { graph, inputs, outputs: outputs.into() })
    }

    /// Records a run with these inputs on the current stream and gives the outputs, new tensors; does not wait. Costs a
    /// copy for each input and each output, beside the run. Views are made contiguous first.
    ///
    /// # Errors
    /// If the inputs are not as many, or not of the shapes and types, that the graph was captured with; if there is no
    /// memory for the outputs.
    pub fn replay(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let tensors = self.fitting(inputs)?;
        let operands: Vec<Operand<'_>> = tensors.iter().map(Tensor::exact).collect();
        Ok(self.outputs(self.graph.replay(&operands)?))
    }

    /// As [`replay`](Self::replay), unless that run would come after another thread's, because the graph has no more
    /// memories: then nothing is recorded, and the answer is `None`. For callers that can do the same without the
    /// graph.
    ///
    /// # Errors
    /// As for [`replay`](Self::replay).
    pub fn replay_if_idle(&self, inputs: &[&Tensor]) -> Result<Option<Vec<Tensor>>> {
        let tensors = self.fitting(inputs)?;
        let operands: Vec<Operand<'_>> = tensors.iter().map(Tensor::exact).collect();
        Ok(self.graph.replay_if_idle(&operands)?.map(|storages| self.outputs(storages)))
    }

    /// The inputs as a run takes them.
    fn fitting(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let given = inputs.iter().map(|input| self.graph_bytes(input)).collect();
            return Err(thalweg_runtime::Error::GraphInput { given, expected: self.graph.inputs().collect() }.into());
        }
        let mut tensors = Vec::with_capacity(inputs.len());
        for (input, kind) in inputs.iter().zip(&*self.inputs) {
            input.expect_dtype("Graph::replay", "an input", kind.dtype)?;
            input.expect_shape("Graph::replay", "an input", &kind.layout.shape)?;
            tensors.push(bindable(input)?);
        }
        Ok(tensors)
    }

    fn outputs(&self, storages: Vec<Storage>) -> Vec<Tensor> {
        let tensor = |(storage, kind): (Storage, &Kind)| Tensor {
            storage: Arc::new(storage),
            layout: kind.layout.clone(),
            dtype: kind.dtype,
        };
        storages.into_iter().zip(&*self.outputs).map(tensor).collect()
    }

    /// The device.
    pub fn device(&self) -> &Device {
        self.graph.device()
    }

    /// Bytes of device memory that the graph has by now.
    pub fn memory(&self) -> u64 {
        self.graph.memory()
    }

    /// Bytes of device memory that it may come to have: as many memories as it may make itself.
    pub fn most_memory(&self) -> u64 {
        self.graph.most_memory()
    }

    fn graph_bytes(&self, tensor: &Tensor) -> u64 {
        (tensor.elements() * tensor.dtype().bytes()) as u64
    }
}

impl Tensor {
    /// The tensor with a storage that holds its elements alone, from the first byte on.
    fn alone(&self) -> Result<Self> {
        let bytes = self.layout.bytes(self.dtype).next_multiple_of(WORD as u64);
        let alone = self.layout.is_contiguous() && self.byte_offset() == 0 && self.storage.bytes() <= bytes;
        if alone { Ok(self.clone()) } else { crate::ops::copy(self) }
    }
}
