//! A sealed list of commands.

use crate::{
    Access, BINDING_ALIGNMENT, Binding, Command, Limits, MAX_BINDINGS, MAX_PARAMETER_BYTES, Memory, Pipeline, Violation,
};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// Every parameter struct starts at a multiple of this many bytes of its list.
pub const PARAMETER_ALIGNMENT: usize = 16;

/// Commands with everything they name. Plain data while it is built; nobody changes it once it is submitted.
///
/// The tables own what the commands use: a submitted list keeps its memories and pipelines alive until it has run.
#[derive(Debug, Default)]
pub struct List {
    /// What to do. Only barriers order the commands.
    pub commands: Vec<Command>,
    /// Operands of all commands.
    pub bindings: Vec<Binding>,
    /// Parameter structs of all dispatches, each starting at a multiple of [`PARAMETER_ALIGNMENT`].
    pub params: Vec<u8>,
    /// Memories that the bindings name.
    pub memories: Vec<Arc<dyn Memory>>,
    /// Pipelines that the dispatches name.
    pub pipelines: Vec<Arc<dyn Pipeline>>,
    /// Lists that this one runs ([`Command::Run`]). They run no further lists and hold no timestamps.
    pub lists: Vec<Arc<List>>,
    /// What a device made of the list in advance.
    pub prepared: Prepared,
}

/// What a device made of a list when it was told that the list will be submitted often
/// ([`Device::prepare`](crate::Device::prepare)). It lives as long as the list.
#[derive(Default)]
pub struct Prepared(OnceLock<Box<dyn Any + Send + Sync>>);

impl Prepared {
    /// Keeps a form. Nothing happens if there is one: a list belongs to one device.
    pub fn set(&self, form: Box<dyn Any + Send + Sync>) {
        let _ = self.0.set(form);
    }

    /// Whether there is a form.
    pub fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// The form, if it is of this type: one of the backend that asks.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Prepared" } else { "Prepared(not)" })
    }
}

/// A command where it stands; see [`List::steps`].
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The list whose tables the command names.
    pub list: &'a Arc<List>,
    /// The command's index there.
    pub at: usize,
    /// The index of the submitted list's command that it belongs to, which is its own or that of a [`Command::Run`].
    pub index: u32,
}

impl<'a> Step<'a> {
    /// The command.
    pub fn command(&self) -> &'a Command {
        &self.list.commands[self.at]
    }
}

impl List {
    /// Empties the tables and keeps their capacity.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.bindings.clear();
        self.params.clear();
        self.memories.clear();
        self.pipelines.clear();
        self.lists.clear();
        self.prepared = Prepared::default();
    }

    /// Every command in the order of the list, where a command that runs a list stands for that list's.
    pub fn steps(list: &Arc<Self>) -> impl Iterator<Item = Step<'_>> {
        (0..).zip(&list.commands).flat_map(move |(index, command)| {
            let (list, range) = match command {
                Command::Run { list: inner, .. } => {
                    let inner = &list.lists[*inner as usize];
                    (inner, 0..inner.commands.len())
                }
                _ => (list, index as usize..index as usize + 1),
            };
            range.map(move |at| Step { list, at, index })
        })
    }

    /// The list and those that it runs.
    pub fn with_inner(list: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        std::iter::once(list).chain(&list.lists)
    }

    /// The operands of a command.
    pub fn bindings_of(&self, command: &Command) -> &[Binding] {
        &self.bindings[command.bindings().range()]
    }

    /// Checks every command against the list's own tables, its kernel's declaration and the device's limits, and the lists
    /// that it runs likewise, but for those that a device has [prepared](crate::Device::prepare), which checked them then.
    /// Says nothing about order between commands.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self, limits: &Limits) -> Result<(), Violation> {
        for (index, command) in self.commands.iter().enumerate() {
            self.check_command(index, command, limits)?;
        }
        self.lists.iter().filter(|inner| !inner.prepared.is_set()).try_for_each(|inner| inner.check_inner(limits))
    }

    /// Checks a list that another is to run.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_inner(&self, limits: &Limits) -> Result<(), Violation> {
        let apart = |command: &Command| matches!(command, Command::Run { .. } | Command::Timestamp);
        match self.commands.iter().position(apart) {
            Some(command) => {
                let what = "a list that another runs can neither run a third nor take the time";
                Err(Violation::Malformed { command, what })
            }
            None => self.check(limits),
        }
    }

    fn check_command(&self, index: usize, command: &Command, limits: &Limits) -> Result<(), Violation> {
        let malformed = |what| Violation::Malformed { command: index, what };
        let bindings = self.bindings.get(command.bindings().range()).ok_or(malformed("bindings outside the table"))?;
        match command {
            Command::Dispatch { pipeline, params, extent, .. } => {
                let pipeline = self.pipelines.get(*pipeline as usize).ok_or(malformed("pipeline outside the table"))?;
                let source = pipeline.source();
                if bindings.len() > MAX_BINDINGS {
                    return Err(malformed("more bindings than a command may have"));
                }
                if !bindings.iter().map(|b| b.access).eq(source.bindings.iter().copied()) {
                    return Err(malformed("number or access of bindings"));
                }
                if params.len > MAX_PARAMETER_BYTES
                    || params.len != source.params_bytes
                    || self.params.get(params.range()).is_none()
                {
                    return Err(malformed("number of parameter bytes"));
                }
                if !(params.start as usize).is_multiple_of(PARAMETER_ALIGNMENT) {
                    return Err(malformed("parameters not aligned to 16 bytes"));
                }
                // A kernel's form for GPUs writes what it wants of its bindings.
                let items = u64::from(extent[0]);
                if source.host.is_some()
                    && bindings.iter().any(|b| b.access.writes() && (items == 0 || b.bytes % items != 0))
                {
                    return Err(malformed("a written binding does not divide by the extent"));
                }
                let bytes: smallvec::SmallVec<[u64; MAX_BINDINGS]> = bindings.iter().map(|b| b.bytes).collect();
                pipeline.check(*extent, &self.params[params.range()], &bytes).map_err(malformed)?;
            }
            Command::Copy { .. } => match bindings {
                [from, to] if from.access == Access::Read && to.access == Access::Write && from.bytes == to.bytes => {}
                _ => return Err(malformed("a copy is one source and one destination of its length")),
            },
            Command::Fill { .. } => match bindings {
                [to] if to.access == Access::Write && to.bytes % 4 == 0 => {}
                _ => return Err(malformed("a fill is one destination of whole 32-bit words")),
            },
            Command::Run { list, .. } => {
                self.lists.get(*list as usize).ok_or(malformed("list outside the table"))?;
            }
            Command::Barrier | Command::Timestamp => {}
        }
        // A list that is run is bound by its own commands: these bindings may be longer than one may be, and overlap.
        let run = matches!(command, Command::Run { .. });
        for (at, binding) in bindings.iter().enumerate() {
            let Binding { offset, bytes, .. } = *binding;
            let memory = self.memories.get(binding.memory as usize).ok_or(malformed("memory outside the table"))?;
            if offset.checked_add(bytes).is_none_or(|end| end > memory.bytes()) {
                let memory_bytes = memory.bytes();
                return Err(Violation::OutOfBounds { command: index, binding: at, offset, bytes, memory_bytes });
            }
            if offset % BINDING_ALIGNMENT != 0 {
                return Err(Violation::Misaligned { command: index, binding: at, offset });
            }
            if bytes > limits.max_binding_bytes && !run {
                let limit = limits.max_binding_bytes;
                return Err(Violation::BindingTooLarge { command: index, binding: at, bytes, limit });
            }
            // With those before it, whose ends are known not to overflow.
            for (other_at, other) in bindings.iter().enumerate().take(if run { 0 } else { at }) {
                // Two entries of the table may be the same memory; the indices then differ, the ids do not.
                let same_memory = binding.memory == other.memory
                    || self.memories.get(other.memory as usize).is_some_and(|m| m.id() == memory.id());
                let writes = binding.access.writes() || other.access.writes();
                if same_memory && writes && binding.overlaps(&Binding { memory: binding.memory, ..*other }) {
                    return Err(Violation::Aliased { command: index, first: other_at, second: at });
                }
            }
        }
        Ok(())
    }
}
