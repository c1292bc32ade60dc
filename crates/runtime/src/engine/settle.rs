//! From the signal to the result.
//!
//! A list settles in the order of its stream's timeline. The results are entered before `settled` rises (I7), so a
//! thread that sees the value finds them.
//!
//! Anyone may settle. It is idempotent, takes no lock but those of lists in flight, and holds them for a few
//! instructions at a time unless something failed; what the lists held is dropped outside.

use super::Engine;
use crate::order::point::Point;

impl Engine {
    /// Settles what has completed of a stream, up to a list.
    ///
    /// # Errors
    /// The list that has not settled yet and keeps the next from settling, which reads it.
    pub(crate) fn settle(&self, at: Point) -> Result<(), Point> {
        let stream = self.stream(at.stream);
        if stream.settled() >= at.value {
            return Ok(());
        }
        let completed = stream.timeline.completed().min(at.value);
        while stream.settled() < completed {
            // The lists read from settle first, with our lock released: theirs and ours have no order. This ends,
            // because they were submitted before this list (I1).
            for other in stream.in_flight.read_from(at.stream) {
                self.settle(other)?;
                if self.settled(other.stream) < other.value {
                    return Err(other);
                }
            }
            // Before it can be seen, so that a thread that has waited for the list finds it in the profile.
            let see = |settled: &_| self.trace.settled(settled);
            let settled =
                stream.in_flight.settle_front(completed, &*stream.timeline, |stream| self.settled(stream), see);
            let Some(settled) = settled else { return Ok(()) };
            stream.in_flight.recycle(settled.list);
        }
        Ok(())
    }
}
