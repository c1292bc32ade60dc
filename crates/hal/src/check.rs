//! The rules of one command: what a device takes for granted of everything that is submitted to it.
//!
//! There is one set of them, and [`command`] is it. The runtime calls it once for each command, before it enters
//! anything anywhere; [`List::check`](crate::List::check) applies it to each command of a list. A device applies it to
//! nothing: a list that breaks a rule breaks a promise (Q3) of [`Queue::submit`](crate::Queue::submit), and backends
//! assert it in debug builds alone.
//!
//! | of | rule | else |
//! |---|---|---|
//! | any command | as many operands as the operation has | [`CommandError::OperandCount`] |
//! | any command | each operand is accessed as the operation says | [`CommandError::Access`] |
//! | a dispatch | as many parameter bytes as the kernel has | [`CommandError::ParameterBytes`] |
//! | a dispatch | every axis of the extent is at least 1 | [`CommandError::EmptyExtent`] |
//! | a dispatch of a kernel with a host form | what is written divides by the first axis | [`CommandError::Uneven`] |
//! | a dispatch | [`Pipeline::check`] | [`CommandError::Unfit`] |
//! | a copy | one length | [`CommandError::Lengths`] |
//! | a fill | whole 32-bit words | [`CommandError::PartialWord`] |
//! | every operand | at least one byte | [`CommandError::Empty`] |
//! | every operand | inside its memory | [`CommandError::OutOfBounds`] |
//! | every operand | starts at a multiple of [`BINDING_ALIGNMENT`] | [`CommandError::Misaligned`] |
//! | every operand, but of a run | no longer than the device binds | [`CommandError::TooLong`] |
//! | any two operands, but of a run | no common byte if either is written | [`CommandError::Aliased`] |
//!
//! Order between commands is no rule of one command; [`crate::validate`] looks at that. What a kernel declares is
//! checked when its pipeline is made, by [`kernel`].

#[cfg(test)]
mod tests;

use crate::{Access, BINDING_ALIGNMENT, Error, KernelSource, Limits, MAX_BINDINGS, MAX_PARAMETER_BYTES, Pipeline};

/// What a command does with its operands.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// [`Command::Dispatch`](crate::Command::Dispatch).
    Dispatch {
        /// The compiled kernel.
        pipeline: &'a dyn Pipeline,
        /// Its parameter struct.
        params: &'a [u8],
        /// How much work there is.
        extent: [u32; 3],
    },
    /// [`Command::Copy`](crate::Command::Copy).
    Copy,
    /// [`Command::Fill`](crate::Command::Fill).
    Fill,
    /// [`Command::Run`](crate::Command::Run).
    Run,
}

/// An operand, as far as the rules go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand {
    /// Which memory it is in: the same number for two operands of one command if and only if their offsets count from
    /// the same byte. Two memories have no byte in common.
    pub memory: u64,
    /// The memory's size.
    pub memory_bytes: u64,
    /// What the command does with the bytes.
    pub access: Access,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl Operand {
    /// Whether it shares a byte with another of the same memory, in which both lie.
    fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.offset + other.bytes && other.offset < self.offset + self.bytes
    }
}

/// Which rule a command breaks. Operands are named by their index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It has more or fewer operands than the operation takes.
    #[error("{given} operands given; it takes {expected}")]
    OperandCount {
        /// How many there are.
        given: usize,
        /// How many the operation takes.
        expected: usize,
    },
    /// An operand is to be used otherwise than the operation uses it.
    #[error("operand {operand} was given to be {given}; it is {expected}")]
    Access {
        /// Which operand.
        operand: usize,
        /// What the command says.
        given: Access,
        /// What the operation does.
        expected: Access,
    },
    /// The parameter struct is of another size than the kernel's.
    #[error("{given} parameter bytes given; the kernel has {expected}")]
    ParameterBytes {
        /// How many there are.
        given: usize,
        /// How many the kernel declares.
        expected: u32,
    },
    /// The dispatch has nothing to do.
    #[error("an extent of {extent:?} has no item; leave the operation out, or give each axis at least 1")]
    EmptyExtent {
        /// The extent.
        extent: [u32; 3],
    },
    /// An item has no part of its own of what is written.
    #[error("operand {operand} is written and has {bytes} bytes, which do not divide evenly among {items} items")]
    Uneven {
        /// Which operand.
        operand: usize,
        /// Its length.
        bytes: u64,
        /// The extent's first axis.
        items: u32,
    },
    /// The device cannot run the dispatch; see [`Pipeline::check`].
    #[error("{0}")]
    Unfit(&'static str),
    /// The source and the destination of a copy differ in length.
    #[error("a copy of {from} bytes to {to}; both operands must have one length")]
    Lengths {
        /// Bytes of the source.
        from: u64,
        /// Bytes of the destination.
        to: u64,
    },
    /// A fill ends inside a word.
    #[error("a fill of {bytes} bytes; it must be whole 32-bit words")]
    PartialWord {
        /// The length of what is filled.
        bytes: u64,
    },
    /// An operand has no bytes.
    #[error("operand {operand} has no bytes; leave the operation out")]
    Empty {
        /// Which operand.
        operand: usize,
    },
    /// An operand reaches past the end of its memory.
    #[error("operand {operand} is bytes {offset}..{} of {memory_bytes}", offset.saturating_add(*bytes))]
    OutOfBounds {
        /// Which operand.
        operand: usize,
        /// Its first byte.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// The memory's size.
        memory_bytes: u64,
    },
    /// An operand does not start where the device can bind it.
    #[error("operand {operand} starts at byte {offset}, which is not a multiple of {BINDING_ALIGNMENT}")]
    Misaligned {
        /// Which operand.
        operand: usize,
        /// Its first byte.
        offset: u64,
    },
    /// An operand is longer than the device can bind.
    #[error("operand {operand} has {bytes} bytes; the device binds at most {limit}")]
    TooLong {
        /// Which operand.
        operand: usize,
        /// Its length.
        bytes: u64,
        /// The device's limit.
        limit: u64,
    },
    /// Bytes that are written are another operand's too.
    #[error("operand {written} is written and overlaps operand {other}; an output must be memory of its own")]
    Aliased {
        /// An operand that is written.
        written: usize,
        /// The other.
        other: usize,
    },
}

/// Whether a device with these limits can run a command. The table at the [module](self) has the rules.
///
/// # Errors
/// The first rule that it breaks.
pub fn command<I>(operation: &Operation<'_>, operands: I, limits: &Limits) -> Result<(), CommandError>
where
    I: ExactSizeIterator<Item = Operand> + Clone,
{
    match operation {
        Operation::Dispatch { pipeline, params, extent } => {
            let source = pipeline.source();
            if params.len() != source.params_bytes as usize {
                return Err(CommandError::ParameterBytes { given: params.len(), expected: source.params_bytes });
            }
            if extent.contains(&0) {
                return Err(CommandError::EmptyExtent { extent: *extent });
            }
            // On the host, an item has its own part of what is written. A form for GPUs writes what it wants of it.
            let items = if source.host.is_some() { extent[0] } else { 1 };
            used(operands.clone(), Some(&source.bindings), items, limits)?;
            let count = operands.len().min(MAX_BINDINGS); // no more, by `kernel`
            let mut bytes = [0; MAX_BINDINGS];
            bytes.iter_mut().zip(operands).for_each(|(bytes, operand)| *bytes = operand.bytes);
            pipeline.check(*extent, params, &bytes[..count]).map_err(CommandError::Unfit)
        }
        Operation::Copy => {
            used(operands.clone(), Some(&[Access::Read, Access::Write]), 1, limits)?;
            let mut bytes = operands.map(|operand| operand.bytes);
            match (bytes.next(), bytes.next()) {
                (Some(from), Some(to)) if from != to => Err(CommandError::Lengths { from, to }),
                _ => Ok(()),
            }
        }
        Operation::Fill => {
            used(operands.clone(), Some(&[Access::Write]), 1, limits)?;
            let mut bytes = operands.map(|operand| operand.bytes);
            bytes.find(|bytes| bytes % 4 != 0).map_or(Ok(()), |bytes| Err(CommandError::PartialWord { bytes }))
        }
        // The commands of a list that is run bind what they use. What is named here says what others have to do with
        // it: it may be longer than one binding, and overlap.
        Operation::Run => operands.enumerate().try_for_each(|(at, operand)| placed(at, &operand)),
    }
}

/// Whether a command of a device with these limits can have operands like these, whatever it does: the part of
/// [`command`] that is about operands alone.
///
/// # Errors
/// The first rule that they break.
pub fn operands<I>(operands: I, limits: &Limits) -> Result<(), CommandError>
where
    I: ExactSizeIterator<Item = Operand> + Clone,
{
    used(operands, None, 1, limits)
}

/// Whether operands are those that an operation takes, and can be bound. So many items divide what is written among
/// them.
#[inline]
fn used<I>(operands: I, expected: Option<&[Access]>, items: u32, limits: &Limits) -> Result<(), CommandError>
where
    I: ExactSizeIterator<Item = Operand> + Clone,
{
    if let Some(expected) = expected
        && operands.len() != expected.len()
    {
        return Err(CommandError::OperandCount { given: operands.len(), expected: expected.len() });
    }
    for (at, operand) in operands.clone().enumerate() {
        let Operand { memory, access, bytes, .. } = operand;
        if let Some(&expected) = expected.and_then(|expected| expected.get(at))
            && access != expected
        {
            return Err(CommandError::Access { operand: at, given: access, expected });
        }
        placed(at, &operand)?;
        if bytes > limits.max_binding_bytes {
            return Err(CommandError::TooLong { operand: at, bytes, limit: limits.max_binding_bytes });
        }
        if access.writes() && !bytes.is_multiple_of(items.into()) {
            return Err(CommandError::Uneven { operand: at, bytes, items });
        }
        for (before, other) in operands.clone().take(at).enumerate() {
            let writes = access.writes() || other.access.writes();
            if other.memory == memory && writes && operand.overlaps(&other) {
                let (written, other) = if access.writes() { (at, before) } else { (before, at) };
                return Err(CommandError::Aliased { written, other });
            }
        }
    }
    Ok(())
}

/// Whether an operand is a part of its memory.
#[inline]
fn placed(at: usize, operand: &Operand) -> Result<(), CommandError> {
    let Operand { offset, bytes, memory_bytes, .. } = *operand;
    if bytes == 0 {
        return Err(CommandError::Empty { operand: at });
    }
    if offset.checked_add(bytes).is_none_or(|end| end > memory_bytes) {
        return Err(CommandError::OutOfBounds { operand: at, offset, bytes, memory_bytes });
    }
    if !offset.is_multiple_of(BINDING_ALIGNMENT) {
        return Err(CommandError::Misaligned { operand: at, offset });
    }
    Ok(())
}

/// Whether a kernel declares no more than every device takes. Every device asks when it makes a pipeline.
///
/// # Errors
/// [`Error::Compile`], which says what is too much.
pub fn kernel(source: &KernelSource) -> Result<(), Error> {
    let (bindings, params) = (source.bindings.len(), source.params_bytes);
    let message = if bindings > MAX_BINDINGS {
        format!("{bindings} bindings; there can be {MAX_BINDINGS}")
    } else if params > MAX_PARAMETER_BYTES {
        format!("{params} parameter bytes; there can be {MAX_PARAMETER_BYTES}")
    } else {
        return Ok(());
    };
    Err(Error::Compile { kernel: source.name.clone().into_owned(), message: message.into() })
}
