//! Taking back what nobody uses: from the streams and from limbo into the arena, and from the arena to the device.

use super::heap::Block;
use crate::device::DeviceCore;
use crate::patience::Patience;
use crate::stream::core::StreamCore;
use std::sync::Arc;

impl DeviceCore {
    /// Settles what has completed, on every stream.
    pub(crate) fn retire_all(&self) {
        for stream in self.streams() {
            // An open edge keeps a list from settling; what it uses then stays.
            let _ = stream.retire(self, u64::MAX);
        }
    }

    /// Everything that is settled and that nobody uses, into the arena. Locks every recorder in turn.
    pub(crate) fn gather(&self) {
        // Nothing is enough.
        self.gather_until(|| None::<()>);
    }

    /// What `look` finds, which is called again whenever some of that has come into the arena. What streams keep spares
    /// them misses: no more of them lose it than it takes.
    pub(super) fn gather_until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        self.retire_all();
        self.collect_limbo();
        let streams: Vec<_> = self.streams().collect();
        let (before, from) = streams.split_at(self.memory.next_hand(streams.len()));
        from.iter().chain(before).find_map(|stream| if self.reclaim(stream) { look() } else { None }).or_else(look)
    }

    /// A stream's blocks that are free and settled, into the arena. Says whether there were any.
    pub(super) fn reclaim(&self, stream: &StreamCore) -> bool {
        let mut recorder = stream.recorder.lock();
        recorder.heap.fetch(&stream.returns);
        let blocks = recorder.heap.take_settled(|stream| self.stream(stream).settled());
        if !blocks.is_empty() {
            // They go from the one to the other under both locks, so a thread that asks everybody in turn, the arena
            // last, finds them.
            let mut arena = self.memory.arena.lock();
            // What lies side by side goes at once.
            let is_next = |first: &Block, next: &Block| {
                (first.segment, first.offset + first.bytes, first.raw) == (next.segment, next.offset, next.raw)
            };
            for run in blocks.chunk_by(|first, next| is_next(first, next)) {
                let bytes = run.iter().map(|block| block.bytes).sum();
                arena.give_back(run[0].segment, run[0].offset, bytes, run[0].raw);
            }
        }
        drop(recorder);
        self.memory.count_reclaimed(blocks.len() as u64);
        !blocks.is_empty()
    }

    /// Frees what was dropped of frozen storage and graphs and has settled by now: every list that can name it was
    /// recorded before it was dropped.
    pub(crate) fn collect_limbo(&self) {
        let Some(end) = self.memory.arena.lock().limbo_end() else { return };
        let values = Arc::from(self.last_values());
        let settled = |stream: u32| self.stream(stream).settled();
        #[cfg(test)]
        let settled = |stream: u32| if self.sabotage.empties_limbo_at_once() { u64::MAX } else { settled(stream) };
        let memories = self.memory.arena.lock().leave_limbo(end, &values, settled);
        drop(memories); // driver calls, with no lock held
    }

    /// Gives memory back to the device that nobody uses.
    pub(crate) fn trim(&self) {
        self.gather();
        self.give_back_whole(u64::MAX);
    }

    /// Gives segments back to the device that are wholly free, as many as it takes for so many bytes.
    /// Says how many bytes went.
    pub(super) fn give_back_whole(&self, bytes: u64) -> u64 {
        let memories = self.memory.arena.lock().take_whole(bytes);
        memories.iter().map(|memory| memory.bytes()).sum()
        // Dropped here, which calls the driver, with no lock held.
    }

    /// Takes back what nobody has used since the last call: what streams keep that have allocated nothing, and segments
    /// that were wholly free all the time. Says whether there is something for the next.
    pub(crate) fn decay(&self) -> bool {
        self.retire_all();
        self.collect_limbo();
        let mut owned = 0;
        for stream in self.streams() {
            let idle = stream.recorder.lock().heap.was_idle();
            if idle {
                // What was recorded and forgotten keeps its memory otherwise. Whoever is submitting there does it too.
                let _ = stream.flush(self, Patience::Never);
                self.reclaim(stream);
            }
            owned += stream.recorder.lock().heap.owned;
        }
        let mut arena = self.memory.arena.lock();
        let (bytes, memories) = arena.decay();
        let whole = arena.whole().0;
        drop(arena);
        self.memory.count_decayed(bytes);
        drop(memories); // driver calls, with no lock held
        owned > 0 || whole > 0
    }
}
