//! The tensor: shared bytes with a layout.

use crate::layout::Layout;
use crate::{DType, Element, Error, Result};
use std::fmt;
use std::sync::Arc;
use thalweg_runtime::{Device, Operand, Pending, Pool, Storage, Stream, Work};

/// An array on a device. Cloning shares the memory, and shared memory never changes: what changes a tensor in place
/// needs `&mut`, and that no clone or view of it is left.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) storage: Arc<Storage>,
    pub(crate) layout: Layout,
    pub(crate) dtype: DType,
}

impl Tensor {
    /// A tensor holding a copy of `data`, in row-major order.
    ///
    /// # Errors
    /// If `data` has another number of elements than `shape`, the shape is too large, or there is no memory.
    pub fn from_slice<T: Element>(device: &Device, data: &[T], shape: &[usize]) -> Result<Self> {
        let layout = filled_layout("from_slice", data, shape)?;
        let bytes = bytemuck::cast_slice(data);
        let storage = if bytes.len().is_multiple_of(WORD) {
            Storage::from_bytes(device, bytes)?
        } else {
            Storage::from_bytes(device, &[bytes, &[0; WORD][bytes.len() % WORD..]].concat())?
        };
        Ok(Self { storage: Arc::new(storage), layout, dtype: T::DTYPE })
    }

    /// A tensor of one repeated value, made on the device.
    ///
    /// # Errors
    /// If the shape is too large or there is no memory.
    pub fn full<T: Element>(device: &Device, value: T, shape: &[usize]) -> Result<Self> {
        let layout = Layout::contiguous("full", shape)?;
        Self::filled(device, layout, T::DTYPE, pattern(value))
    }

    /// A tensor of one repeated value, of which this is the [`pattern`].
    pub(crate) fn filled(device: &Device, layout: Layout, dtype: DType, pattern: u32) -> Result<Self> {
        let stream = Stream::current(device)?;
        Self::make(&stream, layout, dtype, |storage| stream.record(&Work::Fill(pattern), &[Operand::write(storage)]))
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// As for [`full`](Self::full).
    pub fn zeros<T: Element>(device: &Device, shape: &[usize]) -> Result<Self> {
        Self::full(device, T::zeroed(), shape)
    }

    /// The same values as memory that can never change: for weights. Reading it needs no bookkeeping on any stream.
    /// Waits for the values and copies them through the host.
    ///
    /// # Errors
    /// If the work that makes the values failed, or there is no memory.
    pub fn freeze(&self) -> Result<Self> {
        if self.storage.is_frozen() {
            return Ok(self.clone());
        }
        let tensor = self.contiguous()?;
        let mut bytes = vec![0; tensor.layout.bytes(tensor.dtype) as usize];
        tensor.storage.read(tensor.byte_offset(), &mut bytes)?;
        let storage = Arc::new(Storage::frozen_from_bytes(self.device(), &bytes)?);
        Ok(Self { storage, layout: Layout { offset: 0, ..tensor.layout }, dtype: self.dtype })
    }

    /// A frozen tensor holding a copy of `data`; see [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// As for [`from_slice`](Self::from_slice).
    pub fn frozen_from_slice<T: Element>(device: &Device, data: &[T], shape: &[usize]) -> Result<Self> {
        let layout = filled_layout("frozen_from_slice", data, shape)?;
        let storage = Arc::new(Storage::frozen_from_bytes(device, bytemuck::cast_slice(data))?);
        Ok(Self { storage, layout, dtype: T::DTYPE })
    }

    /// The same in memory of a pool, on its device: for what lives long together, a model's weights say.
    ///
    /// # Errors
    /// As for [`from_slice`](Self::from_slice).
    pub fn frozen_in<T: Element>(pool: &Pool, data: &[T], shape: &[usize]) -> Result<Self> {
        let layout = filled_layout("frozen_in", data, shape)?;
        let storage = Arc::new(Storage::frozen_in(pool, bytemuck::cast_slice(data))?);
        Ok(Self { storage, layout, dtype: T::DTYPE })
    }

    /// A copy on another device, or this tensor if it is there already. The host carries the values: waits for the work
    /// that makes them. The copy is contiguous, and frozen if this is.
    ///
    /// # Errors
    /// If that work failed, or there is no memory on the other device.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        if self.device().is_same(device) {
            return Ok(self.clone());
        }
        let tensor = self.contiguous()?;
        let mut bytes = vec![0; tensor.layout.bytes(tensor.dtype) as usize];
        tensor.storage.read(tensor.byte_offset(), &mut bytes)?;
        tensor.carried(device, bytes, self.is_frozen())
    }

    /// As [`to_device`](Self::to_device), for async tasks: keeps no thread waiting. A view that has to be made
    /// contiguous is copied on the stream that is current at the first poll; see [`Stream::attach`].
    ///
    /// # Errors
    /// As for [`to_device`](Self::to_device).
    pub async fn to_device_async(&self, device: &Device) -> Result<Self> {
        if self.device().is_same(device) {
            return Ok(self.clone());
        }
        let tensor = self.contiguous()?;
        let bytes = tensor.layout.bytes(tensor.dtype) as usize;
        let bytes = tensor.storage.read_async(tensor.byte_offset(), bytes).await?;
        tensor.carried(device, bytes, self.is_frozen())
    }

    /// A contiguous tensor's values on another device.
    fn carried(self, device: &Device, mut bytes: Vec<u8>, frozen: bool) -> Result<Self> {
        let storage = if frozen {
            Storage::frozen_from_bytes(device, &bytes)?
        } else {
            bytes.resize(bytes.len().next_multiple_of(WORD), 0);
            Storage::from_bytes(device, &bytes)?
        };
        Ok(Self { storage: Arc::new(storage), layout: Layout { offset: 0, ..self.layout }, dtype: self.dtype })
    }

    /// Whether the values can never change.
    pub fn is_frozen(&self) -> bool {
        self.storage.is_frozen()
    }

    /// The elements in row-major order. Submits and waits for the work that makes them.
    ///
    /// # Errors
    /// If that work failed, or `T` is not the tensor's element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.expect_dtype("to_vec", "the tensor", T::DTYPE)?;
        let tensor = self.contiguous()?;
        let mut values = vec![T::zeroed(); tensor.elements()];
        tensor.storage.read(tensor.byte_offset(), bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }

    /// Has the elements copied to the host, in row-major order, behind the work that makes them, and returns at once.
    /// Any number of threads and tasks wait for what it gives; the tensor may be changed or dropped meanwhile. Costs a
    /// copy on the device, in the list of that work where it is still open; [`to_vec`](Self::to_vec) saves it where the
    /// host sees the memory.
    ///
    /// ```
    /// # use thalweg_tensor::{Result, Tensor};
    /// # fn example(device: &thalweg_runtime::Device) -> Result<()> {
    /// let x = Tensor::from_slice(device, &[1.0f32, 2.0], &[2])?;
    /// let sum = x.add(&x)?.download::<f32>()?;
    /// // ... whatever else there is to do ...
    /// assert_eq!(*sum.wait()?, [2.0, 4.0]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for any operation; if `T` is not the tensor's element type. That the work failed is told by what it gives.
    pub fn download<T: Element>(&self) -> Result<Pending<Vec<T>>> {
        self.expect_dtype("download", "the tensor", T::DTYPE)?;
        let tensor = self.contiguous()?;
        Ok(tensor.storage.download_as(tensor.byte_offset(), tensor.elements())?)
    }

    /// As [`download`](Self::download), for a tensor that nobody needs afterwards: where the host sees the device's
    /// memory, the tensor is kept until its elements are fetched, instead of a copy of it.
    ///
    /// # Errors
    /// As for [`download`](Self::download).
    pub fn into_pending<T: Element>(self) -> Result<Pending<Vec<T>>> {
        self.expect_dtype("into_pending", "the tensor", T::DTYPE)?;
        let tensor = self.contiguous()?;
        let (offset, elements) = (tensor.byte_offset(), tensor.elements());
        Ok(tensor.storage.fetch(offset, elements)?)
    }

    /// As [`to_vec`](Self::to_vec), for async tasks: keeps no thread waiting. A view that has to be made contiguous
    /// is copied on the stream that is current at the first poll; see [`Stream::attach`].
    ///
    /// # Errors
    /// As for [`to_vec`](Self::to_vec).
    pub async fn to_vec_async<T: Element>(&self) -> Result<Vec<T>> {
        self.expect_dtype("to_vec_async", "the tensor", T::DTYPE)?;
        let tensor = self.contiguous()?;
        let mut values = vec![T::zeroed(); tensor.elements()];
        let bytes = tensor.storage.read_async(tensor.byte_offset(), size_of_val(&values[..])).await?;
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&bytes);
        Ok(values)
    }

    /// The lengths of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.layout.elements()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the tensor is.
    pub fn device(&self) -> &Device {
        self.storage.device()
    }

    /// The first byte of a contiguous tensor in its storage.
    pub(crate) fn byte_offset(&self) -> u64 {
        (self.layout.offset * self.dtype.bytes()) as u64
    }

    /// A new tensor on a stream, written by what `record` records. Nothing is recorded for an empty one.
    pub(crate) fn make(
        stream: &Stream,
        layout: Layout,
        dtype: DType,
        record: impl FnOnce(&mut Storage) -> thalweg_runtime::Result<()>,
    ) -> Result<Self> {
        let mut storage = stream.allocate(layout.bytes(dtype).next_multiple_of(WORD as u64))?;
        if layout.elements() > 0 {
            record(&mut storage)?;
        }
        Ok(Self { storage: Arc::new(storage), layout, dtype })
    }
}

/// What a device fills memory with, in bytes. Storages that are not frozen are whole numbers of them; the last may be
/// longer than its elements.
pub(crate) const WORD: usize = 4;

/// The bits of a value, as the device fills memory with them: repeated, where they are shorter than a word.
pub(crate) fn pattern<T: Element>(value: T) -> u32 {
    let bytes = bytemuck::bytes_of(&value);
    u32::from_ne_bytes(std::array::from_fn(|at| bytes[at % bytes.len()]))
}

fn filled_layout<T>(operation: &'static str, data: &[T], shape: &[usize]) -> Result<Layout> {
    let layout = Layout::contiguous(operation, shape)?;
    if layout.elements() != data.len() {
        let (given, expected) = (data.len(), layout.elements());
        return Err(Error::Length { operation, given, shape: shape.to_vec(), expected });
    }
    Ok(layout)
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?} on {})", self.dtype, self.shape(), self.device().info().name)
    }
}
