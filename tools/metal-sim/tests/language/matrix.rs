//! Matrices of a simdgroup, which only here are tested without a GPU of Apple's.

use crate::child;
use crate::rig::{function, raw, run, text};
use half::f16;
use thalweg_doubles::testing::Random;

/// A product of matrices of `m` x `k` and `k` x `n`, each simdgroup a tile of 8 x 8.
fn product(scalar: &str, turned: bool) -> String {
    let (lda, at, bool) = if turned { ("m", "k * m + row", "true") } else { ("inner", "row * inner + k", "false") };
    text(&format!(
        "kernel void f(device const {scalar}* a [[buffer(0)]], device const {scalar}* b [[buffer(1)]],
            device float* c [[buffer(2)]], constant uint3& shape [[buffer(3)]],
            uint g [[threadgroup_position_in_grid]], uint simdgroup [[simdgroup_index_in_threadgroup]],
            uint simdgroups [[simdgroups_per_threadgroup]]) {{
            uint m = shape.x, n = shape.y, inner = shape.z, tile = g * simdgroups + simdgroup;
            uint row = tile / (n / 8) * 8, column = tile % (n / 8) * 8;
            if (row >= m) return;
            simdgroup_float8x8 sum;
            simdgroup_load(sum, c + row * n + column, n);
            for (uint k = 0; k < inner; k += 8) {{
                simdgroup_matrix<{scalar}, 8, 8> x, y;
                simdgroup_load(x, a + ({at}), {lda}, ulong2(0, 0), {bool});
                simdgroup_load(y, b, n, ulong2(column, k));
                simdgroup_multiply_accumulate(sum, x, y, sum);
            }}
            simdgroup_store(sum, c, n, ulong2(column, row));
        }}"
    ))
}

fn agrees<T: bytemuck::Pod>(scalar: &str, turned: bool, of: impl Fn(f32) -> T, value: impl Fn(T) -> f64) {
    let (m, n, inner) = (24usize, 40usize, 56usize);
    let mut random = Random::new(9);
    let mut matrix = |len: usize| (0..len).map(|_| of(random.unit())).collect::<Vec<T>>();
    let (mut a, mut b) = (matrix(m * inner), matrix(inner * n));
    let mut c: Vec<f32> = random.units(m * n);
    let before = c.clone();
    let mut shape = [m as u32, n as u32, inner as u32, 0];
    let function = function(&product(scalar, turned), "f");
    // Fifteen tiles, four to a threadgroup: the last one returns.
    run(&function, 4, 128, &mut [raw(&mut a), raw(&mut b), raw(&mut c), raw(&mut shape)]);
    for row in 0..m {
        for column in 0..n {
            let terms = (0..inner).map(|k| {
                let x = if turned { a[k * m + row] } else { a[row * inner + k] };
                value(x) * value(b[k * n + column])
            });
            let expected = f64::from(before[row * n + column]) + terms.sum::<f64>();
            let found = f64::from(c[row * n + column]);
            assert!((found - expected).abs() < 1e-5, "{scalar} {row} {column}: {found}, not {expected}");
        }
    }
}

#[test]
fn products_of_floats() {
    agrees("float", false, |x| x, f64::from);
    agrees("float", true, |x| x, f64::from);
}

#[test]
fn products_of_halves_are_summed_in_floats() {
    agrees("half", false, f16::from_f32, f16::to_f64);
    agrees("half", true, f16::from_f32, f16::to_f64);
}

#[test]
fn loads_and_stores_have_strides_origins_and_turns() {
    let body = "kernel void f(device const float* in [[buffer(0)]], device float* out [[buffer(1)]]) {
        simdgroup_float8x8 m, sum(2.0), filled = make_filled_simdgroup_matrix<float, 8, 8>(3.0), product;
        simdgroup_load(m, in, 20, ulong2(3, 2), true);
        simdgroup_store(m, out, 8);
        simdgroup_load(m, in, 20, ulong2(3, 2));
        simdgroup_store(m, out + 64, 8, ulong2(0, 0), true);
        simdgroup_multiply(product, m, sum);
        simdgroup_multiply_accumulate(product, product, sum, filled);
        simdgroup_store(product, out + 128);
    }";
    let mut random = Random::new(10);
    let (mut x, mut out) = (random.units(20 * 12), vec![0f32; 192]);
    run(&function(&text(body), "f"), 1, 32, &mut [raw(&mut x), raw(&mut out)]);
    for row in 0..8 {
        for column in 0..8 {
            let of = |row: usize, column: usize| x[(row + 2) * 20 + column + 3];
            assert_eq!(out[row * 8 + column], of(column, row));
            assert_eq!(out[64 + row * 8 + column], of(column, row));
            assert_eq!(out[128 + row * 8 + column], of(row, column) * 4.0 + 3.0);
        }
    }
}

fn misuse(body: &str, threads: u32) {
    let body = format!(
        "kernel void f(device float* x [[buffer(0)]], uint t [[thread_index_in_threadgroup]]) {{
        simdgroup_float8x8 m; {body} }}"
    );
    run(&function(&text(&body), "f"), 1, threads, &mut [raw(&mut vec![0f32; 4096])]);
}

#[test]
fn a_matrix_in_some_threads() {
    child::breaks("matrix::a_matrix_in_some_threads", "divergent simdgroup operation", || {
        misuse("if (t != 9) simdgroup_load(m, x, 8);", 64);
    });
}

#[test]
fn a_matrix_at_different_places() {
    child::breaks("matrix::a_matrix_at_different_places", "divergent simdgroup operation", || {
        misuse("simdgroup_load(m, x + t, 8); threadgroup_barrier(mem_flags::mem_none);", 64);
    });
}

#[test]
fn a_matrix_in_a_part_of_a_simdgroup() {
    child::breaks("matrix::a_matrix_in_a_part_of_a_simdgroup", "divergent simdgroup operation", || {
        misuse("simdgroup_load(m, x, 8);", 40);
    });
}
