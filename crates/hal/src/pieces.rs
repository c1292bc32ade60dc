//! Memory for what lists bring along and report, in few driver allocations, however many lists there are.
//!
//! A *segment* is one of the driver's allocations, which the host sees. Each list that is in flight has a *piece* of
//! one, and so has each list that a device has prepared. A piece is given back when it is dropped, and what is given
//! back is whole again (`buddies`). When no segment has room, one more is made, `GROWTH` times as long, until there
//! are [`SEGMENTS`]: what a device takes is bounded, and settles after a few lists.
//!
//! Two locks: one for which parts are taken, for a moment; one for growing, for the driver's call, which only those
//! wait for who found no room.

mod buddies;

use crate::{Error, Overhead, Result};
use buddies::Buddies;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most segments of a device.
pub const SEGMENTS: usize = 4;
/// Bytes of the first segment: enough for what a few streams have in flight.
const FIRST: u64 = 256 << 10;
/// How much longer each segment is than the one before: the four have 146 MiB, if no piece is longer. A list of 256
/// kernels takes 16 KiB on most devices, and 32 of them are in flight on each of 256 streams, at most: 128 MiB.
const GROWTH: u64 = 8;
/// Every piece starts at a multiple of this many bytes, which is what any device asks of a binding, and is as long.
const UNIT: u64 = crate::BINDING_ALIGNMENT;
/// The most bytes that are [kept](Pieces::keep).
const MOST_KEPT: u64 = 16 << 20;

/// A driver allocation that the host sees.
///
/// # Safety
/// - [`start`](Self::start) is the same each time, and so many bytes behind it as the segment was made with can be read
///   and written for as long as it lives.
/// - It is a multiple of 8.
pub unsafe trait Segment: Send + Sync + 'static {
    /// Where the host sees its first byte.
    fn start(&self) -> NonNull<u8>;
}

/// The segments of one device.
pub struct Pieces<S> {
    /// The device's name in errors.
    device: &'static str,
    make: Box<dyn Fn(u64) -> Result<S> + Send + Sync>,
    overhead: Arc<Overhead>,
    state: Mutex<State<S>>,
    /// Held while a segment is made.
    growth: Mutex<()>,
}

struct State<S> {
    segments: Vec<Row<S>>,
    /// Bytes that are kept.
    kept: u64,
}

struct Row<S> {
    segment: Arc<S>,
    bytes: u64,
    taken: Buddies,
}

impl<S: Segment> Pieces<S> {
    /// The pieces of a device, with a first segment. `make` has the driver allocate one of so many bytes, a power of
    /// two; it is called with nothing locked that a piece's drop takes. `overhead` counts what is made.
    ///
    /// # Errors
    /// What `make` says.
    pub fn new(
        device: &'static str,
        overhead: &Arc<Overhead>,
        make: impl Fn(u64) -> Result<S> + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let state = Mutex::new(State { segments: Vec::with_capacity(SEGMENTS), kept: 0 });
        let (make, overhead) = (Box::new(make), Arc::clone(overhead));
        let pieces = Self { device, make, overhead, state, growth: Mutex::default() };
        pieces.grow(UNIT)?;
        Ok(Arc::new(pieces))
    }

    /// A piece with at least so many bytes, for a list that is about to be submitted. What is in it is not defined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there are as many segments as may be and none has room; what the driver says of one
    /// more.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Piece<S>> {
        self.piece(bytes, false)
    }

    /// As [`take`](Self::take), for something that lives long. Such pieces have 16 MiB at most, so that there is always
    /// room for the others.
    ///
    /// # Errors
    /// As for [`take`](Self::take), and [`Error::OutOfMemory`] if those 16 MiB are kept.
    pub fn keep(self: &Arc<Self>, bytes: u64) -> Result<Piece<S>> {
        self.piece(bytes, true)
    }

    fn piece(self: &Arc<Self>, bytes: u64, kept: bool) -> Result<Piece<S>> {
        let full = || Error::OutOfMemory { device: self.device.to_owned(), bytes };
        let length = bytes.max(UNIT).checked_next_power_of_two().ok_or_else(full)?;
        if let Some(piece) = self.find(length, kept) {
            return Ok(piece);
        }
        let _turn = lock(&self.growth);
        loop {
            // The thread that had the turn before has made room, perhaps; others may have taken it.
            if let Some(piece) = self.find(length, kept) {
                return Ok(piece);
            }
            let state = lock(&self.state);
            if state.segments.len() == SEGMENTS || (kept && state.kept + length > MOST_KEPT) {
                return Err(full());
            }
            drop(state);
            self.grow(length)?;
        }
    }

    /// A piece of the first segment that has room.
    fn find(self: &Arc<Self>, length: u64, kept: bool) -> Option<Piece<S>> {
        let mut state = lock(&self.state);
        if kept && state.kept + length > MOST_KEPT {
            return None;
        }
        let order = (length / UNIT).ilog2();
        let mut rows = state.segments.iter_mut().enumerate();
        let (index, segment, unit) = rows.find_map(|(index, row)| {
            let unit = row.taken.take(order)?;
            Some((index, Arc::clone(&row.segment), unit))
        })?;
        state.kept += if kept { length } else { 0 };
        Some(Piece { home: Arc::clone(self), segment, index, offset: unit as u64 * UNIT, length, kept })
    }

    /// One more segment, for pieces of this length at least. In the caller's turn.
    fn grow(&self, length: u64) -> Result<()> {
        let last = lock(&self.state).segments.last().map(|row| row.bytes);
        let bytes = last.map_or(FIRST, |bytes| bytes * GROWTH).max(length);
        let segment = Arc::new((self.make)(bytes)?);
        self.overhead.add(bytes);
        let taken = Buddies::new((bytes / UNIT).ilog2());
        lock(&self.state).segments.push(Row { segment, bytes, taken });
        Ok(())
    }
}

impl<S> fmt::Debug for Pieces<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("device", &self.device).finish_non_exhaustive()
    }
}

/// A piece of a segment. Dropped, it is somebody else's.
pub struct Piece<S> {
    home: Arc<Pieces<S>>,
    segment: Arc<S>,
    /// The segment's.
    index: usize,
    offset: u64,
    length: u64,
    kept: bool,
}

impl<S: Segment> Piece<S> {
    /// The segment that it is in, and where it starts there.
    pub fn place(&self) -> (&S, u64) {
        (&self.segment, self.offset)
    }

    /// Its bytes at an offset.
    fn at(&self, offset: u64, bytes: usize) -> NonNull<u8> {
        debug_assert!(offset + bytes as u64 <= self.length, "{bytes} bytes at {offset} of {}", self.length);
        // SAFETY: the piece lies inside its segment, which is mapped whole ([`Segment`]); the offset lies inside the
        // piece, by the promise of each caller's caller.
        unsafe { self.segment.start().add((self.offset + offset) as usize) }
    }

    /// Writes zeros to its first bytes.
    ///
    /// # Safety
    /// - It has as many bytes.
    /// - Whatever was submitted with it has run.
    pub unsafe fn clear(&self, bytes: u64) {
        // SAFETY: inside the piece, which nobody else uses, by the caller's promises.
        unsafe { self.at(0, bytes as usize).write_bytes(0, bytes as usize) };
    }

    /// Writes bytes at an offset.
    ///
    /// # Safety
    /// - They lie inside the piece.
    /// - Whatever was submitted with it has run.
    pub unsafe fn write(&self, offset: u64, from: &[u8]) {
        // SAFETY: inside the piece, which nobody else uses, by the caller's promises.
        unsafe { self.at(offset, from.len()).copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
    }

    /// The words at an offset.
    ///
    /// # Safety
    /// - The offset is a multiple of 8, and the words lie inside the piece.
    /// - Whatever was submitted with it has run, and its writes are visible to the host.
    pub unsafe fn read(&self, offset: u64) -> [u32; 2] {
        debug_assert!(offset.is_multiple_of(8));
        // SAFETY: inside the piece, and aligned, since segments and pieces start at multiples of 8; written by the
        // host, and by the device if at all before it was done, by the caller's promises.
        unsafe { self.at(offset, 8).cast::<[u32; 2]>().read_volatile() }
    }
}

impl<S> Drop for Piece<S> {
    fn drop(&mut self) {
        let mut state = lock(&self.home.state);
        let order = (self.length / UNIT).ilog2();
        state.segments[self.index].taken.give_back((self.offset / UNIT) as usize, order);
        state.kept -= if self.kept { self.length } else { 0 };
    }
}

/// A panic elsewhere leaves nothing half-changed behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
