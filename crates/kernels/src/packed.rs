//! Sequences of different lengths, one after the other without padding.

use crate::kernel::Outcome;
use thalweg_hal::KernelFailure;

/// Fails unless `offsets` cut `n` rows into `sequences` pieces, none of them empty: `sequences + 1` numbers that rise
/// from 0 to `n`.
pub(crate) fn check_offsets(offsets: &[u32], sequences: u32, n: usize) -> Outcome {
    let fail = |message: String| Err(KernelFailure::new(message));
    if offsets.len() as u64 != u64::from(sequences) + 1 {
        return fail(format!("{} offsets for {sequences} sequences, expected one more than sequences", offsets.len()));
    }
    if let Some(at) = offsets.windows(2).position(|pair| pair[0] >= pair[1]) {
        let (start, end) = (offsets[at], offsets[at + 1]);
        return fail(format!("sequence {at} is rows {start}..{end}; offsets must rise"));
    }
    match (offsets.first(), offsets.last()) {
        (Some(0), Some(last)) if *last as usize == n => Ok(()),
        (Some(first), Some(last)) => fail(format!("offsets run from {first} to {last}, expected 0 to {n}")),
        _ => fail("no offsets, expected at least one".to_owned()),
    }
}
