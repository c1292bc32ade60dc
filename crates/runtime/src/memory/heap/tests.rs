//! One stream's blocks alone: what splits and merges keep.

#![allow(clippy::unwrap_used, reason = "tests, and helpers of tests")]

use super::*;
use crate::memory::class::Scale;
use crate::order::point::{Point, Use};
use thalweg_hal::host::HostMemory;
use thalweg_hal::{Access, MemoryKind};

const KIB: u64 = 1 << 10;

fn class(kib: u64) -> Class {
    Class::of(MemoryKind::Device, kib * KIB, Scale::of(1 << 40)).unwrap()
}

/// A heap with a span of so many KiB, divided into blocks of 32 that are handed out, in the order of their bytes.
#[expect(clippy::vec_box, reason = "what is handed out is boxed")]
fn divided(kib: u64, raw: bool) -> (Heap, Vec<Box<Block>>) {
    let mut heap = Heap::default();
    // What the memory is is never looked at.
    let memory = Arc::new(HostMemory::new(MemoryKind::Device, 256, "test").unwrap());
    let place = Place { memory, segment: 3, offset: 512, bytes: kib * KIB, raw };
    let mut blocks = vec![heap.add_span(class(32), place, Writes::new())];
    blocks.extend((1..kib / 32).map(|_| take(&mut heap, 32).unwrap()));
    assert!(take(&mut heap, 32).is_none());
    assert!((0..).zip(&blocks).all(|(at, block)| (block.offset, block.bytes) == (512 + at * 32 * KIB, 32 * KIB)));
    (heap, blocks)
}

fn take(heap: &mut Heap, kib: u64) -> Option<Box<Block>> {
    heap.take(class(kib), Purpose::Commands, &StreamHeap::new(0).returns, |_| 0)
}

fn merge_and_take(heap: &mut Heap, kib: u64, purpose: Purpose) -> Option<Box<Block>> {
    heap.merge_and_take(class(kib), purpose, |_| 0)
}

fn give_back(heap: &mut Heap, block: Box<Block>) {
    heap.free[block.zone as usize].push(block);
}

fn stamp(block: &mut Block, access: Access, stream: u32) {
    block.hazard.uses.get_mut().stamp(access, Use { at: Point { stream, value: 1 }, command: 0 }, &Arc::default());
}

fn users(block: &mut Block) -> Vec<u32> {
    let mut users: Vec<_> = block.hazard.uses.get_mut().before(Access::Write).map(|by| by.at.stream).collect();
    users.sort_unstable();
    users
}

/// I5: what comes after the whole comes after each part, and the other way round.
// audit: C13
#[test]
fn merges_unite_the_uses_of_the_parts_and_splits_copy_those_of_the_whole() {
    let (mut heap, blocks) = divided(96, false);
    for (stream, mut block) in (1..).zip(blocks) {
        stamp(&mut block, Access::Write, stream);
        stamp(&mut block, Access::Read, stream + 10);
        give_back(&mut heap, block);
    }
    assert!(take(&mut heap, 80).is_none(), "only merged");
    let mut whole = merge_and_take(&mut heap, 80, Purpose::Commands).unwrap();
    assert_eq!((whole.offset, whole.bytes, users(&mut whole)), (512, 96 * KIB, vec![1, 2, 3, 11, 12, 13]));
    give_back(&mut heap, whole);
    let mut parts = [32, 64].map(|kib| take(&mut heap, kib).unwrap());
    assert_eq!(parts.each_ref().map(|part| part.bytes), [32 * KIB, 64 * KIB]);
    assert!(parts.iter_mut().all(|part| users(part) == [1, 2, 3, 11, 12, 13]));
}

// audit: C13
#[test]
fn what_the_host_writes_to_is_merged_of_what_is_settled_alone() {
    let (mut heap, mut blocks) = divided(96, false);
    stamp(&mut blocks[2], Access::Write, 1);
    blocks.into_iter().for_each(|block| give_back(&mut heap, block));
    assert!(merge_and_take(&mut heap, 96, Purpose::HostWrite).is_none());
    let mut settled = merge_and_take(&mut heap, 64, Purpose::HostWrite).unwrap();
    assert_eq!((settled.offset, settled.bytes, users(&mut settled)), (512, 64 * KIB, vec![]));
}

/// What was never written is filled by its first user, and nothing else is: that would be somebody's data in between.
// audit: C13
#[test]
fn parts_of_what_was_never_written_are_raw_and_are_not_merged_with_what_was() {
    let (mut heap, mut blocks) = divided(96, true);
    assert!(blocks.iter().all(|block| block.raw));
    blocks[0].raw = false;
    blocks.into_iter().for_each(|block| give_back(&mut heap, block));
    assert!(merge_and_take(&mut heap, 96, Purpose::Commands).is_none());
    let raw = merge_and_take(&mut heap, 64, Purpose::Commands).unwrap();
    assert_eq!((raw.offset, raw.bytes, raw.raw), (512 + 32 * KIB, 64 * KIB, true));
    let written = take(&mut heap, 32).unwrap();
    assert_eq!((written.offset, written.raw), (512, false));
}

#[test]
fn what_is_settled_comes_out_in_the_order_of_its_bytes_and_no_longer_counts() {
    let (mut heap, mut blocks) = divided(128, false);
    stamp(&mut blocks[1], Access::Read, 1);
    let order = [2, 0, 3, 1];
    let mut blocks: Vec<_> = blocks.into_iter().map(Some).collect();
    order.into_iter().for_each(|at| give_back(&mut heap, blocks[at].take().unwrap()));
    let out = heap.take_settled(|_| 0);
    assert_eq!(out.iter().map(|block| (block.offset - 512) / (32 * KIB)).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(heap.owned, 32 * KIB);
    assert_eq!(heap.take_settled(|_| 1).len(), 1);
    assert_eq!(heap.owned, 0);
    assert!(take(&mut heap, 32).is_none());
}
