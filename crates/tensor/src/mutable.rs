//! A tensor that changes while others can name it.

use crate::layout::Layout;
use crate::ops;
use crate::tensor::{WORD, pattern};
use crate::{DType, Element, Error, Result, Tensor};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use thalweg_hal::BINDING_ALIGNMENT;
use thalweg_kernels::elementwise::Binary;
use thalweg_runtime::{Device, MutableStorage, Operand, Stream, Work};

/// Rows on a device that any thread may change at any time, on any stream: for caches that grow in place. Cloning
/// shares the memory.
///
/// A [`Tensor`] is a value; this is a place, and what [`read`](Self::read) sees depends on when it was called. The
/// rows (the entries of axis 0) are divided into *parts* of one length, and every operation is atomic for each part
/// that it touches: additions from many threads lose nothing, and no read sees half of one. An operation on several
/// parts is one operation, which others see as a whole too. Operations on different parts do not wait for each other.
/// Calls return at once, as a tensor's operators do.
///
/// If an operation fails on the device, the parts that it wrote stay failed until they are [written](Self::write)
/// again, and their readers are told.
///
/// ```
/// # use thalweg_tensor::{MutableTensor, Result, Tensor};
/// # fn example(device: &thalweg_runtime::Device) -> Result<()> {
/// let cache = MutableTensor::zeros::<f32>(device, &[512, 64], 4)?;
/// let before = cache.read(8..12)?;
/// cache.write(8, &Tensor::full(device, 1.0f32, &[4, 64])?)?;
/// assert_eq!(before.to_vec::<f32>()?, [0.0; 256]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MutableTensor {
    storage: Arc<MutableStorage>,
    /// Contiguous, from the start of the storage.
    layout: Layout,
    dtype: DType,
    rows_per_part: usize,
}

impl MutableTensor {
    /// Zeros, of at least one element, in parts of `rows_per_part` rows. A part's bytes are a multiple of 256, and the
    /// rows a multiple of a part's; or there is one part. An operation takes a lock for each part that it touches, so
    /// parts are best about as large as what is written at once.
    ///
    /// # Errors
    /// [`Error::Parts`] for parts that are not so; if the shape is empty or too large, or there is no memory.
    pub fn zeros<T: Element>(device: &Device, shape: &[usize], rows_per_part: usize) -> Result<Self> {
        let layout = Layout::contiguous("MutableTensor::zeros", shape)?;
        let (Some(rows), true) = (shape.first().copied(), layout.elements() > 0) else {
            let (given, expected) = (shape.to_vec(), "at least one axis and one element".to_owned());
            return Err(Error::Shape { operation: "MutableTensor::zeros", what: "the tensor", given, expected });
        };
        let row_bytes = layout.elements() / rows * T::DTYPE.bytes();
        let alignment = BINDING_ALIGNMENT as usize;
        // The alignment is a power of two, so this is 256 over the greatest common divisor.
        let multiple = alignment >> row_bytes.trailing_zeros().min(alignment.trailing_zeros());
        let fits = rows_per_part > 0 && rows.is_multiple_of(rows_per_part);
        if !fits || (rows_per_part != rows && !rows_per_part.is_multiple_of(multiple)) {
            return Err(Error::Parts { rows, row_bytes, rows_per_part, multiple });
        }
        // One part may end inside a word, which is filled as a whole.
        let part_bytes = (rows_per_part * row_bytes).next_multiple_of(WORD);
        let stream = Stream::current(device)?;
        let mut storage = stream.allocate((rows / rows_per_part * part_bytes) as u64)?;
        stream.record(&Work::Fill(pattern(T::zeroed())), &[Operand::write(&mut storage)])?;
        let storage = Arc::new(MutableStorage::new(storage, part_bytes as u64)?);
        Ok(Self { storage, layout, dtype: T::DTYPE, rows_per_part })
    }

    /// Replaces the rows from `row` on by those of `rows`, which are whole parts. No rows change nothing.
    ///
    /// # Errors
    /// [`Error::Rows`] if these are not whole parts; if the type or the shape of a row differs.
    pub fn write(&self, row: usize, rows: &Tensor) -> Result<()> {
        let Some(parts) = self.parts_for("write", row, rows)? else { return Ok(()) };
        let stream = Stream::current(self.device())?;
        ops::copy_into(rows, &stream, self.storage.write(parts)?)
    }

    /// Adds `rows` to the rows from `row` on, which are whole parts; see [`binary`](Self::binary).
    ///
    /// # Errors
    /// As for [`binary`](Self::binary).
    pub fn add(&self, row: usize, rows: &Tensor) -> Result<()> {
        self.change("add", Binary::Add, row, rows)
    }

    /// Each row from `row` on becomes `itself op rows`, where `rows` are whole parts: a view, perhaps, that repeats
    /// one value ([`Tensor::broadcast_to`]). Integers wrap. No rows change nothing.
    ///
    /// # Errors
    /// As for [`write`](Self::write). An integer division by zero fails when the data is read.
    pub fn binary(&self, operation: Binary, row: usize, rows: &Tensor) -> Result<()> {
        self.change("binary", operation, row, rows)
    }

    fn change(&self, name: &'static str, operation: Binary, row: usize, rows: &Tensor) -> Result<()> {
        let Some(parts) = self.parts_for(name, row, rows)? else { return Ok(()) };
        let stream = Stream::current(self.device())?;
        let target = self.storage.update(parts)?.first(rows.layout.bytes(rows.dtype));
        ops::change_with(name, operation, rows, &stream, (target, 0, rows.elements()))
    }

    /// A copy of some rows, made on the device: a value, which later changes do not reach. Any rows; those of a part
    /// are as one moment had them, and so are those of all parts that are read.
    ///
    /// # Errors
    /// [`Error::Rows`] if they are not there, or that there is no memory.
    pub fn read(&self, rows: Range<usize>) -> Result<Tensor> {
        let total = self.layout.shape[0];
        if rows.start > rows.end || rows.end > total {
            let expected = format!("a range within 0..{total}");
            return Err(Error::Rows { operation: "read", asked: rows, rows: total, expected });
        }
        let mut shape = self.layout.shape.clone();
        shape[0] = rows.len();
        let layout = Layout::contiguous("read", &shape)?;
        if rows.is_empty() {
            return Tensor::make(&Stream::current(self.device())?, layout, self.dtype, |_| Ok(()));
        }
        let parts = rows.start / self.rows_per_part..rows.end.div_ceil(self.rows_per_part);
        let skipped = rows.start - parts.start * self.rows_per_part;
        let from = Layout { offset: skipped * self.layout.strides[0], ..layout.clone() };
        ops::copy_from(self.device(), self.storage.read(parts)?, &from, (layout, self.dtype))
    }

    /// The parts that take the place of these rows, if there are any.
    fn parts_for(&self, operation: &'static str, row: usize, rows: &Tensor) -> Result<Option<Range<usize>>> {
        rows.expect_dtype(operation, "the rows", self.dtype)?;
        let inner = &self.layout.shape[1..];
        let Some(count) = rows.shape().split_first().filter(|(_, own)| *own == inner).map(|(count, _)| *count) else {
            let (given, expected) = (rows.shape().to_vec(), format!("[rows] followed by {inner:?}"));
            return Err(Error::Shape { operation, what: "the rows", given, expected });
        };
        let (total, part) = (self.layout.shape[0], self.rows_per_part);
        let end = row.checked_add(count).filter(|end| *end <= total);
        let Some(end) = end.filter(|end| row.is_multiple_of(part) && end.is_multiple_of(part)) else {
            let expected = format!("whole parts of {part} rows, within 0..{total}");
            let asked = row..row.saturating_add(count);
            return Err(Error::Rows { operation, asked, rows: total, expected });
        };
        Ok((count > 0).then_some(row / part..end / part))
    }

    /// The lengths of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the tensor is.
    pub fn device(&self) -> &Device {
        self.storage.device()
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.storage.parts()
    }

    /// The number of rows of a part.
    pub fn rows_per_part(&self) -> usize {
        self.rows_per_part
    }
}

impl fmt::Debug for MutableTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shape, parts) = (self.shape(), self.parts());
        write!(f, "MutableTensor({}{shape:?} in {parts} parts on {})", self.dtype, self.device().info().name)
    }
}
