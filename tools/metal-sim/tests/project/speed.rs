//! How fast it is: `scripts/metal-cargo test --profile checked -p metal-sim --test project -- --ignored --nocapture speed`.

use crate::rig::{Last, Rig};
use crate::run::raw;
use metal_sim::shader::{Launch, Library, Options, Span};
use std::time::{Duration, Instant};
use thalweg_doubles::testing::Random;
use thalweg_kernels::{linear, norm};

fn best(mut run: impl FnMut()) -> Duration {
    let times = (0..10).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

#[test]
#[ignore = "measures"]
fn speed_of_products_and_norms() {
    let (mut rig, mut random) = (Rig::all().next().unwrap(), Random::new(1));
    for (n, inputs, outputs) in [(384, 384, 384), (384, 384, 1536), (384, 1536, 384)] {
        let (x, bias) = (random.units(n * inputs), random.units(outputs));
        let weight = linear::pack(&random.units(inputs * outputs), outputs, inputs);
        let params = linear::Params { inputs: inputs as u32, outputs: outputs as u32, activation: 0 };
        let operands = [raw(&x), raw(&weight), raw(&bias)];
        let time = best(|| {
            rig.run(&linear::LINEAR_WIDE, &params, &operands, &Last::<f32>::Out(n * outputs), n as u32).unwrap();
        });
        println!("linear {n} rows, {inputs} to {outputs}: {time:.1?}");
    }
    let (x, weight, bias) = (random.units(384 * 384), random.units(384), random.units(384));
    let params = norm::Params { width: 384, epsilon: 1e-5 };
    let operands = [raw(&x), raw(&weight), raw(&bias)];
    let time = best(|| {
        rig.run(&norm::LAYER_NORM, &params, &operands, &Last::<f32>::Out(384 * 384), 384).unwrap();
    });
    println!("layer_norm of 384 rows of 384: {time:.1?}");
}

#[test]
#[ignore = "measures"]
fn speed_of_barriers() {
    let texts = [
        ("barriers", "x += shared.of[t]; threadgroup_barrier(mem_flags::mem_threadgroup);"),
        ("simd_sum", "x = simd_sum(x);"),
        ("8x8x8 products", "simdgroup_multiply_accumulate(m, m, m, m);"),
    ];
    for (name, operation) in texts {
        let source = format!(
            "#include <metal_stdlib>\nusing namespace metal;\nstruct Shared {{ float of[256]; }};\n\
             kernel void f(device float* out [[buffer(0)]], constant uint& n [[buffer(1)]], threadgroup Shared& shared,\n\
             uint t [[thread_index_in_threadgroup]]) {{ float x = out[t]; shared.of[t] = x; simdgroup_float8x8 m(1.0);\n\
             for (uint i = 0; i < n; i++) {{ {operation} }}\n\
             out[t] = x; if (n == 99999) simdgroup_store(m, out); }}"
        );
        let function = Library::compile(&source, &Options::default()).unwrap().function("f").unwrap();
        let mut out = vec![0u128; 64];
        let mut time = |count: u32| {
            let mut n = u128::from(count);
            let out = Span { start: out.as_mut_ptr().cast(), bytes: 1024 };
            let buffers = [Some(out), Some(Span { start: (&raw mut n).cast(), bytes: 4 })];
            let launch = Launch { buffers: &buffers, threadgroup: &[1024], grid: [100, 1, 1], size: [256, 1, 1] };
            // SAFETY: the spans are this function's, and the kernel keeps inside of them.
            best(|| unsafe { function.run(&launch) }) / 100
        };
        let (none, many) = (time(0), time(100));
        let each = (many - none).as_secs_f64() * 1e9 / 25_600.0;
        println!("{name}: {each:.1} ns each and thread; a group of 256 begins and ends in {none:.1?}");
    }
}
