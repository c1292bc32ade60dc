//! Taking back what nobody uses: from the streams and from limbo into the arena, and from the arena to the device.

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
        self.retire_all();
        self.collect_limbo();
        self.streams().for_each(|stream| self.reclaim(stream));
    }

    /// A stream's spans whose blocks are all free and settled, into the arena.
    fn reclaim(&self, stream: &StreamCore) {
        let mut recorder = stream.recorder.lock();
        recorder.heap.fetch(&stream.returns);
        let mut spans = 0;
        // Each goes from the one to the other under both locks, so whoever asks everybody in turn, the arena last, finds it.
        let blocks = recorder.heap.trim(
            |stream| self.stream(stream).settled(),
            |span, raw| {
                self.memory.arena.lock().give_back(span.segment, span.offset, raw);
                spans += 1;
            },
        );
        drop(recorder);
        self.memory.count_reclaimed(spans);
        drop(blocks);
    }

    /// Frees what was dropped of frozen storage and graphs and has settled by now: every list that can name it was recorded
    /// before it was dropped.
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
        self.give_back_whole();
    }

    /// Gives segments back to the device that are wholly free.
    pub(crate) fn give_back_whole(&self) {
        let memories = self.memory.arena.lock().take_whole();
        drop(memories); // driver calls, with no lock held
    }

    /// The same if more is reserved than should be.
    pub(crate) fn relieve(&self) {
        if self.memory.budget.is_pressed(0) {
            self.give_back_whole();
        }
    }

    /// Takes back what nobody has used since the last call: the spans of streams that have allocated nothing, and segments
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
