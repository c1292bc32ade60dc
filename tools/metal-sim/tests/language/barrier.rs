//! Barriers, and the memory of a threadgroup.

use crate::child;
use crate::rig::{function, raw, run, run3, text};
use thalweg_doubles::testing::Random;

#[test]
fn a_tree_of_sums_takes_a_barrier_a_level() {
    let body = "struct Shared { float of[1024]; };
        kernel void f(device const float* in [[buffer(0)]], device float* out [[buffer(1)]],
        threadgroup Shared& shared, uint t [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]],
        uint g [[threadgroup_position_in_grid]]) {
        shared.of[t] = in[g * n + t];
        for (uint half = n / 2; half > 0; half /= 2) {
            threadgroup_barrier(mem_flags::mem_threadgroup);
            if (t < half) shared.of[t] += shared.of[t + half];
        }
        if (t == 0) out[g] = shared.of[0];
    }";
    let (function, mut random) = (function(&text(body), "f"), Random::new(1));
    for threads in [1, 2, 32, 64, 256, 512, 1024] {
        let groups = 9;
        // Whole numbers: sums are exact in any order.
        let mut x: Vec<f32> = (0..groups * threads).map(|_| random.below(1000) as f32).collect();
        let mut out = vec![0f32; groups as usize];
        run(&function, groups, threads, &mut [raw(&mut x), raw(&mut out)]);
        let expected: Vec<f32> = x.chunks(threads as usize).map(|group| group.iter().sum()).collect();
        assert_eq!(out, expected, "{threads} threads");
    }
}

#[test]
fn neighbours_exchange_values_for_many_rounds() {
    let body = "struct Shared { uint of[96]; };
        kernel void f(device uint* x [[buffer(0)]], threadgroup Shared& a, threadgroup Shared& b,
        uint t [[thread_index_in_threadgroup]], uint n [[threads_per_threadgroup]], uint g [[threadgroup_position_in_grid]]) {
        uint v = x[g * n + t];
        for (uint k = 0; k < 50; k++) {
            threadgroup Shared& s = k % 2 ? a : b;
            s.of[t] = v;
            threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
            v = v * 5 + s.of[(t + 1) % n] + s.of[(t + n - 1) % n];
        }
        x[g * n + t] = v;
    }";
    let mut random = Random::new(2);
    let mut x: Vec<u32> = (0..5 * 96).map(|_| random.bits() as u32).collect();
    let mut expected = x.clone();
    for group in expected.chunks_mut(96) {
        for _ in 0..50 {
            let s = group.to_vec();
            for (t, v) in group.iter_mut().enumerate() {
                *v = v.wrapping_mul(5).wrapping_add(s[(t + 1) % 96]).wrapping_add(s[(t + 95) % 96]);
            }
        }
    }
    run(&function(&text(body), "f"), 5, 96, &mut [raw(&mut x)]);
    assert_eq!(x, expected);
}

#[test]
fn every_thread_knows_where_it_is() {
    let positions = |barrier: &str| {
        text(&format!(
            "kernel void f(device uint* out [[buffer(0)]], constant uint& width [[buffer(1)]],
            uint3 in_grid [[thread_position_in_grid]], ushort3 in_group [[thread_position_in_threadgroup]],
            uint3 group [[threadgroup_position_in_grid]], uint3 groups [[threadgroups_per_grid]],
            uint3 size [[threads_per_threadgroup]], uint3 grid [[threads_per_grid]], uint t [[thread_index_in_threadgroup]],
            uint2 plane [[thread_position_in_grid]]) {{
            {barrier}
            uint i = in_grid.x + grid.x * (in_grid.y + grid.y * in_grid.z);
            bool right = all(in_grid == group * size + uint3(in_group)) && all(grid == groups * size)
                && t == in_group.x + size.x * (in_group.y + size.y * in_group.z) && all(plane == in_grid.xy);
            out[i] += right ? width : 1000;
        }}"
        ))
    };
    for barrier in ["", "threadgroup_barrier(mem_flags::mem_none);"] {
        let mut out = vec![0u32; 3 * 2 * 4 * 5 * 7 * 2];
        let function = function(&positions(barrier), "f");
        run3(&function, [3, 2, 4], [5, 7, 2], &mut [raw(&mut out), raw(&mut [7u32])]);
        assert!(out.iter().all(|count| *count == 7), "{barrier}: {out:?}");
    }
}

#[test]
fn threadgroup_memory_is_poison_until_it_is_written() {
    for barrier in ["", "threadgroup_barrier(mem_flags::mem_threadgroup);"] {
        let body = format!(
            "struct Shared {{ float of[8]; }};
            kernel void f(device uint* out [[buffer(0)]], threadgroup Shared& shared,
            uint t [[thread_index_in_threadgroup]], uint i [[thread_position_in_grid]]) {{
            out[i] = isnan(shared.of[t]); {barrier} shared.of[t] = 1.0; }}"
        );
        let mut out = vec![0u32; 32];
        run(&function(&text(&body), "f"), 4, 8, &mut [raw(&mut out)]);
        assert!(out.iter().all(|poison| *poison == 1), "{out:?}");
    }
}

#[test]
fn groups_come_in_any_order_and_once() {
    let body = "kernel void f(device atomic_uint* next [[buffer(0)]], device uint* turn [[buffer(1)]],
        uint3 g [[threadgroup_position_in_grid]], uint3 n [[threadgroups_per_grid]]) {
        turn[g.x + n.x * (g.y + n.y * g.z)] += 1 + atomic_fetch_add_explicit(next, 1u, memory_order_relaxed);
    }";
    let function = function(&text(body), "f");
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let (mut next, mut turn) = ([0u32], vec![0u32; 60]);
        run3(&function, [3, 4, 5], [1, 1, 1], &mut [raw(&mut next), raw(&mut turn)]);
        let mut sorted = turn.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (1..=60).collect::<Vec<u32>>());
        orders.insert(turn);
    }
    assert!(orders.len() > 4, "{orders:?}");
}

#[test]
fn atomics_count_and_exchange() {
    let body = "struct Shared { atomic_uint of[2]; };
        kernel void f(device atomic_uint* u [[buffer(0)]], device atomic_int* s [[buffer(1)]], device atomic_float* r [[buffer(2)]],
        threadgroup Shared& shared, uint t [[thread_index_in_threadgroup]], uint i [[thread_position_in_grid]]) {
        if (t < 2) atomic_store_explicit(&shared.of[t], 0u, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        atomic_fetch_add_explicit(&shared.of[t % 2], t, memory_order_relaxed);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (t == 0) {
            atomic_fetch_add_explicit(u, atomic_load_explicit(&shared.of[0], memory_order_relaxed), memory_order_relaxed);
            atomic_fetch_sub_explicit(u + 1, atomic_load_explicit(&shared.of[1], memory_order_relaxed), memory_order_relaxed);
        }
        atomic_fetch_min_explicit(s, int(i) - 100, memory_order_relaxed);
        atomic_fetch_max_explicit(s + 1, int(i) - 100, memory_order_relaxed);
        atomic_fetch_min_explicit(u + 2, i + 5, memory_order_relaxed);
        atomic_fetch_or_explicit(u + 3, 1u << (i % 32), memory_order_relaxed);
        atomic_fetch_and_explicit(u + 4, ~(1u << (i % 16)), memory_order_relaxed);
        atomic_fetch_xor_explicit(u + 5, i, memory_order_relaxed);
        atomic_fetch_add_explicit(r, 0.5f, memory_order_relaxed);
        uint expected = 0;
        if (atomic_compare_exchange_weak_explicit(u + 6, &expected, i + 1, memory_order_relaxed, memory_order_relaxed))
            atomic_exchange_explicit(u + 7, i + 1, memory_order_relaxed);
        else if (expected == 0) atomic_store_explicit(u + 7, 9999u, memory_order_relaxed);
    }";
    let (mut u, mut s, mut r) = ([0, 0, u32::MAX, 0, u32::MAX, 0, 0, 0u32], [0i32; 2], [0f32]);
    run(&function(&text(body), "f"), 4, 64, &mut [raw(&mut u), raw(&mut s), raw(&mut r)]);
    let even: u32 = (0..64).step_by(2).sum();
    let odd: u32 = (1..64).step_by(2).sum();
    let xor = (0..256).fold(0, |a, b| a ^ b);
    assert_eq!(u[..6], [4 * even, (4 * odd).wrapping_neg(), 5, u32::MAX, 0xffff_0000, xor]);
    assert!(u[6] == u[7] && (1..=256).contains(&u[6]), "{u:?}");
    assert_eq!((s, r), ([-100, 155], [128.0]));
}

fn misuse(body: &str) {
    let body = format!(
        "struct Shared {{ float of[64]; }};\nkernel void f(device float* out [[buffer(0)]], threadgroup Shared& shared, uint t [[thread_index_in_threadgroup]]) {{\n{body}\n}}"
    );
    run(&function(&text(&body), "f"), 2, 64, &mut [raw(&mut [0f32; 64])]);
}

#[test]
fn some_threads_at_a_barrier() {
    let said = child::breaks("barrier::some_threads_at_a_barrier", "divergent barrier", || {
        misuse("if (t < 40)\nthreadgroup_barrier(mem_flags::mem_none);\nout[t] = 1.0;");
    });
    assert!(
        said.contains("40 at the barrier of line 6 (such as thread 0)") && said.contains("24 at the end"),
        "{said}"
    );
    assert!(said.contains("METAL_SIM_SEED="), "{said}");
}

#[test]
fn threads_at_two_barriers() {
    let said = child::breaks("barrier::threads_at_two_barriers", "divergent barrier", || {
        misuse(
            "if (t < 40)\nthreadgroup_barrier(mem_flags::mem_none);\nelse\nthreadgroup_barrier(mem_flags::mem_none);",
        );
    });
    assert!(said.contains("line 6") && said.contains("line 8"), "{said}");
}

#[test]
fn memory_behind_a_threadgroup_argument() {
    child::breaks("barrier::memory_behind_a_threadgroup_argument", "threadgroup memory", || {
        misuse("shared.of[t + 1] = 1.0; threadgroup_barrier(mem_flags::mem_threadgroup);");
    });
}

#[test]
fn threads_do_not_always_take_their_turns_in_order() {
    // Without a barrier between the write and the read: right in one order of the turns, wrong in the other.
    let body = "struct Shared { uint of; };
        kernel void f(device uint* out [[buffer(0)]], threadgroup Shared& shared, uint t [[thread_index_in_threadgroup]],
        uint g [[threadgroup_position_in_grid]]) {
        if (t == 0) shared.of = 7;
        if (t == 63) out[g] = shared.of;
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }";
    let function = function(&text(body), "f");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let mut out = [0u32];
        run(&function, 1, 64, &mut [raw(&mut out)]);
        seen.extend(out);
    }
    assert_eq!(seen, [7, u32::MAX].into());
}
