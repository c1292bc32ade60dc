//! What a transformer encoder adds: the sequences of a batch lie packed one after the other, as the rows of a matrix,
//! and `offsets` says where each starts. There is no padding to skip.

use super::kernels::kernel;
use super::{bindable, dispatch};
use crate::layout::Layout;
use crate::{Activation, DType, Error, Pooling, Result, Tensor};
use half::f16;
use std::fmt;
use thalweg_kernels::{embedding, linear, pool};
use thalweg_runtime::{Device, Operand, Pool, Storage};

/// The weight of a dense layer, packed once for the matrix kernels, and frozen.
pub struct PackedMatrix {
    storage: Storage,
    outputs: usize,
    inputs: usize,
    dtype: DType,
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storage, outputs, inputs, dtype } = self;
        write!(f, "PackedMatrix({dtype}[{outputs}, {inputs}] on {})", storage.device().info().name)
    }
}

impl PackedMatrix {
    /// Packs `weight`, row-major `[outputs, inputs]`, for `x * weight^T` in f32. Outputs are padded to a multiple
    /// of 32.
    ///
    /// # Errors
    /// If the number of elements is another, a dimension is 0, the padded weight is too large, or there is no memory.
    pub fn new(device: &Device, weight: &[f32], outputs: usize, inputs: usize) -> Result<Self> {
        Self::with_dtype(device, weight, outputs, inputs, DType::F32)
    }

    /// As [`new`](Self::new), for inputs of `dtype`, f32 or f16: the weight is rounded to it once, here. What is beyond
    /// f16's 65,504 becomes an infinity.
    ///
    /// # Errors
    /// As for [`new`](Self::new), or if the type is another.
    pub fn with_dtype(device: &Device, weight: &[f32], outputs: usize, inputs: usize, dtype: DType) -> Result<Self> {
        Self::pack(weight, outputs, inputs, dtype, |bytes| Storage::frozen_from_bytes(device, bytes))
    }

    /// As [`with_dtype`](Self::with_dtype), in memory of a pool, on its device.
    ///
    /// # Errors
    /// As for [`with_dtype`](Self::with_dtype).
    pub fn frozen_in(pool: &Pool, weight: &[f32], outputs: usize, inputs: usize, dtype: DType) -> Result<Self> {
        Self::pack(weight, outputs, inputs, dtype, |bytes| Storage::frozen_in(pool, bytes))
    }

    fn pack(
        weight: &[f32],
        outputs: usize,
        inputs: usize,
        dtype: DType,
        freeze: impl FnOnce(&[u8]) -> thalweg_runtime::Result<Storage>,
    ) -> Result<Self> {
        let shape = [outputs, inputs];
        let operation = "PackedMatrix::new";
        let expected = Layout::contiguous(operation, &shape)?.elements();
        if shape.contains(&0) {
            let expected = "[outputs, inputs], both at least 1".to_owned();
            return Err(Error::Shape { operation, what: "the weight", given: shape.to_vec(), expected });
        }
        if weight.len() != expected {
            return Err(Error::Length { operation, given: weight.len(), shape: shape.to_vec(), expected });
        }
        // What fits may be too large once it is padded.
        Layout::contiguous(operation, &[linear::packed_len(outputs, 1), inputs])?;
        let packed = linear::pack(weight, outputs, inputs);
        let rounded: Vec<f16>;
        let bytes = match dtype {
            DType::F32 => bytemuck::cast_slice(&packed),
            DType::F16 => {
                rounded = packed.iter().map(|value| f16::from_f32(*value)).collect();
                bytemuck::cast_slice(&rounded)
            }
            given => return Err(Error::DType { operation, what: "the weight", given, expected: "f32 or f16" }),
        };
        Ok(Self { storage: freeze(bytes)?, outputs, inputs, dtype })
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
}

impl Tensor {
    /// What a BERT encoder starts from: the sum of three rows for each token, `[n, width]`, f32 or f16 as the tables.
    ///
    /// Tables are `[rows, width]`, of one type; ids are `[n]`, u32. An id outside its table fails when the data is
    /// read. Without ids the result is empty.
    ///
    /// # Errors
    /// If a type or shape does not match, or there are ids but a table has no rows.
    pub fn embed(tables: [&Self; 3], ids: [&Self; 3]) -> Result<Self> {
        const TABLES: [&str; 3] = ["the table of words", "the table of positions", "the table of types"];
        const IDS: [&str; 3] = ["the word ids", "the position ids", "the type ids"];
        let dtype = tables[0].dtype;
        let source = kernel(&embedding::EMBED_SUM, dtype, "embed", TABLES[0])?;
        let (_, width) = tables[0].expect_matrix("embed", TABLES[0])?;
        let n = ids[0].expect_list("embed", IDS[0])?;
        let mut rows = [0; 3];
        let mut operands = smallvec::SmallVec::<[Self; 8]>::new();
        for at in 0..3 {
            tables[at].expect_dtype("embed", TABLES[at], dtype)?;
            let (table_rows, _) = tables[at].expect_matrix("embed", TABLES[at])?;
            tables[at].expect_shape("embed", TABLES[at], &[table_rows, width])?;
            if table_rows == 0 && n > 0 {
                let (given, expected) = (tables[at].shape().to_vec(), format!("at least one row, for {n} ids"));
                return Err(Error::Shape { operation: "embed", what: TABLES[at], given, expected });
            }
            rows[at] = table_rows as u32; // within u32, by the layout
            operands.push(bindable(tables[at])?);
        }
        for at in 0..3 {
            ids[at].expect_dtype("embed", IDS[at], DType::U32)?;
            ids[at].expect_shape("embed", IDS[at], &[n])?;
            operands.push(bindable(ids[at])?);
        }
        let layout = Layout::contiguous("embed", &[n, width])?;
        let [words, positions, types] = rows;
        let params = embedding::SumParams { words, positions, types, width: width as u32 };
        let inputs: smallvec::SmallVec<[_; 8]> = operands.iter().map(Self::exact).collect();
        dispatch(source, &inputs, tables[0].device(), (layout, dtype), &params, n)
    }

    /// Rows of a table by their numbers, `[n, width]`, f32 or f16 as the table. The table lies in one tensor or in
    /// several, `[rows, width]` each, whose rows count on from one to the next: for tables that are longer than a
    /// device's longest binding. Ids are `[n]`, u32; one outside of the table fails when the data is read. Costs a pass
    /// over the result for each part.
    ///
    /// # Errors
    /// If a type or shape does not match, there is no part, or there are ids but no rows.
    pub fn embedding(parts: &[&Self], ids: &Self) -> Result<Self> {
        let (operation, what) = ("embedding", "the table");
        let Some(first) = parts.first() else {
            let (given, expected) = (Vec::new(), "at least one part".to_owned());
            return Err(Error::Shape { operation, what, given, expected });
        };
        let (_, width) = first.expect_matrix(operation, what)?;
        ids.expect_dtype(operation, "the ids", DType::U32)?;
        let n = ids.expect_list(operation, "the ids")?;
        let mut total = 0;
        for part in parts {
            part.expect_dtype(operation, what, first.dtype)?;
            part.expect_shape(operation, what, &[part.shape().first().copied().unwrap_or(0), width])?;
            total += part.shape()[0];
        }
        if total == 0 && n > 0 {
            let (given, expected) = (vec![0, width], format!("at least one row, for {n} ids"));
            return Err(Error::Shape { operation, what, given, expected });
        }
        let Ok(total) = u32::try_from(total) else {
            return Err(Error::TooLarge { operation, shape: vec![total, width] });
        };
        let source = kernel(&embedding::EMBEDDING, first.dtype, operation, what)?;
        let layout = Layout::contiguous(operation, &[n, width])?;
        let ids = bindable(ids)?;
        let (mut sum, mut before) = (None, 0);
        for part in parts.iter().filter(|part| parts.len() == 1 || part.elements() > 0) {
            let rows = part.shape()[0] as u32; // within u32, by the layout, here and for the width
            let params = embedding::Params { total, first: before, rows, width: width as u32 };
            let part = bindable(part)?;
            let operands = [part.exact(), ids.exact()];
            let found = dispatch(source, &operands, ids.device(), (layout.clone(), first.dtype), &params, n)?;
            match &mut sum {
                None => sum = Some(found),
                Some(sum) => sum.add_in_place(&found)?,
            }
            before += rows;
        }
        sum.map_or_else(|| Self::filled(ids.device(), layout, first.dtype, 0), Ok)
    }

    /// A dense layer: `activation(self * weight^T + bias)`; self is `[n, inputs]`, bias `[outputs]`, the result
    /// `[n, outputs]`; all f32, or all f16. No rows give no rows.
    ///
    /// # Errors
    /// If a type or shape does not match.
    pub fn linear(&self, weight: &PackedMatrix, bias: &Self, activation: Activation) -> Result<Self> {
        let PackedMatrix { storage, outputs, inputs, dtype } = weight;
        self.expect_dtype("linear", "the input", *dtype)?;
        bias.expect_dtype("linear", "the bias", *dtype)?;
        let (n, _) = self.expect_matrix("linear", "the input")?;
        self.expect_shape("linear", "the input", &[n, *inputs])?;
        bias.expect_shape("linear", "the bias", &[*outputs])?;
        let layout = Layout::contiguous("linear", &[n, *outputs])?;
        let source = kernel(linear::best(n, *inputs, *outputs), *dtype, "linear", "the input")?;
        let (x, bias) = (bindable(self)?, bindable(bias)?);
        let params = linear::Params { inputs: *inputs as u32, outputs: *outputs as u32, activation: activation as u32 };
        let weight = Operand::read(storage, 0, storage.bytes());
        let operands = [x.exact(), weight, bias.exact()];
        dispatch(source, &operands, self.device(), (layout, *dtype), &params, n)
    }

    /// Each sequence's rows to one: `[n, width]` to `[sequences, width]`, f32 or f16. `offsets` as for
    /// [`attention`](Self::attention).
    ///
    /// # Errors
    /// As for [`attention`](Self::attention).
    pub fn pool(&self, offsets: &Self, pooling: Pooling) -> Result<Self> {
        self.pool_after(0, offsets, pooling)
    }

    /// As [`pool`](Self::pool), of each sequence without its first `skip` rows. [`Pooling::WeightedMean`] gives the
    /// others the weights that they have with them. A sequence that has no more rows fails when the data is read.
    ///
    /// # Errors
    /// As for [`pool`](Self::pool).
    pub fn pool_after(&self, skip: u32, offsets: &Self, pooling: Pooling) -> Result<Self> {
        let source = kernel(&pool::POOL, self.dtype, "pool", "the input")?;
        let (rows, width) = self.expect_matrix("pool", "the input")?;
        let sequences = offsets.expect_offsets("pool", rows)?;
        let layout = Layout::contiguous("pool", &[sequences as usize, width])?;
        let pooling = pooling as u32;
        let params = pool::PoolParams { pooling, sequences, rows: rows as u32, width: width as u32, skip };
        let (x, offsets) = (bindable(self)?, bindable(offsets)?);
        let operands = [x.exact(), offsets.exact()];
        dispatch(source, &operands, self.device(), (layout, self.dtype), &params, sequences as usize)
    }

    /// The number of sequences that these offsets cut `rows` rows into, going by the shape alone.
    pub(super) fn expect_offsets(&self, operation: &'static str, rows: usize) -> Result<u32> {
        self.expect_dtype(operation, "the offsets", DType::U32)?;
        let len = self.expect_list(operation, "the offsets")?;
        // Every sequence has a row, and every row a sequence.
        match len.checked_sub(1).filter(|sequences| *sequences <= rows && (*sequences > 0 || rows == 0)) {
            Some(sequences) => Ok(sequences as u32), // within u32, by the layout
            None => {
                let expected =
                    format!("[sequences + 1], where {rows} rows make 1 to {rows} sequences, and no rows none");
                Err(Error::Shape { operation, what: "the offsets", given: self.shape().to_vec(), expected })
            }
        }
    }
}
