//! How alike two embeddings are.

use std::fmt;

/// What is computed of two vectors: the greater, the more alike they are. On the host, in f64, to f32 at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Similarity {
    /// The cosine of the angle between them.
    #[default]
    Cosine,
    /// Their inner product.
    Dot,
    /// The Euclidean distance, negative.
    Euclidean,
    /// The sum of the elements' distances, negative.
    Manhattan,
}

impl Similarity {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Cosine, Self::Dot, Self::Euclidean, Self::Manhattan];

    /// The one that a model's `similarity_fn_name` means: "cosine", "dot", "euclidean" or "manhattan".
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|similarity| similarity.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
            Self::Manhattan => "manhattan",
        }
    }

    /// Of two vectors.
    ///
    /// # Panics
    /// If their lengths differ.
    pub fn of(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of two lengths have no similarity");
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let similarity = match self {
            Self::Cosine => pairs().map(|(a, b)| a * b).sum::<f64>() / (length(a) * length(b)),
            Self::Dot => pairs().map(|(a, b)| a * b).sum(),
            Self::Euclidean => -pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Self::Manhattan => -pairs().map(|(a, b)| (a - b).abs()).sum::<f64>(),
        };
        similarity as f32
    }

    /// Of each row of one matrix and each of the other, `[rows of a, rows of b]` in row-major order. Both are
    /// row-major, and their rows have `width` elements.
    ///
    /// # Panics
    /// If a length is no multiple of the width, or the width is 0.
    pub fn matrix(self, a: &[f32], b: &[f32], width: usize) -> Vec<f32> {
        let whole = a.len().is_multiple_of(width) && b.len().is_multiple_of(width);
        assert!(width > 0 && whole, "matrices of {} and {} elements have no rows of {width}", a.len(), b.len());
        let row = |a| b.chunks_exact(width).map(move |b| self.of(a, b));
        a.chunks_exact(width).flat_map(row).collect()
    }
}

impl fmt::Display for Similarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The length of a vector, but for what would divide by nothing.
fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of sentence-transformers' `util.similarity`.
    #[test]
    fn each_way_as_the_reference() {
        let (a, b) = ([1.0, 2.0, -2.0, 0.5, 0.0, 3.0], [0.5, -1.0, 2.0, 0.0, 0.0, 0.0]);
        let near = |similarity: Similarity, expected: [f32; 4]| {
            let matrix = similarity.matrix(&a, &b, 3);
            let close = matrix.iter().zip(expected).all(|(given, expected)| (given - expected).abs() < 1e-6);
            assert!(close, "{similarity}: {matrix:?}");
        };
        near(Similarity::Cosine, [-0.800_132_3, 0.0, 0.896_869_9, 0.0]);
        near(Similarity::Dot, [-5.5, 0.0, 6.25, 0.0]);
        near(Similarity::Euclidean, [-5.024_937_6, -3.0, -std::f32::consts::SQRT_2, -3.041_381_4]);
        near(Similarity::Manhattan, [-7.5, -5.0, -2.0, -3.5]);
        for similarity in Similarity::ALL {
            assert_eq!(Similarity::named(similarity.name()), Some(similarity));
        }
        assert_eq!(Similarity::named("maxsim"), None);
    }
}
