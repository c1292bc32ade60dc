//! Taking back what nobody uses: from the streams and from limbo into the arena, and from the arena to the device.

use super::device_memory::DeviceMemory;
use super::heap::{Block, StreamHeap};
use super::lists::Lists;
use std::sync::Arc;

impl DeviceMemory {
    /// Everything that is settled and that nobody uses, into the arena. Locks every heap in turn.
    pub(crate) fn gather(&self, lists: &impl Lists) {
        // Nothing is enough.
        self.gather_until(lists, || None::<()>);
    }

    /// What `look` finds, which is called again whenever some of that has come into the arena. What streams keep spares
    /// them misses: no more of them lose it than it takes.
    pub(super) fn gather_until<T>(&self, lists: &impl Lists, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        lists.settle_all();
        self.collect_limbo(lists);
        let heaps: Vec<_> = self.heaps().map(|(_, heap)| heap).collect();
        let (before, from) = heaps.split_at(self.next_hand(heaps.len()));
        from.iter().chain(before).find_map(|heap| if self.reclaim(heap, lists) { look() } else { None }).or_else(look)
    }

    /// A stream's blocks that are free and settled, into the arena. Says whether there were any.
    pub(super) fn reclaim(&self, StreamHeap { heap, returns }: &StreamHeap, lists: &impl Lists) -> bool {
        let mut heap = heap.lock();
        heap.fetch(returns);
        let blocks = heap.take_settled(|stream| lists.settled(stream));
        if !blocks.is_empty() {
            // They go from the one to the other under both locks, so a thread that asks everybody in turn, the arena
            // last, finds them.
            let mut arena = self.arena.lock();
            // What lies side by side goes at once.
            let is_next = |first: &Block, next: &Block| {
                (first.segment, first.offset + first.bytes, first.raw) == (next.segment, next.offset, next.raw)
            };
            for run in blocks.chunk_by(|first, next| is_next(first, next)) {
                let bytes = run.iter().map(|block| block.bytes).sum();
                arena.give_back(run[0].segment, run[0].offset, bytes, run[0].raw);
            }
        }
        drop(heap);
        self.count_reclaimed(blocks.len() as u64);
        !blocks.is_empty()
    }

    /// Frees what was dropped of frozen storage and graphs and has settled by now: every list that can name it was
    /// recorded before it was dropped.
    pub(crate) fn collect_limbo(&self, lists: &impl Lists) {
        let Some(end) = self.arena.lock().limbo_end() else { return };
        let values = Arc::from(lists.last());
        let settled = |stream: u32| lists.settled(stream);
        #[cfg(test)]
        let settled = |stream: u32| if self.sabotage.empties_limbo_at_once() { u64::MAX } else { settled(stream) };
        let memories = self.arena.lock().leave_limbo(end, &values, settled);
        drop(memories); // driver calls, with no lock held
    }

    /// Gives memory back to the device that nobody uses.
    pub(crate) fn trim(&self, lists: &impl Lists) {
        self.gather(lists);
        self.give_back_whole(u64::MAX);
    }

    /// Gives segments back to the device that are wholly free, as many as it takes for so many bytes.
    /// Says how many bytes went.
    pub(super) fn give_back_whole(&self, bytes: u64) -> u64 {
        let memories = self.arena.lock().take_whole(bytes);
        memories.iter().map(|memory| memory.bytes()).sum()
        // Dropped here, which calls the driver, with no lock held.
    }

    /// Takes back what nobody has used since the last call: what streams keep that have allocated nothing, and segments
    /// that were wholly free all the time. Says whether there is something for the next.
    pub(crate) fn decay(&self, lists: &impl Lists) -> bool {
        lists.settle_all();
        self.collect_limbo(lists);
        let mut owned = 0;
        for (stream, heap) in self.heaps() {
            let idle = heap.heap.lock().was_idle();
            if idle {
                // What was recorded and forgotten keeps its memory otherwise. If another thread is submitting there, it
                // does the same.
                lists.flush(stream);
                self.reclaim(heap, lists);
            }
            owned += heap.heap.lock().owned;
        }
        let mut arena = self.arena.lock();
        let (bytes, memories) = arena.decay();
        let whole = arena.whole().0;
        drop(arena);
        self.count_decayed(bytes);
        drop(memories); // driver calls, with no lock held
        owned > 0 || whole > 0
    }
}
