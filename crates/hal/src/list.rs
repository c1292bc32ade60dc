//! A sealed list of commands.

use crate::check::{self, Operand, Operation};
use crate::{Binding, Command, Limits, Memory, Pipeline, Violation};
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
    /// The list that has the command's tables.
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

    /// Checks that every command is one by [the rules](crate::check), that what it names is in the list's tables, and
    /// the lists that it runs likewise. Says nothing about order between commands, nor on which device memories and
    /// pipelines are.
    ///
    /// # Errors
    /// The first violation.
    pub fn check(&self, limits: &Limits) -> Result<(), Violation> {
        for (index, command) in self.commands.iter().enumerate() {
            self.check_command(index, command, limits)?;
        }
        self.lists.iter().try_for_each(|inner| inner.check_inner(limits))
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

    /// Finds what a command names in the list's tables, and has it checked.
    fn check_command(&self, index: usize, command: &Command, limits: &Limits) -> Result<(), Violation> {
        let malformed = |what| Violation::Malformed { command: index, what };
        let operation = match command {
            Command::Dispatch { pipeline, params, extent, .. } => {
                if !(params.start as usize).is_multiple_of(PARAMETER_ALIGNMENT) {
                    return Err(malformed("parameters not aligned to 16 bytes"));
                }
                let pipeline = self.pipelines.get(*pipeline as usize).ok_or(malformed("pipeline outside the table"))?;
                let params = self.params.get(params.range()).ok_or(malformed("parameters outside the table"))?;
                Operation::Dispatch { pipeline: &**pipeline, params, extent: *extent }
            }
            Command::Copy { .. } => Operation::Copy,
            Command::Fill { .. } => Operation::Fill,
            Command::Run { list, .. } => {
                self.lists.get(*list as usize).ok_or(malformed("list outside the table"))?;
                Operation::Run
            }
            Command::Barrier | Command::Timestamp => return Ok(()),
        };
        let bindings = self.bindings.get(command.bindings().range()).ok_or(malformed("bindings outside the table"))?;
        if bindings.iter().any(|binding| binding.memory as usize >= self.memories.len()) {
            return Err(malformed("memory outside the table"));
        }
        let operands = bindings.iter().map(|binding| {
            let memory = &self.memories[binding.memory as usize];
            let Binding { access, offset, bytes, .. } = *binding;
            // Two entries of the table may be the same memory; the indices then differ, the ids do not.
            Operand { memory: memory.id(), memory_bytes: memory.bytes(), access, offset, bytes }
        });
        check::command(&operation, operands, limits).map_err(|error| Violation::Command { command: index, error })
    }
}

#[cfg(test)]
mod tests;
