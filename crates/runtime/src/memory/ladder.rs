//! What happens on a miss, step by step, with no lock held.
//!
//! 1. Look: among one's own blocks, then for a free span of the arena.
//! 2. Gather: what is settled goes from limbo and from streams into the arena. Look again after each. So more is taken
//!    from the device only for what is live or still in use.
//! 3. Grow. One thread at a time; one that waited for the turn looks again first. Above the soft limit as much goes back
//!    to the device as will be taken, of what is wholly free. The bytes are reserved before the driver is called. A
//!    segment is larger than what is asked for, in proportion to what is reserved already, so that there are few; if
//!    the device or the budget refuses that, just what is asked for.
//! 4. Give the device back all that is wholly free, and grow again.
//! 5. Submit what has been recorded, wait until any list of it has run, and go on with 2. Others go on meanwhile, and
//!    what they record later is not waited for yet.
//! 6. When everything has settled that was recorded before the first wait, look everywhere, in other pools too. What
//!    others have taken and freed meanwhile is waited for anew, a number of times. Then say that there is no memory: in
//!    one's turn to grow, so that nobody is growing, and not while a segment is on its way back to the device.

use super::arena::{BLOCKS, HOST, LARGE, PoolId, SMALL, Want};
use super::budget::Share;
use super::store::Store;
use crate::device::DeviceCore;
use crate::error::{Error, OutOfMemory, PoolMemory, Result, StreamMemory};
use crate::patience::Patience;
use crate::stream::core::StreamCore;
use crate::stream::recorder::Point;
use crate::sync::yield_now;
use std::time::{Duration, Instant};
use thalweg_hal::{HostAccess, MemoryKind, TimelinePoint};

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
/// How long one waits for the device before looking at all streams again: whoever closes it does not ring for us.
const TICK: Duration = Duration::from_millis(2);
/// How long a list that has settled may keep its memory. Whoever settled it is about to drop it.
const LINGER: Duration = Duration::from_secs(1);
/// How often one waits for everything that has been recorded by then: others may have taken what was waited for, and
/// have freed it again. Each time they have got on by a list at least.
const MOST_WAITS: u32 = 32;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) pool: PoolId,
    /// As many bytes as one would like.
    pub(super) bytes: u64,
    /// As many as one needs.
    pub(super) least: u64,
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

/// What `look` finds, sooner or later. It is called with nothing locked.
pub(super) fn obtain<T>(
    core: &DeviceCore,
    request: Request,
    patience: Patience,
    mut look: impl FnMut(Want) -> Option<T>,
) -> Result<T> {
    let store = &core.memory;
    // What is waited for, once it is known that something has to be.
    let mut goal: Option<Vec<Point>> = None;
    let (mut refusal, mut tried) = (None, Tried::default());
    let (mut lingering, mut waits) = (None, 1);
    loop {
        // Asked before anything is gathered: what settles later is gathered in the next round.
        let waited_for = goal.as_deref().map(|goal| {
            core.retire_all();
            unsettled(core, goal)
        });
        let is_last = waited_for.as_ref().is_some_and(Vec::is_empty);
        let is_pressed = goal.is_some() || store.budget.over_soft(request.bytes) > 0;
        let need = if is_pressed { Need::Pressed } else { Need::Easy };
        let mut look_for = |need| look(request.want(need));
        if let Some(found) = look_for(need).or_else(|| core.gather_until(|| look_for(need))) {
            return Ok(found);
        }
        let turn = store.growth.take(patience)?;
        // What leaves the arena now is neither there to be found nor within the budget until it has been dropped.
        let (leaves, removed) = store.leaving();
        // Somebody else may have grown meanwhile. What we grow ourselves, others may take before we look.
        loop {
            if let Some(found) = look_for(need) {
                drop(turn);
                return Ok(found);
            }
            let over = store.budget.over_soft(request.least);
            if over > 0 {
                tried.gave_back += core.give_back_whole(over);
            }
            if grow(core, request, need, &mut refusal, &mut tried)? {
                continue;
            }
            let whole = store.arena.lock().whole();
            if whole.1 == 0 || (refusal.is_none() && !store.budget.fits_without(request.least, whole)) {
                break;
            }
            tried.gave_back += core.give_back_whole(u64::MAX);
            if !grow(core, request, need, &mut refusal, &mut tried)? {
                break;
            }
        }
        if is_last && let Some(found) = look_for(Need::Last) {
            return Ok(found);
        }
        let now = store.leaving();
        let is_leaving = leaves || now != (false, removed);
        drop(turn);
        match waited_for {
            None => {
                // What was dropped by now is free once the goal has settled.
                core.collect_limbo();
                goal = Some(core.last_values());
            }
            Some(waited_for) if !waited_for.is_empty() => {
                if !tried.waited {
                    tried.waited = true;
                    store.count_wait();
                }
                wait_for_any(core, &waited_for, patience)?;
            }
            Some(_) if is_leaving => {
                core.life.check_waits()?;
                let since = *lingering.get_or_insert_with(Instant::now);
                if patience.left() == Some(Duration::ZERO) {
                    return Err(patience.over());
                }
                if since.elapsed() >= LINGER {
                    return Err(out_of_memory(core, request, tried, refusal));
                }
                yield_now();
            }
            Some(_) if waits < MOST_WAITS && others_were_faster(core, request, refusal.is_some()) => {
                waits += 1;
                core.collect_limbo();
                goal = Some(core.last_values());
            }
            Some(_) => return Err(out_of_memory(core, request, tried, refusal)),
        }
    }
}

/// Whether there is memory enough that is not live, and others have had it since: they have freed it, and the device
/// uses it still, or has just ended. Of staging it is not known what is live; who waits for that, see `shortage.rs`.
fn others_were_faster(core: &DeviceCore, request: Request, refused: bool) -> bool {
    let stats = core.memory_stats();
    let fits_beside = |bytes: u64| bytes.saturating_add(request.least) <= stats.limit;
    let is_there = stats.cached + stats.limbo > 0
        || stats.largest_free >= request.least
        || (!refused && fits_beside(stats.reserved));
    request.pool != HOST && is_there && fits_beside(stats.frozen + stats.graphs + stats.overhead + stats.live)
}

/// What of a goal has not settled.
fn unsettled(core: &DeviceCore, goal: &[Point]) -> Vec<Point> {
    goal.iter().filter(|(stream, value)| core.stream(*stream).settled() < *value).copied().collect()
}

/// A new segment, if budget and device allow it. In the caller's turn.
fn grow(
    core: &DeviceCore,
    request: Request,
    need: Need,
    refusal: &mut Option<thalweg_hal::Error>,
    tried: &mut Tried,
) -> Result<bool> {
    let Store { budget, arena, .. } = &core.memory;
    let Want { pool, bytes, least, .. } = request.want(need);
    let hard = budget.limits().hard;
    let kind = if pool == HOST { MemoryKind::Host } else { MemoryKind::Device };
    // What it may have by its own limit. Only the thread that has the turn adds to a pool.
    let (staged, not_large) = {
        let arena = arena.lock();
        (arena.bytes_of(HOST), arena.bytes_of(BLOCKS) + arena.bytes_of(SMALL))
    };
    let room = room(core, pool, hard.saturating_sub(budget.reserved()), staged, not_large);
    let ahead = match kind {
        MemoryKind::Host => LEAST_GROWTH.max(bytes).min(room),
        MemoryKind::Device if pool == LARGE => bytes,
        MemoryKind::Device => {
            let parts = if pool == SMALL { SMALL_PARTS } else { LIMIT_PARTS };
            match segment_bytes(budget.reserved(), budget.limits(), parts, bytes) {
                // What lives long, and would fill most of a segment, gets one of its length: the rest might be of use
                // to nobody.
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
        let Some(share) = Share::reserve(&core.memory.budget, bytes) else { continue };
        let span = core.profile.begin();
        match core.hal.allocate(kind, bytes) {
            Ok(memory) => {
                span.grown(bytes, budget.reserved());
                // Whatever is in what the host uses is written before it is read.
                let raw = kind == MemoryKind::Device && !core.hal.info().zeroed;
                arena.lock().insert(pool, share.spend(memory), bytes, raw);
                if budget.over_soft(0) > 0 {
                    core.doorbell.pressed();
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

/// How many bytes a pool may take of those that are left, beside so many of staging and of blocks that are not large.
fn room(core: &DeviceCore, pool: PoolId, left: u64, staged: u64, not_large: u64) -> u64 {
    let store = &core.memory;
    if pool == HOST {
        return store.staging_limit.saturating_sub(staged);
    }
    // Data that cannot come in or out is no use.
    let is_staged = core.hal.info().host_access != HostAccess::Cached;
    let for_staging = if is_staged { store.kept_for_staging().saturating_sub(staged) } else { 0 };
    // However what is not large lies in its segments: it makes no difference to what is.
    let for_others = if pool == LARGE { store.kept_for_others().saturating_sub(not_large) } else { 0 };
    left.saturating_sub(for_staging).saturating_sub(for_others)
}

/// How large the next segment is to be, of which the limit has at least so many parts.
fn segment_bytes(reserved: u64, limits: super::budget::Limits, parts: u64, bytes: u64) -> u64 {
    let ahead = (reserved / GROWTH).clamp(LEAST_GROWTH, MOST_GROWTH).min(limits.hard / parts);
    // What nobody asked for stays below the soft limit.
    let ahead = ahead.min(limits.soft.saturating_sub(reserved));
    let unit = thalweg_hal::BINDING_ALIGNMENT;
    bytes.max(ahead / unit * unit)
}

/// Has everything submitted that is waited for, and waits until any of it has run, or for a moment.
fn wait_for_any(core: &DeviceCore, goal: &[Point], patience: Patience) -> Result<()> {
    core.life.check_waits()?;
    let mut waits = Vec::new();
    for (index, value) in goal {
        let stream = core.stream(*index);
        // Where somebody is submitting, or there is no credit, that is waited for below.
        if stream.submitted() < *value && stream.flush_to(core, *value, Patience::Never).is_err() {
            core.defer_flush(*index);
        }
        // One that has completed waits for another, which it reads from.
        let next = stream.retiring.next().filter(|next| stream.timeline.completed() < *next);
        waits.extend(next.map(|value| TimelinePoint { timeline: stream.timeline.clone(), value }));
    }
    let left = patience.left();
    if left == Some(Duration::ZERO) {
        return Err(patience.over());
    }
    if waits.is_empty() {
        yield_now();
        return Ok(());
    }
    let timeout = left.map_or(TICK, |left| left.min(TICK));
    core.hal.wait_any(&waits, None, Some(timeout)).map_err(|error| {
        core.lose(error.clone());
        error.into()
    })
}

/// The report.
fn out_of_memory(core: &DeviceCore, request: Request, tried: Tried, device: Option<thalweg_hal::Error>) -> Error {
    let streams = core.streams().map(StreamCore::memory).filter(|memory| memory.live + memory.cached > 0);
    let streams = streams
        .map(|memory| StreamMemory { stream: memory.stream, live: memory.live, cached: memory.cached })
        .collect();
    let stats = core.memory_stats();
    // As if nothing but what stays were there.
    let left = stats.limit.saturating_sub(stats.frozen + stats.graphs + stats.overhead);
    let retry_can_help = request.least <= room(core, request.pool, left, 0, 0).min(left);
    let arena = core.memory.arena.lock();
    let pools = arena.by_pool().into_iter().map(|(name, reserved, free)| PoolMemory { name, reserved, free }).collect();
    drop(arena);
    Error::OutOfMemory(Box::new(OutOfMemory {
        requested: request.least,
        limit: stats.limit,
        reserved: stats.reserved,
        frozen: stats.frozen,
        limbo: stats.limbo,
        free: stats.free,
        largest_free: stats.largest_free,
        allocations: stats.allocations,
        max_allocations: stats.max_allocations,
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
pub(super) fn absurd(core: &DeviceCore, requested: u64) -> Error {
    let request = Request { pool: BLOCKS, bytes: requested, least: requested };
    out_of_memory(core, request, Tried::default(), None)
}
