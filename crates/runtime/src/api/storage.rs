//! The handle to some bytes of a device.

use super::current;
use super::device::{Device, Lease};
use super::event::Event;
use super::graph::Capture;
use super::pending::Pending;
use super::pool::Pool;
use super::stream::Stream;
use super::transfer::{self, Download, Parts};
use crate::base::error::{Error, Result};
use crate::base::fork;
use crate::base::sync::yield_now;
use crate::base::wait_policy::WaitPolicy;
use crate::engine::record::Tracked;
use crate::engine::span::PoolSpan;
use crate::memory::hazard::Hazard;
use crate::memory::heap::{Block, Purpose};
use crate::order::uses::{Uses, Write};
use crate::order::work::Bound;
use bytemuck::Pod;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use thalweg_hal::{Access, Binding, Memory, MemoryKind};

/// The most bytes of a captured storage, which no allocation is asked for yet: so many of them add up without overflow.
const MOST_CAPTURED: u64 = 1 << 48;

/// Bytes on a device, pooled or frozen.
///
/// Reading needs `&Storage`, on any stream and any thread; writing needs `&mut Storage`. Dropping it returns the block
/// to the stream that it came from, at once and without waiting: what still uses the bytes is remembered with them.
///
/// ```
/// # use thalweg_runtime::{Operand, Storage};
/// fn to_write(storage: &mut Storage) -> Operand<'_> {
///     Operand::write(&mut *storage)
/// }
/// ```
///
/// Bytes that somebody else may be reading cannot be written:
///
/// ```compile_fail,E0596
/// # use thalweg_runtime::{Operand, Storage};
/// fn to_write(storage: &Storage) -> Operand<'_> {
///     Operand::write(&mut *storage)
/// }
/// ```
// audit: C16
pub struct Storage {
    lease: Arc<Lease>,
    backing: Backing,
    bytes: u64,
}

/// Where the bytes are.
enum Backing {
    /// Always `Some`, until `drop` takes it.
    Block(Option<Box<Block>>),
    /// Written before anyone could name it and never after. Keeps no uses: its span is not used again before every
    /// list has settled that was recorded before it was dropped, and what keeps its commands for longer, a graph, holds
    /// it too.
    Frozen(Arc<PoolSpan>),
    /// A buffer of a graph that is being captured: a number, without memory.
    Captured { capture: Arc<Capture>, buffer: u32 },
}

impl Storage {
    pub(crate) fn pooled(lease: Arc<Lease>, block: Box<Block>, bytes: u64) -> Self {
        Self { lease, backing: Backing::Block(Some(block)), bytes }
    }

    pub(super) fn frozen(lease: Arc<Lease>, span: PoolSpan, bytes: u64) -> Self {
        Self { lease, backing: Backing::Frozen(Arc::new(span)), bytes }
    }

    /// At least `bytes` bytes of the lease's stream. For commands, what was never written is zeros.
    pub(super) fn allocate(
        lease: &Arc<Lease>,
        kind: MemoryKind,
        bytes: u64,
        purpose: Purpose,
        policy: WaitPolicy,
    ) -> Result<Self> {
        let engine = &*lease.device.engine;
        let block = engine.allocate(lease.index, kind, bytes, purpose, policy)?;
        // From here on a drop returns the block.
        let mut storage = Self::pooled(Arc::clone(lease), block, bytes);
        if purpose == Purpose::Commands
            && let Some(block) = storage.block_mut().filter(|block| block.raw)
        {
            engine.fill(lease.index, block)?;
        }
        Ok(storage)
    }

    /// A new buffer of a capture.
    pub(crate) fn captured_in(lease: &Arc<Lease>, capture: &Arc<Capture>, bytes: u64, input: bool) -> Result<Self> {
        if bytes > MOST_CAPTURED {
            return Err(Error::Malformed { operation: "allocate".into(), what: "more bytes than any device has" });
        }
        let buffer = capture.buffer(bytes, input)?;
        Ok(Self {
            lease: Arc::clone(lease),
            backing: Backing::Captured { capture: Arc::clone(capture), buffer },
            bytes,
        })
    }

    /// How many bytes it has taken of its stream's; none of a stream's, if it is frozen or captured.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block().map_or(0, |block| block.bytes)
    }

    /// The right to the stream that it came from.
    pub(super) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// What keeps the bytes of frozen storage as they are.
    pub(crate) fn frozen_span(&self) -> Option<&Arc<PoolSpan>> {
        match &self.backing {
            Backing::Frozen(span) => Some(span),
            _ => None,
        }
    }

    /// The capture that it belongs to, if any, and its number there.
    pub(crate) fn captured(&self) -> Option<(&Arc<Capture>, u32)> {
        match &self.backing {
            Backing::Captured { capture, buffer } => Some((capture, *buffer)),
            _ => None,
        }
    }

    /// A new buffer of a capture, as long as this.
    pub(crate) fn captured_like(&self, capture: &Arc<Capture>) -> Result<Self> {
        Self::captured_in(&self.lease, capture, self.bytes, false)
    }

    /// Bytes holding `data`, to be read or written. Copies: the caller's slice is free when it returns. Where the host
    /// does not see the device's memory, the data goes through staging, in pieces, with a copy for each on the current
    /// stream; it waits for the device only if memory, or staging
    /// ([`Config::staging_limit`](crate::Config::staging_limit)), is short. In the capture of a graph they are a
    /// constant of it, made as [`frozen_from_bytes`](Self::frozen_from_bytes) does.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says.
    pub fn from_bytes(device: &Device, data: &[u8]) -> Result<Self> {
        let stream = Stream::current(device)?;
        if stream.capture().is_some() {
            return transfer::freeze(&stream.lease, None, data, stream.policy());
        }
        device.check()?;
        transfer::upload(&stream.lease, data, stream.policy())
    }

    /// Bytes holding `data`, never to change: weights. Any number of streams read them without keeping track. Where the
    /// host does not see the device's memory, it waits until the device has copied them (once, whatever their length,
    /// unless staging is short).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or what the device says; [`Error::Busy`] where it would have to wait and may not.
    pub fn frozen_from_bytes(device: &Device, data: &[u8]) -> Result<Self> {
        let stream = Stream::current(device)?;
        transfer::freeze(&stream.lease, None, data, stream.policy())
    }

    /// As [`frozen_from_bytes`](Self::frozen_from_bytes), in memory of a pool, on its device.
    ///
    /// # Errors
    /// As for [`frozen_from_bytes`](Self::frozen_from_bytes).
    pub fn frozen_in(pool: &Pool, data: &[u8]) -> Result<Self> {
        let stream = Stream::current(pool.device())?;
        transfer::freeze(&stream.lease, Some(pool.id()), data, stream.policy())
    }

    /// The length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The device that the bytes are on.
    pub fn device(&self) -> &Device {
        &self.lease.device
    }

    /// Whether the bytes can never change.
    pub fn is_frozen(&self) -> bool {
        matches!(self.backing, Backing::Frozen(_))
    }

    /// Waits for the work that writes these bytes, and copies `into.len()` of them, from `offset`, to the host. Bytes
    /// that nothing has written are whatever their memory held before. Where the host does not see the device's memory,
    /// or more than a little over a bus, it is a [`download`](Self::download), or several in turn where staging is
    /// short.
    ///
    /// After the device was closed, only what the host sees can be read; elsewhere, what was downloaded before.
    ///
    /// # Errors
    /// [`Error::Failed`] if that work failed, [`Error::Malformed`] if the range is not inside the storage; where it
    /// goes through staging, [`Error::OutOfMemory`] if that has no room.
    #[inline]
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check_readable(offset, into.len())?;
        fork::check_fork()?;
        let engine = &*self.lease.device.engine;
        if transfer::is_seen(engine, self.kind(), into.len()) {
            return transfer::read_seen(self, offset, into, WaitPolicy::Forever);
        }
        let stream = Stream::current(&self.lease.device)?;
        let mut parts = Parts::of(&engine.memory, offset, into.len());
        while let Some((range, part)) = parts.next() {
            let under_way = engine.memory.transfers.begin();
            match Download::record(&stream.lease, self, range, WaitPolicy::Forever) {
                Err(error) => {
                    parts.short_of_room(error, under_way)?;
                    yield_now();
                }
                Ok(download) => {
                    download.wait(WaitPolicy::Forever)?;
                    download.copy_to(&mut into[part])?;
                    drop(download);
                    drop(under_way);
                }
            }
        }
        Ok(())
    }

    /// As [`read`](Self::read), for async tasks: gives the bytes when they are there. Keeps no thread waiting for the
    /// device; only if another thread is recording on these bytes at that moment, for as long as that takes.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub async fn read_async(&self, offset: u64, bytes: usize) -> Result<Vec<u8>> {
        self.check_readable(offset, bytes)?;
        fork::check_fork()?; // before any lock
        let engine = &*self.lease.device.engine;
        let mut into = vec![0; bytes];
        if transfer::is_seen(engine, self.kind(), bytes) {
            for write in self.writes() {
                Event::new(Arc::clone(&self.lease), write.by.at).finished().await?;
            }
            fork::check_fork()?;
            transfer::read_seen(self, offset, &mut into, WaitPolicy::Forever)?;
            return Ok(into);
        }
        let mut parts = Parts::of(&engine.memory, offset, bytes);
        while let Some((range, part)) = parts.next() {
            // The task may be on another thread by now.
            let lease = Arc::clone(&Stream::current(&self.lease.device)?.lease);
            let under_way = engine.memory.transfers.begin();
            match Download::record(&lease, self, range, WaitPolicy::Never) {
                // Staging is short, or somebody has the bytes.
                Err(Error::Busy) => {
                    drop(under_way);
                    parts.again();
                    self.lease.device.finished().await?;
                }
                Err(error) => {
                    parts.short_of_room(error, under_way)?;
                    transfer::yield_task().await;
                }
                Ok(download) => {
                    for event in download.events() {
                        event.finished().await?;
                    }
                    fork::check_fork()?;
                    download.copy_to(&mut into[part])?;
                    drop(download);
                    drop(under_way);
                }
            }
        }
        Ok(into)
    }

    /// Has `bytes` bytes from `offset` copied to the host: by a command, behind the work that writes them, in its list
    /// where that is still open. Recorded like any operation: it returns at once. What it gives keeps neither these
    /// bytes nor the caller, so they may be written again, or dropped. All of it goes through staging at once: no more
    /// than [`Config::staging_limit`](crate::Config::staging_limit) can be under way.
    ///
    /// # Errors
    /// As for any operation; [`Error::Malformed`] if the range is not inside the storage; [`Error::OutOfMemory`] if
    /// staging has no room. That the work failed is told by what it gives.
    pub fn download(&self, offset: u64, bytes: usize) -> Result<Pending<Vec<u8>>> {
        self.download_as(offset, bytes)
    }

    /// The same as elements, so many of them.
    ///
    /// # Errors
    /// As for [`download`](Self::download).
    pub fn download_as<T: Pod + Send + Sync>(&self, offset: u64, elements: usize) -> Result<Pending<Vec<T>>> {
        self.check_readable(offset, elements.saturating_mul(size_of::<T>()))?;
        fork::check_fork()?;
        let stream = Stream::current(&self.lease.device)?;
        if stream.capture().is_some() {
            return Err(stream.refuse("a download"));
        }
        let under_way = self.lease.device.engine.memory.transfers.begin();
        let end = offset + (elements * size_of::<T>()) as u64;
        let download = Download::record(&stream.lease, self, offset..end, stream.policy())?;
        under_way.leave();
        Ok(Pending::new(download.events(), move || {
            let mut into = vec![T::zeroed(); elements];
            download.copy_to(bytemuck::cast_slice_mut(&mut into))?;
            Ok(into)
        }))
    }

    /// As [`download_as`](Self::download_as), but keeps the storage until the elements are fetched: that costs no copy
    /// on the device and no staging where the host sees so many bytes of its memory.
    ///
    /// # Errors
    /// As for [`download`](Self::download).
    pub fn fetch<T: Pod + Send + Sync>(self: Arc<Self>, offset: u64, elements: usize) -> Result<Pending<Vec<T>>> {
        let bytes = elements.saturating_mul(size_of::<T>());
        self.check_readable(offset, bytes)?;
        fork::check_fork()?;
        current::check_capturable(&self.lease.device, "a download")?;
        if !transfer::is_seen(&self.lease.device.engine, self.kind(), bytes) {
            return self.download_as(offset, elements);
        }
        let writes = match (self.hazard(), current::policy(&self.lease.device)) {
            (None, _) => SmallVec::new(),
            // The thread that has it may be waiting for the device.
            (Some(hazard), WaitPolicy::Never) => hazard.uses.try_lock().ok_or(Error::Busy)?.writes.clone(),
            (Some(hazard), _) => hazard.uses.lock().writes.clone(),
        };
        let events = writes.iter().map(|write| Event::new(Arc::clone(&self.lease), write.by.at)).collect();
        Ok(Pending::new(events, move || {
            let mut into = vec![T::zeroed(); elements];
            // What writes them has run.
            transfer::read_seen(&self, offset, bytemuck::cast_slice_mut(&mut into), WaitPolicy::Never)?;
            Ok(into)
        }))
    }

    fn check_readable(&self, offset: u64, bytes: usize) -> Result<()> {
        if let Some((capture, _)) = self.captured() {
            return Err(capture.refuse("reading back"));
        }
        if offset.checked_add(bytes as u64).is_none_or(|end| end > self.bytes) {
            let what = "the range ends past the storage";
            return Err(Error::Malformed { operation: "read".into(), what });
        }
        Ok(())
    }

    /// The last writes of the bytes.
    pub(super) fn writes(&self) -> SmallVec<[Write; 1]> {
        self.hazard().map_or_else(SmallVec::new, |hazard| hazard.uses.lock().writes.clone())
    }

    /// Where the uses of the bytes are kept: nowhere, if frozen.
    pub(crate) fn hazard(&self) -> Option<&Hazard> {
        self.block().map(|block| &block.hazard)
    }

    /// As [`hazard`](Self::hazard), for the only owner of the bytes.
    pub(super) fn hazard_mut(&mut self) -> Option<&mut Hazard> {
        self.block_mut().map(|block| &mut block.hazard)
    }

    /// What its memory is for.
    fn kind(&self) -> MemoryKind {
        self.block().map_or(MemoryKind::Device, |block| block.zone.kind())
    }

    /// The block, if pooled.
    pub(super) fn block_mut(&mut self) -> Option<&mut Block> {
        match &mut self.backing {
            Backing::Block(block) => block.as_deref_mut(),
            Backing::Frozen(_) | Backing::Captured { .. } => None,
        }
    }

    /// The same to look at.
    fn block(&self) -> Option<&Block> {
        match &self.backing {
            Backing::Block(block) => block.as_deref(),
            Backing::Frozen(_) | Backing::Captured { .. } => None,
        }
    }

    /// The memory that the bytes are in. The caller has made sure that the storage is not a captured one, which has
    /// none.
    #[inline]
    pub(crate) fn memory(&self) -> &Arc<dyn Memory> {
        match &self.backing {
            Backing::Block(block) => &block.as_ref().expect("taken only by drop").memory,
            Backing::Frozen(span) => span.memory(),
            Backing::Captured { .. } => unreachable!("a captured storage is refused wherever memory is needed"),
        }
    }

    /// Where the bytes start in their memory.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        match &self.backing {
            Backing::Block(block) => block.as_ref().expect("taken only by drop").offset,
            Backing::Frozen(span) => span.offset(),
            Backing::Captured { .. } => 0,
        }
    }
}

impl Bound for Operand<'_> {
    #[inline]
    fn memory(&self) -> &Arc<dyn Memory> {
        self.storage.memory()
    }

    #[inline]
    fn binding(&self, memory: u32) -> Binding {
        let Self { storage, access, offset, bytes, .. } = *self;
        Binding { memory, access, offset: storage.offset() + offset, bytes }
    }
}

impl Tracked for Operand<'_> {
    #[inline]
    fn hazards(&self) -> &[Hazard] {
        self.hazards
    }

    #[inline]
    fn access(&self) -> Access {
        self.access
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        let engine = &*self.lease.device.engine;
        match &mut self.backing {
            // A forked child has none of the threads that could free the lock; what it drops is leaked.
            Backing::Block(block) if fork::forked() => std::mem::forget(block.take()),
            Backing::Block(block) => {
                if let Some(block) = block.take() {
                    let bytes = block.bytes;
                    engine.memory.heap(self.lease.index).give_back(block);
                    engine.trace.freed(self.lease.index, bytes);
                }
            }
            Backing::Frozen(_) | Backing::Captured { .. } => {}
        }
    }
}

/// A part of a storage as an operand of an operation.
///
/// Reading borrows the storage, writing borrows it mutably: memory that somebody else can name cannot be written. The
/// one exception is [`MutableStorage`](crate::MutableStorage).
///
/// ```
/// # use thalweg_runtime::{Operand, Result, Storage, Stream, Work};
/// fn fill(stream: &Stream, mut storage: Storage) -> Result<()> {
///     let operand = Operand::write(&mut storage);
///     stream.record(&Work::Fill(0), &[operand])?;
///     drop(storage);
///     Ok(())
/// }
/// ```
///
/// It does not outlive its storage:
///
/// ```compile_fail,E0505
/// # use thalweg_runtime::{Operand, Result, Storage, Stream, Work};
/// fn fill(stream: &Stream, mut storage: Storage) -> Result<()> {
///     let operand = Operand::write(&mut storage);
///     drop(storage);
///     stream.record(&Work::Fill(0), &[operand])?;
///     Ok(())
/// }
/// ```
// audit: C15
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub(crate) storage: &'a Storage,
    /// Where the uses of the bytes are kept; nowhere, if they are frozen.
    pub(crate) hazards: &'a [Hazard],
    pub(crate) access: Access,
    /// First byte within the storage.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) bytes: u64,
}

impl<'a> Operand<'a> {
    /// `bytes` bytes to read, from `offset`, which is a multiple of 256.
    #[inline]
    pub fn read(storage: &'a Storage, offset: u64, bytes: u64) -> Self {
        let hazards = storage.hazard().map_or(&[][..], std::slice::from_ref);
        Self { storage, hazards, access: Access::Read, offset, bytes }
    }

    /// All bytes of the storage, to be written.
    pub fn write(storage: &'a mut Storage) -> Self {
        Self { access: Access::Write, ..Self::read(storage, 0, storage.bytes) }
    }

    /// All bytes of the storage, to be changed in place.
    pub fn update(storage: &'a mut Storage) -> Self {
        Self { access: Access::ReadWrite, ..Self::read(storage, 0, storage.bytes) }
    }

    /// The first `bytes` bytes of it alone; all of it, if it has no more. What lies behind them in a storage that is
    /// written is undefined afterwards.
    pub fn first(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.min(bytes), ..self }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.backing {
            Backing::Block(_) => "",
            Backing::Frozen(_) => "frozen, ",
            Backing::Captured { .. } => "captured, ",
        };
        write!(f, "Storage({kind}{} bytes on {})", self.bytes, self.device().info().name)
    }
}

impl fmt::Debug for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storage, access, offset, bytes, .. } = self;
        write!(f, "Operand({access:?} {bytes} bytes from {offset} of {storage:?})")
    }
}

/// For `Storage` to be shared between threads, its uses must be under a lock; checked here once.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Storage>();
    shared::<Uses>();
};
