//! How a device is set up.

use std::fmt;
use std::time::Duration;

/// Settings of a [`crate::Device`]. `Config::default()` suits most programs.
#[derive(Clone, Copy)]
pub struct Config {
    pub(crate) pool_streams: usize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) memory_soft_limit: Option<u64>,
    pub(crate) max_allocations: Option<u64>,
    pub(crate) staging_limit: Option<u64>,
    pub(crate) decay: Duration,
    pub(crate) list_commands: usize,
    pub(crate) lists_in_flight: u64,
    pub(crate) pipelines: usize,
    pub(crate) pipeline_bytes: u64,
    pub(crate) cpu_threads: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool_streams: 32,
            memory_limit: None,
            memory_soft_limit: None,
            max_allocations: None,
            staging_limit: None,
            decay: Duration::from_secs(10),
            list_commands: 256,
            lists_in_flight: 32,
            pipelines: 1024,
            pipeline_bytes: 256 << 20,
            cpu_threads: None,
        }
    }
}

/// What differs from the defaults.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut shown, default) = (f.debug_struct("Config"), Self::default());
        macro_rules! show {
            ($($field:ident),* $(,)?) => {
                // A new field does not compile until it is here.
                let Self { $($field),* } = self;
                $(if *$field != default.$field {
                    shown.field(stringify!($field), $field);
                })*
            };
        }
        show! {
            pool_streams, memory_limit, memory_soft_limit, max_allocations, staging_limit, decay, list_commands,
            lists_in_flight, pipelines, pipeline_bytes, cpu_threads,
        }
        shown.finish_non_exhaustive()
    }
}

impl Config {
    /// How many streams threads are spread over (1 to 128; default 32). With more threads than that, threads share.
    pub fn pool_streams(mut self, streams: usize) -> Self {
        self.pool_streams = streams.clamp(1, 128);
        self
    }

    /// The most bytes that all streams and models together take from the device. Default: nine tenths of the device's
    /// memory. A block of at least a thirty-second of it has a driver allocation of its own, which is never divided,
    /// and as much is kept for what is shorter: so what fits once fits again, in whatever order it comes (with a
    /// quarter to spare, where most of the limit is in shorter blocks).
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Above so many bytes, as much goes back to the device before more is taken, of what is wholly free; and what
    /// nobody uses goes back within a second, unless nothing [decays](Self::decay). Default: three quarters of the
    /// limit; never above it.
    pub fn memory_soft_limit(mut self, bytes: u64) -> Self {
        self.memory_soft_limit = Some(bytes);
        self
    }

    /// The most driver allocations at a time (default: as many as the device allows; never more).
    pub fn max_allocations(mut self, allocations: u64) -> Self {
        self.max_allocations = Some(allocations);
        self
    }

    /// The most bytes of memory that the host reads and writes. Data is copied through it to and from a device that has
    /// memory which the host does not see. Part of [`memory_limit`](Self::memory_limit). Default: a sixteenth of that,
    /// at most 64 MiB; at least 512 KiB. More lets more copies be under way at a time.
    pub fn staging_limit(mut self, bytes: u64) -> Self {
        self.staging_limit = Some(bytes);
        self
    }

    /// How long memory stays cached that nobody uses (default: 10 seconds; zero: until memory is short). A stream that
    /// has allocated nothing for one such period gives back what it has cached, and what is wholly free for another
    /// goes back to the device.
    pub fn decay(mut self, period: Duration) -> Self {
        self.decay = period;
        self
    }

    /// How many commands a stream records before it hands them to the device by itself (1 to 65,536; default 256).
    pub fn list_commands(mut self, commands: usize) -> Self {
        self.list_commands = commands.clamp(1, 65_536);
        self
    }

    /// How many lists of one stream may be submitted and not settled (at least 1; default 32; never more than the
    /// device takes). A thread that would submit one more waits for the oldest.
    pub fn lists_in_flight(mut self, lists: u64) -> Self {
        self.lists_in_flight = lists.max(1);
        self
    }

    /// How many compiled kernels the device keeps (at least 1; default 1,024). Past that, the kernels go that were not
    /// used for the longest time. They are compiled again when they are asked for. More than a program's kernels is
    /// enough: a pipeline's key is never a shape.
    pub fn pipeline_cache(mut self, pipelines: usize) -> Self {
        self.pipelines = pipelines.max(1);
        self
    }

    /// How much memory the compiled kernels may take that the device keeps, in bytes, as far as the backend can say
    /// ([`thalweg_hal::Pipeline::bytes`]; default 256 MiB). A kernel that is larger by itself is compiled each time.
    pub fn pipeline_cache_bytes(mut self, bytes: u64) -> Self {
        self.pipeline_bytes = bytes;
        self
    }

    /// How many threads the processor computes with, if it is the device (1 to 1,024; default: as many processors as
    /// the process has to itself). `thalweg::open_with`, which opens the device, looks at it; [`crate::Device::new`],
    /// which is given an open one, does not look at it. All devices of a process that are the processor share these
    /// threads: one that asks for another number than there are in use cannot be opened.
    pub fn cpu_threads(mut self, threads: usize) -> Self {
        self.cpu_threads = Some(threads.clamp(1, 1024));
        self
    }

    /// What was given to [`cpu_threads`](Self::cpu_threads), for what opens the device.
    pub fn wanted_cpu_threads(&self) -> Option<usize> {
        self.cpu_threads
    }
}
