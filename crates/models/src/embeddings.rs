//! The result of an encoder.

use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// The embeddings of a call: a matrix with a row for each text, in the order in which they were given. A row has its
/// values, or the error that its text met; the others are as good as without it.
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
#[derive(Clone)]
pub struct Embeddings {
    matrix: Arc<Matrix>,
}

/// What the handles share.
pub(crate) struct Matrix {
    pub(crate) width: usize,
    /// `[rows, width]`; NaN where a row failed.
    pub(crate) values: Vec<f32>,
    pub(crate) rows: Vec<Row>,
}

/// What there is to say of a text.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// How many tokens are computed.
    pub(crate) tokens: usize,
    /// Whether it had more.
    pub(crate) cut: bool,
    /// Why it has no values.
    pub(crate) error: Option<Error>,
}

impl Embeddings {
    pub(crate) fn new(matrix: Matrix) -> Self {
        debug_assert_eq!(matrix.values.len(), matrix.rows.len() * matrix.width);
        Self { matrix: Arc::new(matrix) }
    }

    /// How many there are: as many as texts were given.
    pub fn rows(&self) -> usize {
        self.matrix.rows.len()
    }

    /// The number of elements of each.
    pub fn width(&self) -> usize {
        self.matrix.width
    }

    /// How many tokens text `row` has, special ones included, after it was cut; 0 if it could not be tokenised.
    ///
    /// # Panics
    /// If there is no such row, here and below.
    pub fn tokens(&self, row: usize) -> usize {
        self.matrix.rows[row].tokens
    }

    /// Whether text `row` had more tokens than the model takes, so that some were cut off.
    pub fn cut(&self, row: usize) -> bool {
        self.matrix.rows[row].cut
    }

    /// The embedding of text `row`: [`width`](Self::width) numbers, of unit length if the model normalises.
    ///
    /// # Errors
    /// Why this text has none: what is wrong with it, or how its pass failed on the device.
    pub fn row(&self, row: usize) -> Result<&[f32]> {
        match &self.matrix.rows[row].error {
            None => Ok(&self.matrix.values[row * self.matrix.width..][..self.matrix.width]),
            Some(error) => Err(error.clone()),
        }
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
        match self.matrix.rows.iter().find_map(|row| row.error.as_ref()) {
            None => Ok(&self.matrix.values),
            Some(error) => Err(error.clone()),
        }
    }
}

impl fmt::Debug for Embeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.matrix.rows.iter().filter(|row| row.error.is_some()).count();
        write!(f, "Embeddings([{}, {}], {failed} of them failed)", self.rows(), self.width())
    }
}
