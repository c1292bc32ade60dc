//! How a device is set up.

/// Settings of a [`crate::Device`]. `Config::default()` suits most programs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub(crate) pool_streams: usize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) list_commands: usize,
    pub(crate) lists_in_flight: u64,
    pub(crate) pipelines: usize,
    pub(crate) pipeline_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool_streams: 32,
            memory_limit: None,
            list_commands: 256,
            lists_in_flight: 32,
            pipelines: 1024,
            pipeline_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// How many streams threads are spread over (1 to 128; default 32). With more threads than that, threads share.
    pub fn pool_streams(mut self, streams: usize) -> Self {
        self.pool_streams = streams.clamp(1, 128);
        self
    }

    /// The most bytes that all streams and models together take from the device. Default: nine tenths of the device's
    /// memory.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// How many commands a stream records before it hands them to the device by itself (1 to 65,536; default 256).
    pub fn list_commands(mut self, commands: usize) -> Self {
        self.list_commands = commands.clamp(1, 65_536);
        self
    }

    /// How many lists of one stream may be submitted and not settled (at least 1; default 32; never more than the device
    /// takes). Whoever would submit one more waits for the oldest.
    pub fn lists_in_flight(mut self, lists: u64) -> Self {
        self.lists_in_flight = lists.max(1);
        self
    }

    /// How many compiled kernels the device keeps (at least 1; default 1,024). Past that, those go that were not used for the
    /// longest time, and are compiled again if somebody asks for them. More than a program's kernels is enough: a
    /// pipeline's key is never a shape.
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
}
