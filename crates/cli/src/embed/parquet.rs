//! Embeddings as a Parquet file: columns `index`, `tokens`, those of `--keep` as JSON texts, and `embedding`, a list of
//! f32 in each row.
//!
//! Rows are collected to groups of a bounded size. What a file is made of stands at its end, so it is whole only once
//! it is [closed](Table::close).

use std::fs::File;
use std::io;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::rows::Row;
use crate::error::Error;

/// Bytes of values in a group of rows.
const GROUP: usize = 8 << 20;

/// A file that is being written.
pub struct Table {
    writer: SerializedFileWriter<File>,
    name: String,
    width: usize,
    /// How many rows have been written, and those of the group that is not.
    rows: u64,
    group: Group,
}

/// Rows that are not written yet, by columns.
#[derive(Default)]
struct Group {
    index: Vec<i64>,
    tokens: Vec<i32>,
    /// For each name that is kept, a text for each row that has one, and for each row whether it has.
    kept: Vec<(Vec<ByteArray>, Vec<i16>)>,
    values: Vec<f32>,
    /// Bytes of what is kept.
    bytes: usize,
}

impl Table {
    /// Begins a file, which people know as `name`, of embeddings with `width` values, and with columns of these names.
    ///
    /// # Errors
    ///
    /// `Io` when the system refuses.
    pub fn new(file: File, name: &str, width: usize, keep: &[String]) -> Result<Self, Error> {
        let begin = || {
            // Numbers that differ everywhere have no dictionary.
            let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
            SerializedFileWriter::new(file, schema(keep)?, Arc::new(properties))
        };
        let writer = begin().map_err(|error| failed(name, error))?;
        Ok(Self { writer, name: name.to_owned(), width, rows: 0, group: Group::new(keep.len()) })
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// `Io` when the system refuses.
    pub fn write(&mut self, row: &Row<'_>) -> Result<(), Error> {
        self.rows += 1;
        self.group.push(row);
        if self.group.is_full() { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and what the file is made of.
    ///
    /// # Errors
    ///
    /// `Io` when the system refuses.
    pub fn close(mut self) -> Result<(), Error> {
        self.write_group()?;
        self.writer.close().map(drop).map_err(|error| failed(&self.name, error))
    }

    fn write_group(&mut self) -> Result<(), Error> {
        let keep = self.group.kept.len();
        let group = std::mem::replace(&mut self.group, Group::new(keep));
        if group.index.is_empty() {
            return Ok(());
        }
        group.write(&mut self.writer, self.width).map_err(|error| failed(&self.name, error))
    }
}

impl Group {
    fn new(keep: usize) -> Self {
        Self { kept: vec![(Vec::new(), Vec::new()); keep], ..Self::default() }
    }

    fn push(&mut self, row: &Row<'_>) {
        self.index.push(row.index as i64);
        self.tokens.push(row.tokens as i32);
        self.values.extend_from_slice(row.values);
        for ((texts, are_there), value) in self.kept.iter_mut().zip(row.kept) {
            are_there.push(i16::from(value.is_some()));
            if let Some(value) = value {
                self.bytes += value.get().len();
                texts.push(value.get().into());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.bytes + size_of_val(&self.values[..]) >= GROUP
    }

    fn write(&self, writer: &mut SerializedFileWriter<File>, width: usize) -> ParquetResult<()> {
        let mut group = writer.next_row_group()?;
        let mut kept = self.kept.iter();
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(index) => index.write_batch(&self.index, None, None)?,
                ColumnWriter::Int32ColumnWriter(tokens) => tokens.write_batch(&self.tokens, None, None)?,
                ColumnWriter::ByteArrayColumnWriter(column) => {
                    let (texts, are_there) = kept.next().ok_or(ParquetError::General("a column too many".into()))?;
                    column.write_batch(texts, Some(are_there), None)?
                }
                ColumnWriter::FloatColumnWriter(values) => {
                    // Every list is there, and has at least one value; the first of each begins a row.
                    let there = vec![1; self.values.len()];
                    let goes_on: Vec<i16> = (0..self.values.len()).map(|at| i16::from(at % width != 0)).collect();
                    values.write_batch(&self.values, Some(&there), Some(&goes_on))?
                }
                _ => return Err(ParquetError::General("a column of another type".into())),
            };
            column.close()?;
        }
        group.close().map(drop)
    }
}

/// The columns.
fn schema(keep: &[String]) -> ParquetResult<Arc<Type>> {
    let primitive = |name: &str, physical, repetition, logical| {
        let built = Type::primitive_type_builder(name, physical).with_repetition(repetition);
        built.with_logical_type(logical).build().map(Arc::new)
    };
    let required = Repetition::REQUIRED;
    let mut columns = vec![
        primitive("index", Physical::INT64, required, None)?,
        primitive("tokens", Physical::INT32, required, None)?,
    ];
    for name in keep {
        columns.push(primitive(name, Physical::BYTE_ARRAY, Repetition::OPTIONAL, Some(LogicalType::String))?);
    }
    let group = |name: &str, repetition, logical, inside| {
        let built = Type::group_type_builder(name).with_repetition(repetition).with_logical_type(logical);
        built.with_fields(vec![inside]).build().map(Arc::new)
    };
    let element = primitive("element", Physical::FLOAT, required, None)?;
    let list = group("list", Repetition::REPEATED, None, element)?;
    columns.push(group("embedding", required, Some(LogicalType::List), list)?);
    Type::group_type_builder("embeddings").with_fields(columns).build().map(Arc::new)
}

fn failed(name: &str, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(error) => error.downcast().map_or_else(io::Error::other, |error| *error),
        error => io::Error::other(error),
    };
    Error::Io { action: "write", what: name.to_owned(), source }
}
