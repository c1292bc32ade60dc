//! What comes of a call: values for each text, or its error.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;

/// Values of texts, one text's after the other's.
pub(crate) trait Items: Default + Send + Sync + 'static {
    fn len(&self) -> usize;

    /// That they come from so many values in all.
    fn reserve(&mut self, values: usize);
}

impl Items for Vec<f32> {
    fn len(&self) -> usize {
        self.len()
    }

    fn reserve(&mut self, values: usize) {
        self.reserve_exact(values - self.len().min(values));
    }
}

/// The rows of a call, in the order of its texts.
pub(crate) struct Table<I> {
    /// The length of a row of values.
    pub(crate) width: usize,
    /// The values of the texts that have some.
    pub(crate) items: I,
    /// Where each text's items end, and the next one's begin. A text that failed has none.
    pub(crate) ends: Vec<usize>,
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

impl<I: Items> Table<I> {
    /// Of so many texts, none of which has a row yet.
    pub(crate) fn new(width: usize, texts: usize) -> Self {
        Self { width, items: I::default(), ends: Vec::with_capacity(texts), rows: Vec::with_capacity(texts) }
    }

    /// Whether a text's items end here, after those of all texts before it; those before it that are not there have
    /// failed.
    pub(crate) fn end(&mut self, text: usize) {
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.resize(text, before);
        self.ends.push(self.items.len());
    }

    /// That all texts that are not there have failed.
    pub(crate) fn end_all(&mut self) {
        self.ends.resize(self.rows.len(), self.items.len());
    }
}

impl<I> Table<I> {
    /// The same with other items: as many, or what their places are in.
    pub(crate) fn map<J>(self, call: impl FnOnce(I) -> J) -> Table<J> {
        let Self { width, items, ends, rows } = self;
        Table { width, items: call(items), ends, rows }
    }

    /// Which items are a text's.
    ///
    /// # Errors
    /// Why it has none.
    ///
    /// # Panics
    /// If there is no such text.
    pub(crate) fn of(&self, text: usize) -> Result<Range<usize>> {
        match &self.rows[text].error {
            None => Ok(text.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[text]),
            Some(error) => Err(error.clone()),
        }
    }

    /// That no text has failed.
    ///
    /// # Errors
    /// That of the first which has.
    pub(crate) fn all(&self) -> Result<()> {
        match self.rows.iter().find_map(|row| row.error.as_ref()) {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }
}

/// A public handle on a [`Table`], and what all of them say of a row.
macro_rules! results {
    ($(#[$docs:meta])* $name:ident($items:ty)) => {
        $(#[$docs])*
        #[derive(Clone)]
        pub struct $name {
            table: std::sync::Arc<$crate::task::table::Table<$items>>,
        }

        impl $name {
            pub(crate) fn new(table: $crate::task::table::Table<$items>) -> Self {
                Self { table: std::sync::Arc::new(table) }
            }

            /// How many rows there are: as many as texts were given.
            pub fn rows(&self) -> usize {
                self.table.rows.len()
            }

            /// How many tokens row `row` has, special ones included, after it was cut; 0 if it could not be tokenised.
            ///
            /// # Panics
            /// If there is no such row.
            pub fn tokens(&self, row: usize) -> usize {
                self.table.rows[row].tokens
            }

            /// Whether row `row` had more tokens than the model takes, so that some were cut off.
            ///
            /// # Panics
            /// If there is no such row.
            pub fn cut(&self, row: usize) -> bool {
                self.table.rows[row].cut
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}{:?}", stringify!($name), self.table)
            }
        }
    };
}
pub(crate) use results;

impl<I> fmt::Debug for Table<I> {
    /// Its measures; the name of the result comes before them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.rows.iter().filter(|row| row.error.is_some()).count();
        write!(f, "([{}, {}], {failed} of them failed)", self.rows.len(), self.width)
    }
}
