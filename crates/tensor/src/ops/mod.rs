//! Operators: check, make the output, record a dispatch. One file a family, as in the kernels.

mod elementwise;
mod encoder;
mod matmul;
mod rows;

pub use encoder::PackedMatrix;

use crate::layout::Layout;
use crate::{DType, Error, Result, Tensor};
use bytemuck::Pod;
use thalweg_hal::{BINDING_ALIGNMENT, KernelSource};
use thalweg_runtime::{Operand, Work};

/// A contiguous copy.
pub(crate) fn copy(tensor: &Tensor) -> Result<Tensor> {
    elementwise::copy(tensor)
}

/// Records a kernel that reads `inputs` and writes one new contiguous tensor, of as many items as `items` says.
fn dispatch(
    source: &KernelSource,
    inputs: &[Operand<'_>],
    device: &thalweg_runtime::Device,
    output: (Layout, DType),
    params: &impl Pod,
    items: usize,
) -> Result<Tensor> {
    let (layout, dtype) = output;
    Tensor::make(device, layout, dtype, |stream, storage| {
        let pipeline = device.pipeline(source)?;
        // `Layout` keeps counts within u32.
        let extent = [items as u32, 1, 1];
        let work = Work::Dispatch { pipeline: &pipeline, params: bytemuck::bytes_of(params), extent };
        let bytes = storage.bytes();
        let mut operands: smallvec::SmallVec<[Operand<'_>; 8]> = inputs.iter().map(reborrow).collect();
        operands.push(Operand::Write { storage, bytes });
        stream.record(&work, &operands)
    })
}

fn reborrow<'a>(operand: &'a Operand<'_>) -> Operand<'a> {
    let (offset, bytes) = (operand.offset(), operand.bytes());
    Operand::Read { storage: operand.storage(), offset, bytes }
}

impl Tensor {
    /// All of the storage, for kernels that take a view of it in their parameters.
    fn whole(&self) -> Operand<'_> {
        Operand::Read { storage: &self.storage, offset: 0, bytes: self.storage.bytes() }
    }

    /// The elements alone. The tensor is [`bindable`].
    fn exact(&self) -> Operand<'_> {
        let bytes = (self.elements() * self.dtype.bytes()) as u64;
        Operand::Read { storage: &self.storage, offset: self.byte_offset(), bytes }
    }

    fn expect_dtype(&self, operation: &'static str, what: &'static str, dtype: DType) -> Result<()> {
        let expected = match dtype {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::I32 => "i32",
        };
        if self.dtype == dtype { Ok(()) } else { Err(Error::DType { operation, what, given: self.dtype, expected }) }
    }

    fn expect_shape(&self, operation: &'static str, what: &'static str, shape: &[usize]) -> Result<()> {
        if self.shape() == shape {
            return Ok(());
        }
        Err(Error::Shape { operation, what, given: self.shape().to_vec(), expected: format!("{shape:?}") })
    }

    /// Rows and width of a matrix.
    fn expect_matrix(&self, operation: &'static str, what: &'static str) -> Result<(usize, usize)> {
        match *self.shape() {
            [rows, width] if width > 0 => Ok((rows, width)),
            _ => {
                let expected = "two axes, [rows, width], of width at least 1".to_owned();
                Err(Error::Shape { operation, what, given: self.shape().to_vec(), expected })
            }
        }
    }

    /// Length of a list.
    fn expect_list(&self, operation: &'static str, what: &'static str) -> Result<usize> {
        match *self.shape() {
            [len] => Ok(len),
            _ => {
                let expected = "one axis".to_owned();
                Err(Error::Shape { operation, what, given: self.shape().to_vec(), expected })
            }
        }
    }
}

/// The tensor as a kernel can bind it on its own: contiguous, and starting where a binding may.
fn bindable(tensor: &Tensor) -> Result<Tensor> {
    if tensor.layout.is_contiguous() && tensor.byte_offset().is_multiple_of(BINDING_ALIGNMENT) {
        Ok(tensor.clone())
    } else {
        copy(tensor)
    }
}
