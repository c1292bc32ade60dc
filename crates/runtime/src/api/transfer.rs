//! The ways of data between the host and a device.
//!
//! | the host sees the device's memory | upload | read |
//! |---|---|---|
//! | as its own | it writes a block that nothing uses any more | it waits for the last write, and reads |
//! | over a bus | the same | the same for a little; else through staging |
//! | not at all | through staging | through staging |
//!
//! A download, which does not wait, goes through staging everywhere: it keeps neither the storage nor its bytes.
//!
//! *Staging* is memory of the host's kind: blocks of the stream's like others, with uses, out of segments of a pool
//! of their own. A piece of data is copied between the host and a block of it at once, and between that and its place
//! by a command. The block goes back to its stream when the copy is recorded (an upload) or its bytes have been fetched
//! (a download); its last uses stay with it (I5). Pieces are short, so that a copy that needs more
//! than staging has goes on piece by piece.

use super::device::Lease;
use super::event::Event;
use super::storage::{Operand, Storage};
use crate::base::error::{Error, Result};
use crate::base::sync::yield_now;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::Engine;
use crate::engine::span::PoolSpan;
use crate::memory::arena::{DEFAULT, Owner, PoolId};
use crate::memory::device_memory::DeviceMemory;
use crate::memory::heap::Purpose;
use crate::memory::shortage::{Shortage, UnderWay};
use crate::order::results::{DOWNLOAD, UPLOAD};
use crate::order::uses::Write;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thalweg_hal::{Access, BINDING_ALIGNMENT, HostAccess, MemoryKind};

/// The longest piece.
const PIECE: u64 = 1 << 20;
/// Up to here the host reads memory over a bus itself: a command takes longer.
const DIRECT_READ: usize = 16 << 10;
/// What the host writes behind its data.
static ZEROS: [u8; 4096] = [0; 4096];

impl DeviceMemory {
    /// The longest piece that is copied by one command: staging has room for several.
    fn piece(&self) -> u64 {
        PIECE.min(self.staging_limit / 4 / BINDING_ALIGNMENT * BINDING_ALIGNMENT).max(BINDING_ALIGNMENT)
    }

    /// How much is downloaded at a time where there is more: half of staging, so that others have room too.
    pub(super) fn most_staged(&self) -> u64 {
        (self.staging_limit / 2 / self.piece()).max(1) * self.piece()
    }
}

/// Whether the host reads so many bytes of a kind of memory by itself.
pub(super) fn is_seen(engine: &Engine, kind: MemoryKind, bytes: usize) -> bool {
    match (kind, engine.hal.info().host_access) {
        (MemoryKind::Host, _) | (_, HostAccess::Cached) => true,
        (_, HostAccess::Uncached) => bytes <= DIRECT_READ,
        (_, HostAccess::None) => false,
    }
}

/// Waits for the work that writes a storage which the host sees, and reads it.
pub(super) fn read_seen(storage: &Storage, offset: u64, into: &mut [u8], policy: WaitPolicy) -> Result<()> {
    let engine = &*storage.device().engine;
    for write in storage.writes() {
        engine.wait(write.by.at, policy)?;
        write.result()?;
    }
    // SAFETY: the last write has settled, and was ordered after every earlier one. A new one needs `&mut` (R1, R2).
    unsafe { engine.hal.read(storage.memory(), storage.offset() + offset, into)? };
    Ok(())
}

/// Writes data to the start of a storage that the host sees, and zeros from there to the end of its memory if it is
/// raw.
///
/// # Safety
/// - Nothing uses the storage's bytes, nor those behind them up to `end`, which is where its memory ends.
unsafe fn write_seen(storage: &Storage, data: &[u8], end: u64) -> Result<()> {
    let engine = &*storage.device().engine;
    let (memory, offset) = (storage.memory(), storage.offset());
    // SAFETY: by the caller's promise (W1, W2), here and below.
    unsafe { engine.hal.write(memory, offset, data)? };
    let mut at = data.len() as u64;
    while at < end {
        let zeros = &ZEROS[..(ZEROS.len() as u64).min(end - at) as usize];
        // SAFETY: as above.
        unsafe { engine.hal.write(memory, offset + at, zeros)? };
        at += zeros.len() as u64;
    }
    Ok(())
}

/// Bytes of the lease's stream that hold `data`.
pub(super) fn upload(lease: &Arc<Lease>, data: &[u8], policy: WaitPolicy) -> Result<Storage> {
    let engine = &*lease.device.engine;
    let bytes = data.len() as u64;
    if engine.hal.info().host_access != HostAccess::None {
        let mut storage = Storage::allocate(lease, MemoryKind::Device, bytes, Purpose::HostWrite, policy)?;
        let raw = storage.block_mut().filter(|block| block.raw).map(|block| block.bytes);
        // SAFETY: `allocate` for a host write gives a block without outstanding uses, and it is ours alone.
        unsafe { write_seen(&storage, data, raw.unwrap_or(bytes))? };
        storage.block_mut().into_iter().for_each(|block| block.raw = false);
        return Ok(storage);
    }
    let mut storage = Storage::allocate(lease, MemoryKind::Device, bytes, Purpose::Commands, policy)?;
    let copies = copy_in(lease, &storage, data, bytes, policy)?;
    if let Some(hazard) = storage.hazard_mut().filter(|_| copies.len() > 1) {
        // The last comes after the others, but says nothing of how they went: all of them together are the last write.
        hazard.uses.get_mut().writes = copies.into();
    }
    Ok(storage)
}

/// Memory for bytes that will never change: no block, no uses.
pub(super) fn freeze(lease: &Arc<Lease>, pool: Option<PoolId>, data: &[u8], policy: WaitPolicy) -> Result<Storage> {
    let engine = &*lease.device.engine;
    let bytes = data.len() as u64;
    let span = PoolSpan::take(&lease.device.engine, pool.unwrap_or(DEFAULT), bytes, Owner::Frozen, policy)?;
    let end = if span.is_raw() { span.bytes() } else { bytes };
    let storage = Storage::frozen(Arc::clone(lease), span, bytes);
    // Whatever ends this early leaves a raw span raw, for its next owner to fill.
    let filled = || storage.frozen_span().into_iter().for_each(|span| span.set_filled());
    if engine.hal.info().host_access != HostAccess::None {
        // SAFETY: the span was free, so every use of it has settled, and no command can name the storage yet.
        unsafe { write_seen(&storage, data, end)? };
        filled();
        return Ok(storage);
    }
    let copies = copy_in(lease, &storage, data, end, policy)?;
    // One wait: they are of one stream, so the last settles last.
    if let Some(last) = copies.last() {
        engine.wait(last.by.at, policy)?;
    }
    copies.iter().try_for_each(|copy| copy.result().map_err(Error::from))?;
    filled();
    Ok(storage)
}

/// Copies data to the start of a storage by commands of the lease's stream, and zeros from there to `end`.
fn copy_in(lease: &Arc<Lease>, storage: &Storage, data: &[u8], end: u64, policy: WaitPolicy) -> Result<Vec<Write>> {
    let engine = &*lease.device.engine;
    let piece = engine.memory.piece();
    let mut copies = Vec::new();
    for start in (0..end).step_by(piece as usize) {
        let bytes = piece.min(end - start);
        // Dropped the other way around: what it has is given back before it is said to be.
        let (_under_way, staging) = staging_for_upload(lease, bytes, policy)?;
        let first = data.len().min(start as usize);
        let part = &data[first..data.len().min((start + bytes) as usize)];
        // SAFETY: `allocate` for a host write gives a block without outstanding uses, and it is ours alone.
        unsafe { write_seen(&staging, part, bytes)? };
        let to = Operand { access: Access::Write, ..Operand::read(storage, start, bytes) };
        let operands = [Operand::read(&staging, 0, bytes), to];
        copies.push(engine.transfer(lease.index, UPLOAD, &operands, policy)?);
    }
    Ok(copies)
}

/// A block that nothing uses. Waits for other transfers to give back what they have, if that is all that is missing.
fn staging_for_upload(lease: &Arc<Lease>, bytes: u64, policy: WaitPolicy) -> Result<(UnderWay<'_>, Storage)> {
    let transfers = &lease.device.engine.memory.transfers;
    let mut shortage = Shortage::new(transfers);
    loop {
        shortage.try_again();
        let under_way = transfers.begin();
        match Storage::allocate(lease, MemoryKind::Host, bytes, Purpose::HostWrite, policy) {
            Ok(staging) => return Ok((under_way, staging)),
            Err(error) => {
                under_way.leave();
                shortage.passes(error)?;
                if policy.left() == Some(Duration::ZERO) {
                    return Err(policy.over());
                }
                yield_now();
            }
        }
    }
}

/// Bytes on their way to the host.
#[derive(Debug)]
pub(crate) struct Download {
    /// With how many bytes at its start are not asked for.
    pieces: Vec<(Storage, usize)>,
}

impl Download {
    /// Has a range of a storage copied to staging. Waits for staging if it is short.
    pub(super) fn record(lease: &Arc<Lease>, storage: &Storage, range: Range<u64>, policy: WaitPolicy) -> Result<Self> {
        let engine = &*lease.device.engine;
        let mut pieces = Vec::new();
        let mut at = range.start;
        while at < range.end {
            // Commands copy from multiples of this.
            let start = at / BINDING_ALIGNMENT * BINDING_ALIGNMENT;
            let end = range.end.min(start + engine.memory.piece());
            let mut staging = Storage::allocate(lease, MemoryKind::Host, end - start, Purpose::Commands, policy)?;
            let from = Operand::read(storage, start, end - start);
            let stream = stream_for(engine, storage, lease.index, policy)?;
            engine.transfer(stream, DOWNLOAD, &[from, Operand::write(&mut staging)], policy)?;
            pieces.push((staging, (at - start) as usize));
            at = end;
        }
        Ok(Self { pieces })
    }

    /// What has to have run.
    pub(super) fn events(&self) -> Vec<Event> {
        let writes = self.pieces.iter().flat_map(|(staging, _)| {
            staging.writes().into_iter().map(|write| Event::new(Arc::clone(staging.lease()), write.by.at))
        });
        writes.collect()
    }

    /// Waits until the copies have run.
    pub(super) fn wait(&self, policy: WaitPolicy) -> Result<()> {
        self.events().into_iter().try_for_each(|event| event.wait(policy))
    }

    /// Fetches the bytes. The copies have run.
    pub(super) fn copy_to(&self, into: &mut [u8]) -> Result<()> {
        let mut rest = into;
        for (staging, skip) in &self.pieces {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(staging.bytes() as usize - skip);
            read_seen(staging, *skip as u64, part, WaitPolicy::Never)?;
            rest = behind;
        }
        Ok(())
    }
}

/// The parts of a range that is read through staging one after the other, as much as there is room for at a time.
pub(super) struct Parts<'a> {
    store: &'a DeviceMemory,
    range: Range<u64>,
    /// Where the part begins that was given last, and the next.
    last: u64,
    next: u64,
    most: u64,
    shortage: Shortage<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(store: &'a DeviceMemory, offset: u64, bytes: usize) -> Self {
        let (range, most) = (offset..offset + bytes as u64, store.most_staged());
        Self { store, last: offset, next: offset, most, range, shortage: Shortage::new(&store.transfers) }
    }

    /// The next part of the storage, and where it goes on the host.
    pub(super) fn next(&mut self) -> Option<(Range<u64>, Range<usize>)> {
        self.shortage.try_again();
        // As many pieces as that, which start at multiples of an alignment: one piece is one block, and a caller
        // that is content with one has nothing while it waits.
        let start = self.next / BINDING_ALIGNMENT * BINDING_ALIGNMENT;
        let part = self.next..self.range.end.min(start + self.most);
        (self.last, self.next) = (part.start, part.end);
        let at = |byte: u64| (byte - self.range.start) as usize;
        (!part.is_empty()).then(|| (part.clone(), at(part.start)..at(part.end)))
    }

    /// Gives the last part again.
    pub(super) fn again(&mut self) {
        self.next = self.last;
    }

    /// Gives the last part again because there was no room for it: in single pieces, if it was more; else as long as
    /// other transfers have staging, which they give back.
    ///
    /// # Errors
    /// As for [`Shortage::passes`].
    pub(super) fn short_of_room(&mut self, error: Error, under_way: UnderWay<'_>) -> Result<()> {
        self.again();
        if !matches!(error, Error::OutOfMemory(_)) {
            return Err(error);
        }
        if self.most > self.store.piece() {
            self.most = self.store.piece();
            // Some of the pieces it may have had.
            drop(under_way);
            return Ok(());
        }
        under_way.leave();
        self.shortage.passes(error)
    }
}

/// A future that is ready when it is polled again, which it asks for: a task that has much to do lets others run.
pub fn yield_task() -> impl Future<Output = ()> + Send {
    let mut polled = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// The stream to copy on. While the list of the last write is still open it is the writer's, so that one list holds
/// both; else it is the reader's. So no other stream has to be flushed for the copy.
fn stream_for(engine: &Engine, storage: &Storage, reader: u32, policy: WaitPolicy) -> Result<u32> {
    let Some(hazard) = storage.hazard() else { return Ok(reader) };
    let uses = match policy {
        // The thread that has it may be waiting for the device.
        WaitPolicy::Never => hazard.uses.try_lock().ok_or(Error::Busy)?,
        WaitPolicy::Forever | WaitPolicy::Until(_) => hazard.uses.lock(),
    };
    let open = |write: &&Write| engine.stream(write.by.at.stream).submitted() < write.by.at.value;
    Ok(uses.writes.iter().find(open).map_or(reader, |write| write.by.at.stream))
}
