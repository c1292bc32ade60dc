//! The result of an encoder.

use super::table::results;
use crate::error::Result;

results! {
    /// The embeddings of a call: a matrix with a row for each text, in the order in which they were given. A row has
    /// its values, or the error that its text met; the others are as good as without it.
    ///
    /// A handle: a clone shares the values.
    ///
    /// ```no_run
    /// # fn example(model: &thalweg_models::EmbeddingModel) -> thalweg_models::Result<()> {
    /// let embeddings = model.embed(&["The river joins the sea.", "Streams become one."])?;
    /// assert_eq!((embeddings.rows(), embeddings.row(0)?.len()), (2, model.width()));
    /// for row in embeddings.iter() {
    ///     match row {
    ///         Ok(values) => println!("{values:?}"),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    Embeddings(Vec<f32>)
}

impl Embeddings {
    /// The number of elements of each.
    pub fn width(&self) -> usize {
        self.table.width
    }

    /// The embedding of text `row`: [`width`](Self::width) numbers, of unit length if the model normalises.
    ///
    /// # Errors
    /// Why this text has none: what is wrong with it, or how its pass failed on the device.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        Ok(&self.table.items[self.table.of(row)?])
    }

    /// All rows, in order; see [`row`](Self::row).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<&[f32]>> {
        (0..self.rows()).map(|row| self.row(row))
    }

    /// The whole matrix, `[rows, width]` in row-major order: one contiguous slice.
    ///
    /// # Errors
    /// That of the first row which has no values.
    pub fn values(&self) -> Result<&[f32]> {
        self.table.all().map(|()| &self.table.items[..])
    }
}
