//! What a list adds to the rules of its commands: its tables, and the lists that it runs.

use super::*;
use crate::check::CommandError;
use crate::host::{HostMemory, HostPipeline};
use crate::{Access, IndexRange, KernelSource, MemoryKind};

const LIMITS: Limits =
    Limits { max_binding_bytes: 1024, max_allocations: 1, memory_bytes: 4096, max_lists_in_flight: 1 };

/// A list of a barrier, a timestamp, a dispatch, a copy, a fill and the run of a list of one fill: each with everything
/// that it can name.
fn list() -> List {
    let memory = || Arc::new(HostMemory::new(MemoryKind::Device, 2048, "test").unwrap()) as Arc<dyn Memory>;
    let source = KernelSource {
        name: "kernel".into(),
        bindings: vec![Access::Read, Access::Write].into(),
        params_bytes: 4,
        wgsl: None,
        host: Some(|_| Ok(())),
    };
    let bind = |memory, access, offset| Binding { memory, access, offset, bytes: 8 };
    let span = |start, len| IndexRange { start, len };
    let inner = List {
        commands: vec![Command::Barrier, Command::Fill { bindings: span(0, 1), pattern: 1 }],
        bindings: vec![bind(0, Access::Write, 0)],
        memories: vec![memory()],
        ..List::default()
    };
    List {
        commands: vec![
            Command::Barrier,
            Command::Timestamp,
            Command::Dispatch { pipeline: 0, bindings: span(0, 2), params: span(16, 4), extent: [2, 1, 1] },
            Command::Copy { bindings: span(2, 2) },
            Command::Fill { bindings: span(4, 1), pattern: 1 },
            Command::Run { list: 0, bindings: span(5, 1) },
        ],
        bindings: vec![
            bind(0, Access::Read, 0),
            bind(1, Access::Write, 0),
            bind(0, Access::Read, 256),
            bind(1, Access::Write, 256),
            bind(1, Access::Write, 512),
            bind(1, Access::Write, 1024),
        ],
        params: vec![0; 20],
        memories: vec![memory(), memory()],
        pipelines: vec![Arc::new(HostPipeline::new(&source, "test").unwrap())],
        lists: vec![Arc::new(inner)],
        ..List::default()
    }
}

fn inner(list: &mut List) -> &mut List {
    Arc::get_mut(&mut list.lists[0]).unwrap()
}

type Change = fn(&mut List);

/// What is said of the list after a change.
fn after(change: impl FnOnce(&mut List)) -> Violation {
    let mut list = list();
    assert_eq!(list.check(&LIMITS), Ok(()));
    change(&mut list);
    list.check(&LIMITS).unwrap_err()
}

#[test]
fn what_a_command_names_is_in_the_tables() {
    let cases: [(usize, &str, Change); 8] = [
        (2, "pipeline outside the table", |list| list.pipelines.clear()),
        (2, "parameters outside the table", |list| list.params.truncate(19)),
        (2, "parameters not aligned to 16 bytes", |list| {
            let Command::Dispatch { params, .. } = &mut list.commands[2] else { unreachable!() };
            params.start = 8;
        }),
        (5, "list outside the table", |list| list.lists.clear()),
        (5, "bindings outside the table", |list| list.bindings.truncate(5)),
        (4, "bindings outside the table", |list| list.bindings.truncate(4)),
        (2, "memory outside the table", |list| list.memories.truncate(1)),
        (3, "memory outside the table", |list| list.bindings[2].memory = 2),
    ];
    for (command, what, change) in cases {
        assert_eq!(after(change), Violation::Malformed { command, what });
    }
}

#[test]
fn each_command_has_to_keep_its_rules_and_is_named() {
    let cases: [(usize, CommandError, Change); 5] = [
        (2, CommandError::Uneven { operand: 1, bytes: 9, items: 2 }, |list| list.bindings[1].bytes = 9),
        (2, CommandError::EmptyExtent { extent: [0, 1, 1] }, |list| {
            let Command::Dispatch { extent, .. } = &mut list.commands[2] else { unreachable!() };
            extent[0] = 0;
        }),
        (3, CommandError::Lengths { from: 4, to: 8 }, |list| list.bindings[2].bytes = 4),
        (4, CommandError::PartialWord { bytes: 6 }, |list| list.bindings[4].bytes = 6),
        (5, CommandError::Misaligned { operand: 0, offset: 1025 }, |list| list.bindings[5].offset += 1),
    ];
    for (command, error, change) in cases {
        assert_eq!(after(change), Violation::Command { command, error });
    }
    let out = CommandError::OutOfBounds { operand: 0, offset: 2048, bytes: 8, memory_bytes: 2048 };
    assert_eq!(after(|list| list.bindings[4].offset = 2048), Violation::Command { command: 4, error: out });
    let long = CommandError::TooLong { operand: 0, bytes: 1028, limit: 1024 };
    assert_eq!(
        after(|list| (list.bindings[4].offset, list.bindings[4].bytes) = (0, 1028)),
        Violation::Command { command: 4, error: long }
    );
}

/// Two entries of the table may be one memory.
#[test]
fn a_memory_that_is_in_the_table_twice_is_one() {
    let aliased = CommandError::Aliased { written: 1, other: 0 };
    let same = after(|list| list.memories[1] = Arc::clone(&list.memories[0]));
    assert_eq!(same, Violation::Command { command: 2, error: aliased });
}

#[test]
fn a_list_that_is_run_keeps_the_rules_and_runs_none_and_takes_no_time() {
    let what = "a list that another runs can neither run a third nor take the time";
    let apart = Violation::Malformed { command: 0, what };
    assert_eq!(after(|list| inner(list).commands.insert(0, Command::Timestamp)), apart);
    let run = Command::Run { list: 0, bindings: IndexRange { start: 0, len: 0 } };
    assert_eq!(after(|list| inner(list).commands[0] = run), apart);
    let error = CommandError::PartialWord { bytes: 6 };
    assert_eq!(after(|list| inner(list).bindings[0].bytes = 6), Violation::Command { command: 1, error });
    // By itself it may do either.
    assert_eq!(list().check(&LIMITS), Ok(()));
    assert_eq!(list().check_inner(&LIMITS), Err(Violation::Malformed { command: 1, what }));
}
