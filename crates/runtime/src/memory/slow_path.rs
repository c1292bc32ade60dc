//! What happens on a miss, step by step, with no lock held.
//!
//! 1. Look: among one's own blocks, then for a free span of the arena.
//! 2. Gather: what is settled goes from limbo and from streams into the arena. Look again after each. So more is taken
//!    from the device only for what is live or still in use.
//! 3. Grow. One thread at a time; one that waited for the turn looks again first. Above the soft limit as much goes
//!    back to the device as will be taken, of what is wholly free. The bytes are reserved before the driver is called.
//!    A segment is larger than what is asked for, in proportion to what is reserved already, so that there are few; if
//!    the device or the budget refuses that, just what is asked for.
//! 4. Give the device back all that is wholly free, and grow again.
//! 5. Submit what has been recorded, wait until any list of it has run, and go on with 2. Others go on meanwhile, and
//!    what they record later is not waited for yet.
//! 6. When everything has settled that was recorded before the first wait, look everywhere, in other pools too. What
//!    others have taken and freed meanwhile is waited for anew, a number of times. Then say that there is no memory: in
//!    one's turn to grow, so that nobody is growing, and not while a segment is on its way back to the device.

use super::arena::{BLOCKS, HOST, LARGE, PoolId, SMALL, Want};
use super::budget::Reservation;
use super::device_memory::DeviceMemory;
use super::lists::Lists;
use crate::base::error::{Error, OutOfMemory, PoolMemory, Result, StreamMemory};
use crate::base::sync::yield_now;
use crate::base::wait_policy::WaitPolicy;
use crate::order::point::Point;
use std::time::{Duration, Instant};
use thalweg_hal::{HostAccess, MemoryKind};

/// Segments grow by this part of what is reserved,
const GROWTH: u64 = 8;
/// at least by so much,
const LEAST_GROWTH: u64 = 1 << 20;
/// at most by so much,
const MOST_GROWTH: u64 = 64 << 20;
/// and never by more than this part of the limit: what is left over in one is no use for another.
const LIMIT_PARTS: u64 = 32;
/// Segments of small blocks are half as long: several fit into what is kept for what is not large.
const SMALL_PARTS: u64 = 128;
/// How long a list that has settled may keep its memory. The thread that settled it is about to drop it.
const LINGER: Duration = Duration::from_secs(1);
/// How often one waits for everything that has been recorded by then: others may have taken what was waited for, and
/// have freed it again. Each time they have got on by a list at least.
const MOST_WAITS: u32 = 32;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) pool: PoolId,
    /// As many bytes as one would like.
    pub(crate) bytes: u64,
    /// As many as one needs.
    pub(crate) least: u64,
}

/// How hard memory is to come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Not hard: somewhat more than one needs spares the next visit.
    Easy,
    /// What one needs and no more.
    Pressed,
    /// From wherever it comes.
    Last,
}

impl Request {
    fn want(&self, need: Need) -> Want {
        let Self { pool, bytes, least } = *self;
        let bytes = if need == Need::Easy { bytes } else { least };
        Want { pool, anywhere: need == Need::Last, bytes, least }
    }
}

/// What has been tried; for the report.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    waited: bool,
    gave_back: u64,
    refusals: u64,
}

impl DeviceMemory {
    /// What `look` finds, sooner or later. It is called with nothing locked.
    pub(crate) fn obtain<T>(
        &self,
        lists: &impl Lists,
        request: Request,
        policy: WaitPolicy,
        mut look: impl FnMut(Want) -> Option<T>,
    ) -> Result<T> {
        // What is waited for, once it is known that something has to be.
        let mut goal: Option<Vec<Point>> = None;
        let (mut refusal, mut tried) = (None, Tried::default());
        let (mut lingering, mut waits) = (None, 1);
        loop {
            // Asked before anything is gathered: what settles later is gathered in the next round.
            let waited_for = goal.as_deref().map(|goal| {
                lists.settle_all();
                unsettled(lists, goal)
            });
            let is_last = waited_for.as_ref().is_some_and(Vec::is_empty);
            let is_pressed = goal.is_some() || self.budget.over_soft(request.bytes) > 0;
            let need = if is_pressed { Need::Pressed } else { Need::Easy };
            let mut look_for = |need| look(request.want(need));
            if let Some(found) = look_for(need).or_else(|| self.gather_until(lists, || look_for(need))) {
                return Ok(found);
            }
            let turn = self.growth.take(policy)?;
            // What leaves the arena now is neither there to be found nor within the budget until it has been dropped.
            let (leaves, removed) = self.leaving();
            // Somebody else may have grown meanwhile. What we grow ourselves, others may take before we look.
            loop {
                if let Some(found) = look_for(need) {
                    drop(turn);
                    return Ok(found);
                }
                let over = self.budget.over_soft(request.least);
                if over > 0 {
                    tried.gave_back += self.give_back_whole(over);
                }
                if self.grow(lists, request, need, &mut refusal, &mut tried)? {
                    continue;
                }
                let whole = self.arena.lock().whole();
                if whole.1 == 0 || (refusal.is_none() && !self.budget.fits_without(request.least, whole)) {
                    break;
                }
                tried.gave_back += self.give_back_whole(u64::MAX);
                if !self.grow(lists, request, need, &mut refusal, &mut tried)? {
                    break;
                }
            }
            if is_last && let Some(found) = look_for(Need::Last) {
                return Ok(found);
            }
            let now = self.leaving();
            let is_leaving = leaves || now != (false, removed);
            drop(turn);
            match waited_for {
                None => {
                    // What was dropped by now is free once the goal has settled.
                    self.collect_limbo(lists);
                    goal = Some(lists.last());
                }
                Some(waited_for) if !waited_for.is_empty() => {
                    if !tried.waited {
                        tried.waited = true;
                        self.count_wait();
                    }
                    lists.wait_for_any(&waited_for, policy)?;
                }
                Some(_) if is_leaving => {
                    lists.check_waits()?;
                    let since = *lingering.get_or_insert_with(Instant::now);
                    if policy.left() == Some(Duration::ZERO) {
                        return Err(policy.over());
                    }
                    if since.elapsed() >= LINGER {
                        return Err(self.out_of_memory(request, tried, refusal));
                    }
                    yield_now();
                }
                Some(_) if waits < MOST_WAITS && self.others_were_faster(request, refusal.is_some()) => {
                    waits += 1;
                    self.collect_limbo(lists);
                    goal = Some(lists.last());
                }
                Some(_) => return Err(self.out_of_memory(request, tried, refusal)),
            }
        }
    }

    /// Whether enough memory is not live, but others have had it since the last look: they have freed it, and the
    /// device still uses it, or has just ended. Of staging it is not known what is live; `shortage.rs` has the rule for
    /// that.
    fn others_were_faster(&self, request: Request, refused: bool) -> bool {
        let stats = self.stats();
        let fits_beside = |bytes: u64| bytes.saturating_add(request.least) <= stats.limit;
        let is_there = stats.cached + stats.limbo > 0
            || stats.largest_free >= request.least
            || (!refused && fits_beside(stats.reserved));
        request.pool != HOST && is_there && fits_beside(stats.frozen + stats.graphs + stats.overhead + stats.live)
    }

    /// A new segment, if budget and device allow it. In the caller's turn.
    fn grow(
        &self,
        lists: &impl Lists,
        request: Request,
        need: Need,
        refusal: &mut Option<thalweg_hal::Error>,
        tried: &mut Tried,
    ) -> Result<bool> {
        let Self { budget, arena, .. } = self;
        let Want { pool, bytes, least, .. } = request.want(need);
        let hard = budget.limits().hard;
        let kind = if pool == HOST { MemoryKind::Host } else { MemoryKind::Device };
        // What it may have by its own limit. Only the thread that has the turn adds to a pool.
        let (staged, not_large) = {
            let arena = arena.lock();
            (arena.bytes_of(HOST), arena.bytes_of(BLOCKS) + arena.bytes_of(SMALL))
        };
        let room = self.room(pool, hard.saturating_sub(budget.reserved()), staged, not_large);
        let ahead = match kind {
            MemoryKind::Host => LEAST_GROWTH.max(bytes).min(room),
            MemoryKind::Device if pool == LARGE => bytes,
            MemoryKind::Device => {
                let parts = if pool == SMALL { SMALL_PARTS } else { LIMIT_PARTS };
                match segment_bytes(budget.reserved(), budget.limits(), parts, bytes) {
                    // What lives long, and would fill most of a segment, gets one of its length: the rest might be of
                    // use to nobody.
                    ahead if !matches!(pool, BLOCKS | SMALL) && bytes >= ahead / 4 => bytes,
                    ahead => ahead,
                }
            }
        };
        let mut last = None;
        for bytes in [ahead, bytes, least] {
            if bytes > room || bytes < least {
                continue;
            }
            if last.replace(bytes) == Some(bytes) {
                continue;
            }
            let Some(reservation) = Reservation::reserve(&self.budget, bytes) else { continue };
            let growth = self.trace.begin();
            match self.hal.allocate(kind, bytes) {
                Ok(memory) => {
                    growth.grown(bytes, budget.reserved());
                    // Whatever is in what the host uses is written before it is read.
                    let raw = kind == MemoryKind::Device && !self.hal.info().zeroed;
                    arena.lock().insert(pool, reservation.spend(memory), bytes, raw);
                    if budget.over_soft(0) > 0 {
                        lists.pressed();
                    }
                    return Ok(true);
                }
                Err(error) if error.is_retryable() => {
                    *refusal = Some(error);
                    tried.refusals += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// How many bytes a pool may take of those that are left, beside so many of staging and of blocks that are not
    /// large.
    fn room(&self, pool: PoolId, left: u64, staged: u64, not_large: u64) -> u64 {
        if pool == HOST {
            return self.staging_limit.saturating_sub(staged);
        }
        // Data that cannot come in or out is no use.
        let is_staged = self.hal.info().host_access != HostAccess::Cached;
        let for_staging = if is_staged { self.kept_for_staging().saturating_sub(staged) } else { 0 };
        // However what is not large lies in its segments: it makes no difference to what is.
        let for_others = if pool == LARGE { self.kept_for_others().saturating_sub(not_large) } else { 0 };
        left.saturating_sub(for_staging).saturating_sub(for_others)
    }

    /// The report.
    fn out_of_memory(&self, request: Request, tried: Tried, device: Option<thalweg_hal::Error>) -> Error {
        let streams =
            self.heaps().map(|(stream, heap)| heap.usage(stream)).filter(|memory| memory.live + memory.cached > 0);
        let streams = streams
            .map(|memory| StreamMemory { stream: memory.stream, live: memory.live, cached: memory.cached })
            .collect();
        let stats = self.stats();
        // As if nothing but what stays were there.
        let left = stats.limit.saturating_sub(stats.frozen + stats.graphs + stats.overhead);
        let retry_can_help = request.least <= self.room(request.pool, left, 0, 0).min(left);
        let arena = self.arena.lock();
        let pools =
            arena.by_pool().into_iter().map(|(name, reserved, free)| PoolMemory { name, reserved, free }).collect();
        drop(arena);
        Error::OutOfMemory(Box::new(OutOfMemory {
            requested: request.least,
            stats,
            streams,
            pools,
            waited: tried.waited,
            gave_back: tried.gave_back,
            refusals: tried.refusals,
            device,
            retry_can_help,
        }))
    }

    /// What no memory is large enough for.
    pub(crate) fn too_large(&self, requested: u64) -> Error {
        let request = Request { pool: BLOCKS, bytes: requested, least: requested };
        self.out_of_memory(request, Tried::default(), None)
    }
}

/// What of a goal has not settled.
fn unsettled(lists: &impl Lists, goal: &[Point]) -> Vec<Point> {
    goal.iter().filter(|at| lists.settled(at.stream) < at.value).copied().collect()
}

/// How large the next segment is to be, of which the limit has at least so many parts.
fn segment_bytes(reserved: u64, limits: super::budget::Limits, parts: u64, bytes: u64) -> u64 {
    let ahead = (reserved / GROWTH).clamp(LEAST_GROWTH, MOST_GROWTH).min(limits.hard / parts);
    // What nobody asked for stays below the soft limit.
    let ahead = ahead.min(limits.soft.saturating_sub(reserved));
    let unit = thalweg_hal::BINDING_ALIGNMENT;
    bytes.max(ahead / unit * unit)
}
