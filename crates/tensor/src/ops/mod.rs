//! Operators: check, make the output, record a dispatch. One file a family, as in the kernels.

mod attention;
mod binary;
mod concat;
mod elementwise;
mod encoder;
mod in_place;
mod kernels;
mod matmul;
mod reduce;
mod rows;
mod select;

pub use attention::AttentionOptions;
pub(crate) use elementwise::{copy_from, copy_into};
pub use encoder::PackedMatrix;
pub(crate) use in_place::change_with;

use crate::layout::Layout;
use crate::{DType, Error, Result, Tensor};
use bytemuck::Pod;
use thalweg_hal::{BINDING_ALIGNMENT, StaticKernel};
use thalweg_runtime::{Device, Operand, Pipeline, Stream, Work};

/// A contiguous copy.
pub(crate) fn copy(tensor: &Tensor) -> Result<Tensor> {
    elementwise::copy(tensor)
}

/// Records a kernel that reads `inputs` and writes one new contiguous tensor, of as many items as `items` says.
fn dispatch(
    kernel: &'static StaticKernel,
    inputs: &[Operand<'_>],
    device: &Device,
    output: (Layout, DType),
    params: &impl Pod,
    items: usize,
) -> Result<Tensor> {
    let (layout, dtype) = output;
    let bytes = layout.bytes(dtype);
    let stream = Stream::current(device)?;
    // Before there is memory, which a compile would hold for nothing. Nothing runs for an empty output.
    let pipeline = if layout.elements() > 0 { Some(stream.static_pipeline(kernel)?) } else { None };
    Tensor::make(&stream, layout, dtype, |storage| match pipeline {
        Some(pipeline) => record_with(&stream, pipeline, inputs, Operand::write(storage).first(bytes), params, items),
        None => Ok(()),
    })
}

/// Records a kernel that writes its last operand.
fn record(
    stream: &Stream,
    kernel: &'static StaticKernel,
    inputs: &[Operand<'_>],
    output: Operand<'_>,
    params: &impl Pod,
    items: usize,
) -> thalweg_runtime::Result<()> {
    record_with(stream, stream.static_pipeline(kernel)?, inputs, output, params, items)
}

fn record_with(
    stream: &Stream,
    pipeline: &Pipeline,
    inputs: &[Operand<'_>],
    output: Operand<'_>,
    params: &impl Pod,
    items: usize,
) -> thalweg_runtime::Result<()> {
    // `Layout` keeps counts within u32.
    let extent = [items as u32, 1, 1];
    let work = Work::Dispatch { pipeline, params: bytemuck::bytes_of(params), extent };
    let mut operands = smallvec::SmallVec::<[Operand<'_>; 8]>::from_slice(inputs);
    operands.push(output);
    stream.record(&work, &operands)
}

impl Tensor {
    /// All of the storage, for kernels that take a view of it in their parameters.
    fn whole(&self) -> Operand<'_> {
        Operand::read(&self.storage, 0, self.storage.bytes())
    }

    /// The elements alone. The tensor is [`bindable`].
    pub(crate) fn exact(&self) -> Operand<'_> {
        Operand::read(&self.storage, self.byte_offset(), self.layout.bytes(self.dtype))
    }

    pub(crate) fn expect_dtype(&self, operation: &'static str, what: &'static str, dtype: DType) -> Result<()> {
        if self.dtype == dtype {
            return Ok(());
        }
        Err(Error::DType { operation, what, given: self.dtype, expected: dtype.name() })
    }

    /// Fails unless the elements are floating-point numbers.
    fn expect_float(&self, operation: &'static str, what: &'static str) -> Result<()> {
        match self.dtype {
            DType::F32 | DType::F16 => Ok(()),
            given => Err(Error::DType { operation, what, given, expected: "f32 or f16" }),
        }
    }

    pub(crate) fn expect_shape(&self, operation: &'static str, what: &'static str, shape: &[usize]) -> Result<()> {
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
pub(crate) fn bindable(tensor: &Tensor) -> Result<Tensor> {
    if tensor.layout.is_contiguous() && tensor.byte_offset().is_multiple_of(BINDING_ALIGNMENT) {
        Ok(tensor.clone())
    } else {
        copy(tensor)
    }
}
