//! Each rule with a command that breaks it and no other, and one beside it that does not.

use super::*;
use crate::host::HostPipeline;
use crate::unique_id;
use std::any::Any;

const MEMORY: u64 = 4096;
const LIMITS: Limits =
    Limits { max_binding_bytes: 2048, max_allocations: 1, memory_bytes: MEMORY, max_lists_in_flight: 1 };

/// Bytes of a memory.
fn operand(memory: u64, access: Access, offset: u64, bytes: u64) -> Operand {
    Operand { memory, memory_bytes: MEMORY, access, offset, bytes }
}

fn read(memory: u64, offset: u64, bytes: u64) -> Operand {
    operand(memory, Access::Read, offset, bytes)
}

fn write(memory: u64, offset: u64, bytes: u64) -> Operand {
    operand(memory, Access::Write, offset, bytes)
}

fn update(memory: u64, offset: u64, bytes: u64) -> Operand {
    operand(memory, Access::ReadWrite, offset, bytes)
}

fn source(bindings: &[Access], params_bytes: u32) -> KernelSource {
    KernelSource {
        name: "kernel".into(),
        bindings: bindings.to_vec().into(),
        params_bytes,
        wgsl: None,
        host: Some(|_| Ok(())),
    }
}

/// A kernel of a device that has a form for GPUs only, and is choosy.
#[derive(Debug)]
struct Choosy(KernelSource);

impl Pipeline for Choosy {
    fn source(&self) -> &KernelSource {
        &self.0
    }
    fn check(&self, extent: [u32; 3], params: &[u8], operand_bytes: &[u64]) -> Result<(), &'static str> {
        match (extent, params, operand_bytes) {
            ([3, 2, 1], [4], [8, 16]) => Ok(()),
            _ => Err("not what it takes"),
        }
    }
    fn bytes(&self) -> u64 {
        0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Checks a dispatch of a kernel with these bindings on the host, of so many items, without parameters.
fn dispatch(bindings: &[Access], items: u32, operands: &[Operand]) -> Result<(), CommandError> {
    let pipeline = HostPipeline::new(&source(bindings, 0), "test").unwrap();
    let operation = Operation::Dispatch { pipeline: &pipeline, params: &[], extent: [items, 1, 1] };
    command(&operation, operands.iter().copied(), &LIMITS)
}

/// A kernel that is given what it declares, where its first operand may be anything.
fn touch(operands: &[Operand]) -> Result<(), CommandError> {
    let bindings: Vec<Access> = operands.iter().map(|operand| operand.access).collect();
    dispatch(&bindings, 1, operands)
}

fn copy(operands: &[Operand]) -> Result<(), CommandError> {
    command(&Operation::Copy, operands.iter().copied(), &LIMITS)
}

fn fill(operands: &[Operand]) -> Result<(), CommandError> {
    command(&Operation::Fill, operands.iter().copied(), &LIMITS)
}

fn run(operands: &[Operand]) -> Result<(), CommandError> {
    command(&Operation::Run, operands.iter().copied(), &LIMITS)
}

#[test]
fn a_command_has_as_many_operands_as_its_operation() {
    let (a, b) = (read(1, 0, 8), write(2, 0, 8));
    let count = |given, expected| Err(CommandError::OperandCount { given, expected });
    assert_eq!(dispatch(&[Access::Read, Access::Write], 1, &[a, b]), Ok(()));
    assert_eq!(dispatch(&[Access::Read, Access::Write], 1, &[a]), count(1, 2));
    assert_eq!(dispatch(&[Access::Read], 1, &[a, b]), count(2, 1));
    assert_eq!(dispatch(&[], 1, &[]), Ok(()));
    assert_eq!(copy(&[a, b]), Ok(()));
    assert_eq!(copy(&[a]), count(1, 2));
    assert_eq!(copy(&[a, b, b]), count(3, 2));
    assert_eq!(fill(&[b]), Ok(()));
    assert_eq!(fill(&[]), count(0, 1));
    assert_eq!(fill(&[b, b]), count(2, 1));
}

#[test]
fn operands_are_used_as_the_operation_uses_them() {
    let all = [Access::Read, Access::Write, Access::ReadWrite];
    for given in all {
        for expected in all {
            let operands = [read(1, 0, 8), operand(2, given, 0, 8)];
            let wrong = Err(CommandError::Access { operand: 1, given, expected });
            let answer = dispatch(&[Access::Read, expected], 1, &operands);
            assert_eq!(answer, if given == expected { Ok(()) } else { wrong });
        }
    }
    let wrong = |operand, given, expected| Err(CommandError::Access { operand, given, expected });
    assert_eq!(copy(&[update(1, 0, 8), write(2, 0, 8)]), wrong(0, Access::ReadWrite, Access::Read));
    assert_eq!(copy(&[read(1, 0, 8), update(2, 0, 8)]), wrong(1, Access::ReadWrite, Access::Write));
    assert_eq!(fill(&[read(1, 0, 8)]), wrong(0, Access::Read, Access::Write));
}

#[test]
fn a_dispatch_has_the_parameters_of_its_kernel() {
    let pipeline = HostPipeline::new(&source(&[], 8), "test").unwrap();
    for given in [0, 4, 7, 8, 9] {
        let operation = Operation::Dispatch { pipeline: &pipeline, params: &vec![0; given], extent: [1; 3] };
        let wrong = Err(CommandError::ParameterBytes { given, expected: 8 });
        assert_eq!(command(&operation, std::iter::empty(), &LIMITS), if given == 8 { Ok(()) } else { wrong });
    }
}

#[test]
fn a_dispatch_has_an_item_along_each_axis() {
    let kernels: [&dyn Pipeline; 2] =
        [&HostPipeline::new(&source(&[], 0), "test").unwrap(), &Choosy(KernelSource { host: None, ..source(&[], 0) })];
    for pipeline in kernels {
        for extent in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]] {
            let operation = Operation::Dispatch { pipeline, params: &[], extent };
            let answer = command(&operation, std::iter::empty(), &LIMITS);
            assert_eq!(answer, Err(CommandError::EmptyExtent { extent }));
        }
    }
    // Whatever it writes.
    let empty = Err(CommandError::EmptyExtent { extent: [0, 1, 1] });
    assert_eq!(dispatch(&[Access::Write], 0, &[write(1, 0, 8)]), empty);
}

#[test]
fn each_item_of_a_host_form_has_its_own_part_of_what_is_written() {
    let bindings = [Access::Read, Access::Write, Access::ReadWrite];
    let operands = |written, updated| [read(1, 0, 7), write(2, 0, written), update(3, 0, updated)];
    let uneven = |operand, bytes| Err(CommandError::Uneven { operand, bytes, items: 3 });
    assert_eq!(dispatch(&bindings, 3, &operands(12, 6)), Ok(()));
    assert_eq!(dispatch(&bindings, 3, &operands(13, 6)), uneven(1, 13));
    assert_eq!(dispatch(&bindings, 3, &operands(12, 8)), uneven(2, 8));
    assert_eq!(dispatch(&bindings, 3, &operands(2, 6)), uneven(1, 2));
    // A form for GPUs writes what it wants.
    let pipeline = Choosy(KernelSource { host: None, ..source(&[Access::Write, Access::Write], 1) });
    let operation = Operation::Dispatch { pipeline: &pipeline, params: &[4], extent: [3, 2, 1] };
    let operands = [write(1, 0, 8), write(2, 0, 16)];
    assert_eq!(command(&operation, operands.into_iter(), &LIMITS), Ok(()));
}

#[test]
fn the_device_is_asked_for_a_dispatch_with_all_that_it_needs_to_know() {
    let pipeline = Choosy(source(&[Access::Read, Access::Read], 1));
    let ask = |params: u8, extent, bytes| {
        let operation = Operation::Dispatch { pipeline: &pipeline, params: &[params], extent };
        command(&operation, [read(1, 0, bytes), read(2, 0, 16)].into_iter(), &LIMITS)
    };
    let unfit = Err(CommandError::Unfit("not what it takes"));
    assert_eq!(ask(4, [3, 2, 1], 8), Ok(()));
    assert_eq!(
        [ask(5, [3, 2, 1], 8), ask(4, [3, 2, 2], 8), ask(4, [3, 2, 1], 9)],
        [unfit.clone(), unfit.clone(), unfit]
    );
}

#[test]
fn a_copy_is_of_one_length() {
    assert_eq!(copy(&[read(1, 0, 7), write(2, 256, 7)]), Ok(()));
    assert_eq!(copy(&[read(1, 0, 8), write(2, 0, 4)]), Err(CommandError::Lengths { from: 8, to: 4 }));
    assert_eq!(copy(&[read(1, 0, 4), write(2, 0, 8)]), Err(CommandError::Lengths { from: 4, to: 8 }));
}

#[test]
fn a_fill_is_of_whole_words() {
    for bytes in 1..=12 {
        let whole = if bytes % 4 == 0 { Ok(()) } else { Err(CommandError::PartialWord { bytes }) };
        assert_eq!(fill(&[write(1, 0, bytes)]), whole);
    }
}

#[test]
fn an_operand_has_bytes() {
    let empty = |operand| Err(CommandError::Empty { operand });
    assert_eq!(touch(&[read(1, 0, 1), read(2, 0, 0)]), empty(1));
    assert_eq!(touch(&[write(1, 0, 0)]), empty(0));
    assert_eq!(copy(&[read(1, 0, 0), write(2, 0, 0)]), empty(0));
    assert_eq!(fill(&[write(1, 0, 0)]), empty(0));
    assert_eq!(run(&[read(1, 0, 1), read(2, 256, 0)]), empty(1));
}

#[test]
fn an_operand_lies_inside_its_memory() {
    for (offset, bytes) in [(MEMORY, 1), (MEMORY - 256, 257), (256, u64::MAX), (u64::MAX - 255, 256), (0, MEMORY + 1)] {
        let out = Err(CommandError::OutOfBounds { operand: 1, offset, bytes, memory_bytes: MEMORY });
        let operands = [read(1, 0, 4), read(2, offset, bytes)];
        assert_eq!(touch(&operands), out);
        assert_eq!(run(&operands), out);
    }
    let last = read(1, MEMORY - 256, 256);
    assert_eq!((touch(&[last]), run(&[last])), (Ok(()), Ok(())));
    let fill = fill(&[write(1, MEMORY, 4)]);
    assert!(matches!(fill, Err(CommandError::OutOfBounds { operand: 0, offset: MEMORY, .. })), "{fill:?}");
    let copy = copy(&[read(1, 0, 8), Operand { memory_bytes: 4, ..write(2, 0, 8) }]);
    assert!(matches!(copy, Err(CommandError::OutOfBounds { operand: 1, memory_bytes: 4, .. })), "{copy:?}");
}

#[test]
fn an_operand_is_aligned() {
    for offset in [1, 8, 128, 255, 257] {
        let misaligned = Err(CommandError::Misaligned { operand: 1, offset });
        let operands = [read(1, 0, 4), write(2, offset, 4)];
        assert_eq!(
            [touch(&operands), copy(&operands), run(&operands)],
            [misaligned.clone(), misaligned.clone(), misaligned]
        );
    }
    assert_eq!(touch(&[read(1, 512, 3)]), Ok(()));
}

#[test]
fn an_operand_is_no_longer_than_the_device_binds() {
    let (limit, too_long) = (LIMITS.max_binding_bytes, read(1, 0, LIMITS.max_binding_bytes + 1));
    assert_eq!(touch(&[read(1, 0, limit)]), Ok(()));
    assert_eq!(touch(&[too_long]), Err(CommandError::TooLong { operand: 0, bytes: limit + 1, limit }));
    // What a run names is not bound.
    assert_eq!(run(&[too_long]), Ok(()));
}

#[test]
fn what_is_written_is_no_other_operands() {
    let aliased = |written, other| Err(CommandError::Aliased { written, other });
    // Two ranges with and without a common byte, whichever comes first.
    let (low, high) = ((0, 300), (256, 300));
    for (first, second) in [(low, high), (high, low), (low, low), ((0, 2048), high)] {
        assert_eq!(touch(&[read(1, first.0, first.1), write(1, second.0, second.1)]), aliased(1, 0));
        assert_eq!(touch(&[write(1, first.0, first.1), read(1, second.0, second.1)]), aliased(0, 1));
        let both = touch(&[write(1, first.0, first.1), update(1, second.0, second.1)]);
        assert_eq!(both, aliased(1, 0));
    }
    assert_eq!(touch(&[read(2, 0, 8), read(1, 0, 8), update(3, 0, 8), write(1, 0, 8)]), aliased(3, 1));
    // Beside each other, in another memory, or only read.
    assert_eq!(touch(&[write(1, 0, 256), write(1, 256, 256)]), Ok(()));
    assert_eq!(touch(&[write(1, 256, 256), read(1, 0, 256)]), Ok(()));
    assert_eq!(touch(&[write(1, 0, 256), write(2, 0, 256)]), Ok(()));
    assert_eq!(touch(&[read(1, 0, 256), read(1, 0, 300)]), Ok(()));
    assert_eq!(copy(&[read(1, 0, 256), write(1, 0, 256)]), aliased(1, 0));
    // What a run names says what others have to do with it.
    assert_eq!(run(&[read(1, 0, 8), write(1, 0, 8)]), Ok(()));
}

#[test]
fn a_kernel_declares_what_every_device_takes() {
    let refused = |bindings: usize, params| match kernel(&source(&vec![Access::Read; bindings], params)) {
        Err(Error::Compile { kernel, message }) => {
            assert_eq!(kernel, "kernel");
            Some(message.to_string())
        }
        other => other.map_or_else(|other| panic!("{other}"), |()| None),
    };
    assert_eq!(refused(MAX_BINDINGS, MAX_PARAMETER_BYTES), None);
    assert_eq!(refused(9, 0).as_deref(), Some("9 bindings; there can be 8"));
    assert_eq!(refused(0, 129).as_deref(), Some("129 parameter bytes; there can be 128"));
    // Where pipelines are made.
    let made = HostPipeline::new(&source(&[Access::Read; 9], 0), "test");
    assert!(matches!(made, Err(Error::Compile { .. })), "{made:?}");
}

/// A bug of one comparison is one of a boundary: everything about it, against the plainest words for the rules.
#[test]
fn random_operands_are_what_the_rules_say_byte_by_byte() {
    let mut random = crate::validate::tests::rig::fresh();
    let mut outcomes = [0; 2];
    for _ in 0..20_000 {
        let count = random.usize(1..4);
        let operands: Vec<Operand> = (0..count)
            .map(|_| Operand {
                memory: random.u64(1..3),
                memory_bytes: 768,
                access: [Access::Read, Access::Write, Access::ReadWrite][random.usize(..3)],
                offset: 256 * random.u64(0..4) + u64::from(random.u8(..20) == 0),
                bytes: [0, 1, 255, 256, 257, 512][random.usize(..6)],
            })
            .collect();
        let bytes = |operand: &Operand| operand.offset..operand.offset + operand.bytes;
        let fine = operands.iter().enumerate().all(|(at, one)| {
            let apart = operands[..at].iter().all(|other| {
                let common = one.memory == other.memory && bytes(one).any(|byte| bytes(other).contains(&byte));
                !common || (one.access, other.access) == (Access::Read, Access::Read)
            });
            apart && one.bytes != 0 && one.offset % 256 == 0 && bytes(one).all(|byte| byte < one.memory_bytes)
        });
        let answer = touch(&operands);
        assert_eq!(answer.is_ok(), fine, "{operands:?}: {answer:?}");
        outcomes[usize::from(fine)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 1000), "{outcomes:?}");
}

#[test]
fn identity_is_a_number_of_the_memory_and_not_its_place_in_a_table() {
    let (one, two) = (unique_id(), unique_id());
    assert_eq!(touch(&[read(one, 0, 8), write(two, 0, 8)]), Ok(()));
    assert!(touch(&[read(one, 0, 8), write(one, 0, 8)]).is_err());
}
