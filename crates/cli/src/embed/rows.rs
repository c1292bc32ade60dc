//! Embeddings as they are written, by the output's name: JSON lines, a matrix, or a table.

use std::path::Path;

use serde_json::value::RawValue;

use super::earlier::{self, Earlier};
use super::npy;
#[cfg(feature = "parquet")]
use super::parquet::Table;
use crate::error::{Error, Lines};
use crate::output::{Output, head};
use crate::streams::{FileId, Named, Unit};

/// How embeddings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A JSON object a line.
    Lines,
    /// `.npy`: a matrix of NumPy's.
    Npy,
    /// `.parquet`: a table.
    Parquet,
}

/// Where embeddings go.
pub struct Rows {
    output: Output,
    form: Form,
    /// Names of members that are carried through, as JSON strings.
    keep: Vec<String>,
    /// How many values an embedding has.
    width: usize,
    /// How many rows the header of a matrix says.
    said: Option<u64>,
    /// A table, while it is written.
    #[cfg(feature = "parquet")]
    table: Option<Table>,
}

impl Rows {
    /// Opens the file at `path`, or standard output for `-`, as [`Output::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Output::open`]; `Usage` when the file is a matrix by its name and something is wanted of it that it
    /// cannot have.
    pub fn open(path: &Path, append: bool, keep: &[String]) -> Result<Self, Error> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let form = match ending.as_deref() {
            Some("npy") => Form::Npy,
            Some("parquet") => Form::Parquet,
            _ => Form::Lines,
        };
        let refuse = |what: &str| Err(Error::Usage(format!("--output {}: {what}", path.display())));
        if form == Form::Npy && !keep.is_empty() {
            return refuse("a matrix has no place for what --keep names; JSON lines have");
        }
        if form == Form::Parquet && !cfg!(feature = "parquet") {
            return refuse(
                "this build writes no Parquet; `cargo build --release --features parquet` makes one that does",
            );
        }
        if form == Form::Parquet && append {
            return refuse(
                "a Parquet file says at its end what it has, so --append cannot go on with it; .npy and lines can",
            );
        }
        let mut output = Output::open(path, append)?;
        if form != Form::Lines && FileId::of(output.sink().file()).is_none() {
            return refuse("such a file says in one place how many rows it has, so it has to be a regular file");
        }
        Ok(Self {
            output,
            form,
            keep: keep.to_vec(),
            width: 0,
            said: None,
            #[cfg(feature = "parquet")]
            table: None,
        })
    }

    /// How many values each embedding will have.
    pub fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    /// The flag that names it, and which file it is.
    pub fn named(&self) -> Named {
        self.output.named()
    }

    /// As people know it.
    pub fn name(&self) -> &str {
        self.output.name()
    }

    /// Whether a later run can go on with it.
    pub fn can_append(&self) -> bool {
        self.form != Form::Parquet && self.output.is_file()
    }

    /// Whether the results go to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.output.is_terminal()
    }

    /// The results that the file has.
    ///
    /// # Errors
    ///
    /// `Append` when it has something else; `Io` when it cannot be read.
    pub fn earlier(&mut self) -> Result<Earlier, Error> {
        let name = self.output.name().to_owned();
        let file = self.output.sink().file();
        match self.form {
            Form::Lines => earlier::read(file, &name),
            Form::Npy => npy::read(file, &name),
            Form::Parquet => Ok(Earlier::of_nothing()),
        }
    }

    /// Checks that the last of `earlier` is `row`, but for the last digits of its values: then the rest of the input
    /// goes on where they end.
    ///
    /// # Errors
    ///
    /// `Append` when it is not.
    pub fn confirm(&self, earlier: &Earlier, row: &Row<'_>, lines: Lines, input: &str) -> Result<(), Error> {
        if earlier.ends_with(&row.head(&self.keep), row.values) {
            return Ok(());
        }
        let reason = format!(
            "its last result, with index {}, is not that of {lines} of {input}; the input, the model or --keep is \
             another",
            row.index
        );
        Err(Error::Append { output: self.name().to_owned(), reason })
    }

    /// Empties the file, but for its first `rows` results, before byte `bytes`. Standard output, pipes and devices are
    /// left as they are.
    ///
    /// # Errors
    ///
    /// `Write` when the system refuses.
    pub fn begin(&mut self, bytes: u64, rows: u64) -> Result<(), Error> {
        match self.form {
            Form::Lines => self.output.begin(bytes, rows),
            Form::Npy => {
                self.output.sink().set_unit(Unit::Bytes(self.width * size_of::<f32>()));
                self.output.begin(bytes.max(npy::HEADER), rows)?;
                self.say_rows()
            }
            Form::Parquet => {
                self.output.begin(0, 0)?;
                self.begin_table()
            }
        }
    }

    /// Writes an embedding; it may stay in the buffer until [`Rows::flush`].
    ///
    /// # Errors
    ///
    /// `Write` when writing fails.
    pub fn write(&mut self, row: &Row<'_>) -> Result<(), Error> {
        match self.form {
            Form::Lines => {
                let mut line = row.head(&self.keep).into_bytes();
                row.tail(&mut line);
                self.output.sink().line(&line)
            }
            Form::Npy => self.output.sink().bytes(row.values.iter().flat_map(|value| value.to_le_bytes())),
            Form::Parquet => self.write_to_table(row),
        }
    }

    #[cfg(feature = "parquet")]
    fn begin_table(&mut self) -> Result<(), Error> {
        let name = self.output.name().to_owned();
        let file = self.output.sink().file().try_clone();
        let file = file.map_err(|source| Error::Io { action: "write", what: name.clone(), source })?;
        let keep: Vec<String> = self.keep.iter().flat_map(|name| serde_json::from_str(name)).collect();
        self.table = Some(Table::new(file, &name, self.width, &keep)?);
        Ok(())
    }

    #[cfg(feature = "parquet")]
    fn write_to_table(&mut self, row: &Row<'_>) -> Result<(), Error> {
        self.table.as_mut().map_or(Ok(()), |table| table.write(row))
    }

    /// Nothing: [`Rows::open`] refuses tables.
    #[cfg(not(feature = "parquet"))]
    fn begin_table(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing: [`Rows::open`] refuses tables.
    #[cfg(not(feature = "parquet"))]
    fn write_to_table(&mut self, _: &Row<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Ends the file. A table is whole only then, also after a fault.
    ///
    /// # Errors
    ///
    /// `Io` when the system refuses.
    pub fn close(self) -> Result<(), Error> {
        #[cfg(feature = "parquet")]
        if let Some(table) = self.table {
            return table.close();
        }
        Ok(())
    }

    /// Hands everything written so far to the system. A matrix then says how many rows it has, so that it is whole
    /// whatever comes next.
    ///
    /// # Errors
    ///
    /// `Write` when writing fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.output.flush();
        if self.said.is_some() && self.said != Some(self.output.sink().taken()) {
            let said = self.say_rows();
            return flushed.and(said);
        }
        flushed
    }

    fn say_rows(&mut self) -> Result<(), Error> {
        let rows = self.output.sink().taken();
        self.said = Some(rows);
        npy::write_header(self.output.sink(), rows, self.width)
    }
}

/// One embedding.
pub struct Row<'a> {
    /// The number of the text, counted from 0.
    pub index: u64,
    /// How many tokens it was computed from.
    pub tokens: usize,
    /// A value for each name that is carried through.
    pub kept: &'a [Option<Box<RawValue>>],
    /// The embedding.
    pub values: &'a [f32],
}

impl Row<'_> {
    /// Everything of its line before the values.
    fn head(&self, keep: &[String]) -> String {
        head(self.index, self.tokens, keep, self.kept) + ",\"embedding\":"
    }

    /// The values, and what ends the line. Of each value the shortest decimal text is written that reads back as the
    /// same `f32`.
    fn tail(&self, line: &mut Vec<u8>) {
        serde_json::to_writer(&mut *line, self.values).expect("memory takes every byte, and each value is a number");
        line.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(index: u64, kept: &[Option<Box<RawValue>>], values: &[f32], keep: &[String]) -> String {
        let row = Row { index, tokens: 3, kept, values };
        let mut line = row.head(keep).into_bytes();
        row.tail(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn members_are_between_the_tokens_and_the_values() {
        let kept = [Some(RawValue::from_string("1.50".to_owned()).unwrap()), None];
        let keep = ["\"id\"", "\"x\""].map(str::to_owned);
        let expected = r#"{"index":7,"tokens":3,"id":1.50,"embedding":[0.5,-1.0]}"#;
        assert_eq!(line(7, &kept, &[0.5, -1.0], &keep), expected);
        assert_eq!(line(0, &[], &[], &[]), r#"{"index":0,"tokens":3,"embedding":[]}"#);
    }

    #[test]
    fn every_f32_reads_back_as_itself() {
        // A walk over all exponents and signs, with changing mantissas.
        let values: Vec<f32> =
            (0..1u32 << 16).map(|high| f32::from_bits(high << 16 | high.wrapping_mul(40503) & 0xffff)).collect();
        let finite: Vec<f32> = values.into_iter().filter(|value| value.is_finite()).collect();
        let back: serde_json::Value = serde_json::from_str(&line(0, &[], &finite, &[])).unwrap();
        let numbers = back["embedding"].as_array().unwrap();
        assert_eq!(numbers.len(), finite.len());
        for (number, value) in numbers.iter().zip(&finite) {
            let read: f32 = number.to_string().parse().unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{number} was {value:e}");
        }
    }
}
