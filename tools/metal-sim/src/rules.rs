//! The rules of Metal that are looked at, by name, and how a broken one is said: on stderr, with the seed, and the
//! process ends.

use std::fmt::Arguments;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
    };
}

rules! {
    /// A command buffer has one encoder at a time.
    TWO_ENCODERS = "two encoders";
    /// An encoder is ended before its command buffer is committed, and before it dies.
    OPEN_ENCODER = "open encoder";
    /// An encoder takes nothing after `endEncoding`.
    ENDED_ENCODER = "encoder used after its end";
    /// A command buffer is committed once.
    COMMITTED_TWICE = "committed twice";
    /// A command buffer takes nothing, and no handler, after its commit.
    AFTER_COMMIT = "used after commit";
    /// Nobody can wait for a command buffer that is not committed.
    WAIT_BEFORE_COMMIT = "wait before commit";
    /// Command buffers and encoders belong to one thread at a time.
    TWO_THREADS = "two threads at once";
    /// A queue blocks when all its command buffers are in use; here it does for ten seconds at most.
    QUEUE_FULL = "queue full";
    /// `setBytes` takes 4 KiB at most.
    SET_BYTES = "setBytes";
    /// An index below 31, an offset within the buffer.
    BINDING = "binding";
    /// A dispatch needs a pipeline.
    NO_PIPELINE = "no pipeline";
    /// Each buffer argument of the function is bound.
    UNBOUND = "unbound argument";
    /// Each buffer argument is aligned as its type is.
    MISALIGNED = "misaligned argument";
    /// Each buffer argument has at least the bytes of its type.
    SHORT_ARGUMENT = "argument too short";
    /// Lengths of threadgroup memory: multiples of 16, one for each argument, no less than its type, no more than 32
    /// KiB in sum.
    THREADGROUP_MEMORY = "threadgroup memory";
    /// The grid and the threadgroup are not empty, and no larger than the pipeline allows.
    DISPATCH_SIZE = "dispatch size";
    /// All threads of a threadgroup come to the same barrier, or none.
    DIVERGENT_BARRIER = "divergent barrier";
    /// All threads of a simdgroup come to its operations together, and pass the same of those on its matrices.
    DIVERGENT_SIMDGROUP = "divergent simdgroup operation";
    /// A thread of a kernel needs no more stack than there is here.
    STACK = "stack of a thread";
    /// A buffer lies within its heap, aligned, and is of the heap's storage mode.
    PLACEMENT = "placement";
    /// A library is compiled without fast math.
    FAST_MATH = "fast math";
    /// The host cannot read private memory.
    PRIVATE_CONTENTS = "contents of private storage";
    /// What a dispatch is bound to is resident: in a committed set of its queue, or used by its encoder.
    NOT_RESIDENT = "not resident";
    /// A queue takes 32 residency sets.
    RESIDENCY_SETS = "too many residency sets";
    /// What a command buffer without references needs lives until it has completed.
    DIED_IN_FLIGHT = "died in flight";
    /// An encoder that updates a fence does not wait for it afterwards.
    FENCE_ORDER = "fence awaited after its update";
    /// A fence orders encoders of one queue.
    FENCE_QUEUES = "fence of two queues";
    /// Each debug group that is left was entered.
    DEBUG_GROUP = "debug group";
    /// An event that is awaited is signalled; here within a minute.
    HANG = "hang";
    /// An object takes no message, retain or release after its last release.
    USE_AFTER_RELEASE = "use after release";
    /// A `dealloc` calls its superclass's.
    DEALLOC = "dealloc without super";
    /// A receiver has a method for the message.
    UNRECOGNIZED = "unrecognized selector";
    /// A pool is popped once, on its own thread.
    POOL = "autorelease pool";
    /// An object is autoreleased where there is a pool; judged if the environment's METAL_SIM_POOLS is set, else
    /// counted.
    WITHOUT_POOL = "autoreleased without a pool";
    /// Nothing lives any more where a test says so.
    LEAK = "leak";
}

/// Says that a rule is broken, and ends the process.
#[cold]
pub fn broken(rule: &'static str, what: Arguments<'_>) -> ! {
    static SAID: AtomicBool = AtomicBool::new(false);
    let thread = std::thread::current();
    say(format_args!("metal-sim: broken rule: {rule}: {what} (thread {})", thread.name().unwrap_or("without a name")));
    if !SAID.swap(true, Ordering::Relaxed) {
        say(format_args!("metal-sim: METAL_SIM_SEED={}", crate::config().seed));
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            say(format_args!("{trace}"));
        }
    }
    std::process::abort()
}

/// A line on standard error itself: what `eprintln!` writes is kept from it in a test that has not ended, and this one
/// never will.
fn say(line: Arguments<'_>) {
    // There is nobody to tell that there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}
