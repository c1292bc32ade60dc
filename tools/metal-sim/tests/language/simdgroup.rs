//! Operations of a simdgroup: 32 threads, or the rest of a threadgroup, against what each of them brought.

use crate::child;
use crate::rig::{function, raw, run, text};
use thalweg_doubles::testing::Random;

/// Threads of a threadgroup: two whole simdgroups, and one of six.
const THREADS: usize = 70;
const GROUPS: usize = 3;
const LEN: usize = GROUPS * THREADS;

/// What the threads of a simdgroup brought, and which of them this one is.
type Reference<T> = fn(&[T], usize) -> T;

/// Runs `expression` of `x` in every thread.
fn evaluate<T: bytemuck::Pod>(kind: &str, expression: &str, x: &[T]) -> Vec<T> {
    let body = format!(
        "kernel void f(device const {kind}* in [[buffer(0)]], device {kind}* out [[buffer(1)]],
            uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {{
            {kind} x = in[i];
            out[i] = {expression};
        }}"
    );
    let (mut x, mut out) = (x.to_vec(), vec![T::zeroed(); x.len()]);
    run(&function(&text(&body), "f"), GROUPS as u32, THREADS as u32, &mut [raw(&mut x), raw(&mut out)]);
    out
}

/// Calls with each simdgroup's range of threads.
fn simdgroups(mut each: impl FnMut(std::ops::Range<usize>)) {
    for group in 0..GROUPS {
        for first in (0..THREADS).step_by(32) {
            each(group * THREADS + first..group * THREADS + (first + 32).min(THREADS));
        }
    }
}

#[track_caller]
fn agrees(expression: &str, x: &[i32], reference: Reference<i32>) {
    let out = evaluate("int", expression, x);
    simdgroups(|range| {
        for lane in 0..range.len() {
            let at = range.start + lane;
            assert_eq!(out[at], reference(&x[range.clone()], lane), "{expression} in thread {at}");
        }
    });
}

fn integers(seed: u64) -> Vec<i32> {
    let mut random = Random::new(seed);
    (0..LEN).map(|_| random.below(1000) as i32 - 500).collect()
}

#[test]
fn reductions_reach_every_thread() {
    let x = integers(1);
    agrees("simd_sum(x)", &x, |x, _| x.iter().sum());
    agrees("simd_product(x)", &x, |x, _| x.iter().fold(1, |a, b| a.wrapping_mul(*b)));
    agrees("simd_min(x)", &x, |x, _| *x.iter().min().unwrap());
    agrees("simd_max(x)", &x, |x, _| *x.iter().max().unwrap());
    agrees("simd_and(x)", &x, |x, _| x.iter().fold(-1, |a, b| a & b));
    agrees("simd_or(x)", &x, |x, _| x.iter().fold(0, |a, b| a | b));
    agrees("simd_xor(x)", &x, |x, _| x.iter().fold(0, |a, b| a ^ b));
    agrees("simd_prefix_inclusive_sum(x)", &x, |x, lane| x[..=lane].iter().sum());
    agrees("simd_prefix_exclusive_sum(x)", &x, |x, lane| x[..lane].iter().sum());
    agrees("simd_prefix_inclusive_product(x)", &x, |x, lane| x[..=lane].iter().fold(1, |a, b| a.wrapping_mul(*b)));
    agrees("simd_prefix_exclusive_product(x)", &x, |x, lane| x[..lane].iter().fold(1, |a, b| a.wrapping_mul(*b)));
    agrees("simd_all(x > -490)", &x, |x, _| x.iter().all(|x| *x > -490).into());
    agrees("simd_any(x > 490)", &x, |x, _| x.iter().any(|x| *x > 490).into());
    agrees("simd_is_first()", &x, |_, lane| i32::from(lane == 0));
    agrees("as_type<int>(uint(ulong(simd_ballot(x > 0))))", &x, |x, _| {
        x.iter().enumerate().map(|(lane, x)| i32::from(*x > 0) << lane).fold(0, |a, b| a | b)
    });
    agrees("as_type<int>(uint(ulong(simd_active_threads_mask())))", &x, |x, _| ((1u64 << x.len()) - 1) as i32);
}

#[test]
fn threads_read_each_other() {
    let x = integers(2);
    agrees("simd_broadcast(x, 3u)", &x, |x, _| x[3]);
    agrees("simd_broadcast_first(x)", &x, |x, _| x[0]);
    // Threads that are not there: Metal leaves open what they would have brought, so nobody asks for theirs.
    agrees("simd_shuffle(x, ushort((lane * 5) % 6))", &x, |x, lane| x[lane * 5 % 6]);
    agrees("simd_shuffle_xor(x, ushort(1))", &x, |x, lane| x[lane ^ 1]);
    let all =
        |x: &[i32], lane: usize, other: usize| if other < 32 { x.get(other).copied().unwrap_or(-1) } else { x[lane] };
    for by in [0, 1, 5, 31] {
        let out = evaluate("int", &format!("simd_shuffle_down(x, ushort({by}))"), &x);
        simdgroups(|range| {
            for lane in 0..range.len() {
                let expected = all(&x[range.clone()], lane, lane + by);
                assert_eq!(out[range.start + lane], expected, "down by {by} in lane {lane}");
            }
        });
        let out = evaluate("int", &format!("simd_shuffle_up(x, ushort({by}))"), &x);
        simdgroups(|range| {
            for lane in 0..range.len() {
                let expected = x[range.start + lane.checked_sub(by).unwrap_or(lane)];
                assert_eq!(out[range.start + lane], expected, "up by {by} in lane {lane}");
            }
        });
    }
    agrees("simd_shuffle_rotate_down(x, ushort(32))", &x, |x, lane| x[lane]);
    agrees("simd_shuffle_rotate_up(x, ushort(64))", &x, |x, lane| x[lane]);
    let out = evaluate("int", "simd_shuffle_and_fill_up(x, -7, ushort(2))", &x);
    for lane in 0..32 {
        assert_eq!(out[lane], if lane < 2 { -7 } else { x[lane - 2] });
    }
    let out = evaluate("int", "simd_shuffle_and_fill_down(x, x + 1, ushort(4))", &x);
    for lane in 0..32 {
        assert_eq!(out[lane], if lane < 28 { x[lane + 4] } else { x[lane + 4 - 32] + 1 });
    }
}

#[test]
fn quads_are_four_threads() {
    let x = integers(3);
    agrees("quad_broadcast(x, 1u)", &x, |x, lane| x[lane / 4 * 4 + 1]);
    agrees("quad_shuffle_xor(x, 1u)", &x, |x, lane| x[lane ^ 1]);
    agrees("quad_sum(x)", &x, |x, lane| x[lane / 4 * 4..].iter().take(4).sum());
    agrees("quad_max(x)", &x, |x, lane| *x[lane / 4 * 4..].iter().take(4).max().unwrap());
    agrees("quad_shuffle_up(x, ushort(1))", &x, |x, lane| if lane % 4 == 0 { x[lane] } else { x[lane - 1] });
    agrees("quad_shuffle(x, ushort(lane % 2))", &x, |x, lane| x[lane / 4 * 4 + lane % 2]);
}

#[test]
fn floats_are_summed_by_halves_and_vectors_by_element() {
    let mut random = Random::new(4);
    let x: Vec<f32> = (0..LEN).map(|_| random.unit() * 3.0).collect();
    let out = evaluate("float", "simd_sum(x)", &x);
    let pairs = evaluate("float", "simd_sum(float4(0.0, x, 1.0, -x)).y + simd_max(float2(x, -x)).y * 0.0", &x);
    let least = evaluate("float", "simd_min(lane == 1 ? NAN : x)", &x);
    simdgroups(|range| {
        let exact: f64 = x[range.clone()].iter().map(|x| f64::from(*x)).sum();
        for at in range.clone() {
            assert!((f64::from(out[at]) - exact).abs() < 1e-5, "{} and {exact}", out[at]);
            assert_eq!(out[at].to_bits(), pairs[at].to_bits());
        }
        let expected = range.clone().filter(|at| at - range.start != 1).map(|at| x[at]).reduce(f32::min).unwrap();
        assert!(range.clone().all(|at| least[at] == expected));
    });
}

#[test]
fn operations_follow_each_other_without_barriers() {
    // Each thread runs ahead of the others by an operation; what the others have not read yet must stay.
    let body = "struct Shared { uint words[3]; };
        kernel void f(device const uint* in [[buffer(0)]], device uint* out [[buffer(1)]], threadgroup Shared& shared,
        uint i [[thread_position_in_grid]], uint t [[thread_index_in_threadgroup]],
        uint lane [[thread_index_in_simdgroup]], uint g [[simdgroup_index_in_threadgroup]],
        uint count [[simdgroups_per_threadgroup]], uint width [[threads_per_simdgroup]]) {
        uint x = in[i];
        for (uint k = 0; k < 20; k++) {
            x = x * 3 + simd_shuffle_xor(x, ushort(1));
            x ^= simd_sum(x & 0xff);
            if (k % 5 == g) x += simd_max(x);
        }
        if (lane == 0) shared.words[g] = x;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint k = 0; k < count; k++) x += shared.words[k];
        out[i] = x + width;
    }";
    let mut random = Random::new(5);
    let mut x: Vec<u32> = (0..LEN).map(|_| random.bits() as u32).collect();
    let mut out = vec![0u32; LEN];
    let function = function(&text(body), "f");
    assert_eq!(function.threadgroup, [12]);
    let mut expected = x.clone();
    for group in expected.chunks_mut(THREADS) {
        for (g, simdgroup) in group.chunks_mut(32).enumerate() {
            for k in 0..20 {
                let before = simdgroup.to_vec();
                for (lane, x) in simdgroup.iter_mut().enumerate() {
                    *x = x.wrapping_mul(3).wrapping_add(before[lane ^ 1]);
                }
                let sum: u32 = simdgroup.iter().map(|x| x & 0xff).sum();
                simdgroup.iter_mut().for_each(|x| *x ^= sum);
                if k % 5 == g {
                    let most = *simdgroup.iter().max().unwrap();
                    simdgroup.iter_mut().for_each(|x| *x = x.wrapping_add(most));
                }
            }
        }
        let first: u32 = group.chunks(32).map(|simdgroup| simdgroup[0]).fold(0, u32::wrapping_add);
        group.iter_mut().for_each(|x| *x = x.wrapping_add(first).wrapping_add(32));
    }
    run(&function, GROUPS as u32, THREADS as u32, &mut [raw(&mut x), raw(&mut out)]);
    assert_eq!(out, expected);
}

fn misuse(body: &str) {
    let body = format!(
        "kernel void f(device uint* out [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {{\nuint x = t;\n{body}\nout[t] = x;\n}}"
    );
    run(&function(&text(&body), "f"), 1, 64, &mut [raw(&mut [0u32; 64])]);
}

#[test]
fn some_threads_of_a_simdgroup() {
    let said = child::breaks("simdgroup::some_threads_of_a_simdgroup", "divergent simdgroup operation", || {
        misuse("if (t < 40) x = simd_sum(x);");
    });
    if !said.is_empty() {
        assert!(said.contains("8 at the operation of line 5") && said.contains("24 at the end"), "{said}");
    }
}

#[test]
fn threads_that_have_returned() {
    child::breaks("simdgroup::threads_that_have_returned", "divergent simdgroup operation", || {
        misuse("if (t == 3) return;\nx = simd_sum(x);");
    });
}

#[test]
fn two_operations_at_once() {
    child::breaks("simdgroup::two_operations_at_once", "divergent simdgroup operation", || {
        misuse("if (t % 2) x = simd_sum(x); else x = simd_max(x);");
    });
}

#[test]
fn an_operation_and_a_barrier_at_once() {
    child::breaks("simdgroup::an_operation_and_a_barrier_at_once", "divergent simdgroup operation", || {
        misuse("if (t % 2) x = simd_sum(x); else threadgroup_barrier(mem_flags::mem_none);");
    });
}

#[test]
fn whole_simdgroups_may_go_different_ways() {
    misuse("if (t < 32) x = simd_sum(x); else x = simd_max(simd_max(x));");
}
