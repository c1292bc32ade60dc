//! Kernels of the user's own, on the processor and on GPUs.

#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod common;

use common::cpu;
use std::sync::Arc;
use thalweg_doubles::mock::{MockConfig, MockDevice};
use thalweg_hal::HostCall;
use thalweg_runtime::{Config, Device};
use thalweg_tensor::{DType, Error, Kernel, Tensor, f16};

/// The GPUs that there are, Vulkan's and Metal's.
fn gpus() -> impl Iterator<Item = Arc<dyn thalweg_hal::Device>> {
    let vulkan = thalweg_vulkan::testing::device().map(|device| -> Arc<dyn thalweg_hal::Device> { device });
    vulkan.into_iter().chain(thalweg_metal::testing::device())
}

fn open(device: Arc<dyn thalweg_hal::Device>) -> Device {
    Device::new(device, Config::default()).unwrap()
}

/// The processor, and the GPUs.
fn devices() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpus().map(open)).collect()
}

/// `out = a * x + y`
fn axpy() -> Kernel {
    let module = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read> y: array<f32>;
        @group(0) @binding(2) var<storage, read_write> out: array<f32>;
        var<immediate> a: f32;
        @compute @workgroup_size(64)
        fn axpy(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&out) { out[id.x] = a * x[id.x] + y[id.x]; }
        }";
    Kernel::new("axpy", 2, 1).params::<f32>().wgsl(module, "axpy").host(|call: &mut HostCall<'_>| {
        let a = call.params::<f32>()?;
        let items = call.items.start as usize..call.items.end as usize;
        let (x, y) = (&call.inputs.get::<f32>(0)?[items.clone()], &call.inputs.get::<f32>(1)?[items]);
        for ((out, x), y) in call.outputs.get::<f32>(0)?.iter_mut().zip(x).zip(y) {
            *out = a * x + y;
        }
        Ok(())
    })
}

#[test]
fn it_computes_what_it_says_on_any_views_and_threads() {
    let kernel = axpy();
    for device in devices() {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (kernel, device) = (&kernel, &device);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::new();
                    println!("thread {thread}: seed {}", random.get_seed());
                    for _ in 0..20 {
                        let (rows, columns) = (random.usize(1..40), random.usize(1..40));
                        let values = |random: &mut fastrand::Rng| -> Vec<f32> {
                            (0..rows * columns).map(|_| random.f32() * 2.0 - 1.0).collect()
                        };
                        let (x, y, a) = (values(&mut random), values(&mut random), random.f32());
                        let shape = [rows, columns];
                        // x is a view: the transpose of its transpose's copy.
                        let transposed: Vec<f32> =
                            (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect();
                        let view = Tensor::from_slice(device, &transposed, &[columns, rows]).unwrap();
                        let view = view.permute(&[1, 0]).unwrap();
                        let other = Tensor::from_slice(device, &y, &shape).unwrap();
                        let extent = [(rows * columns) as u32, 1, 1];
                        let out = kernel.run(device, extent, &a, &[&view, &other], &[(&shape, DType::F32)]).unwrap();
                        // And the result goes on into an operation of ours.
                        let doubled = out[0].add(&out[0]).unwrap().to_vec::<f32>().unwrap();
                        for ((got, x), y) in doubled.iter().zip(&x).zip(&y) {
                            let expected = 2.0 * (f64::from(a) * f64::from(*x) + f64::from(*y));
                            assert!((f64::from(*got) - expected).abs() < 1e-6, "{got}, expected {expected}");
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn in_place_it_changes_what_nobody_else_names() {
    let kernel = axpy_in_place();
    for device in devices() {
        let y = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], &[3]).unwrap();
        let mut x = Tensor::from_slice(&device, &[10.0f32, 20.0, 30.0], &[3]).unwrap();
        let shared = x.clone();
        let refused = kernel.run_in_place([3, 1, 1], &2.0f32, &[&y], &mut x);
        assert!(matches!(refused, Err(Error::Shared { .. })), "{refused:?}");
        drop(shared);
        kernel.run_in_place([3, 1, 1], &2.0f32, &[&y], &mut x).unwrap();
        assert_eq!(x.to_vec::<f32>().unwrap(), [12.0, 24.0, 36.0]);
        let mut frozen = x.freeze().unwrap();
        assert!(kernel.run_in_place([3, 1, 1], &2.0f32, &[&y], &mut frozen).is_err());
    }
}

/// `x = x + a * y`
fn axpy_in_place() -> Kernel {
    let module = "
        @group(0) @binding(0) var<storage, read> y: array<f32>;
        @group(0) @binding(1) var<storage, read_write> x: array<f32>;
        var<immediate> a: f32;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x < arrayLength(&x) { x[id.x] += a * y[id.x]; }
        }";
    Kernel::new("axpy_in_place", 1, 1).params::<f32>().wgsl(module, "main").host(|call: &mut HostCall<'_>| {
        let a = call.params::<f32>()?;
        let y = &call.inputs.get::<f32>(0)?[call.items.start as usize..call.items.end as usize];
        call.outputs.get::<f32>(0)?.iter_mut().zip(y).for_each(|(x, y)| *x += a * y);
        Ok(())
    })
}

#[test]
fn what_it_does_not_write_is_zero() {
    let module = "
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(1) fn main() { out[1] = 7u; }";
    let kernel = Kernel::new("second", 0, 1).wgsl(module, "main").host(|call: &mut HostCall<'_>| {
        call.outputs.get::<u32>(0)?[1] = 7;
        Ok(())
    });
    for device in devices() {
        // Memory that held something else.
        drop(Tensor::full(&device, 9u32, &[64]).unwrap());
        let out = kernel.run(&device, [1, 1, 1], &[0u32; 0], &[], &[(&[64], DType::U32)]).unwrap();
        let mut expected = [0; 64];
        expected[1] = 7;
        assert_eq!(out[0].to_vec::<u32>().unwrap(), expected);
    }
}

/// An index that is wrong is clamped to its operand: a neighbour in the same memory keeps its values.
// audit: FA
#[test]
fn an_index_out_of_bounds_touches_no_other_tensor() {
    let module = "
        @group(0) @binding(0) var<storage, read_write> out: array<u32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) { out[id.x * 64u] = 0xffffffffu; }";
    let kernel = Kernel::new("wild", 0, 1).wgsl(module, "main");
    for device in gpus().map(open) {
        let make = |value: u32| Tensor::full(&device, value, &[64]).unwrap();
        let mut tensors: Vec<_> = (0..32).map(make).collect();
        kernel.run_in_place([4096, 1, 1], &[0u32; 0], &[], &mut tensors[16]).unwrap();
        for (value, tensor) in tensors.iter().enumerate().filter(|(value, _)| *value != 16) {
            assert_eq!(tensor.to_vec::<u32>().unwrap(), [value as u32; 64]);
        }
    }
}

// audit: C24
#[test]
fn a_failure_reaches_who_reads_and_nobody_else() {
    let module = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> out: array<f32>;
        @group(0) @binding(2) var<storage, read_write> failure: array<atomic<u32>, 2>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if id.x >= arrayLength(&x) { return; }
            if x[id.x] < 0.0 && atomicCompareExchangeWeak(&failure[0], 0u, 1u).exchanged {
                atomicStore(&failure[1], id.x);
            }
            out[id.x] = sqrt(abs(x[id.x]));
        }";
    let kernel = Kernel::new("root", 1, 1).wgsl(module, "main").failures(&["a negative number at"]);
    for device in gpus().map(open) {
        let good = Tensor::from_slice(&device, &[1.0f32, 4.0, 9.0], &[3]).unwrap();
        let bad = Tensor::from_slice(&device, &[1.0f32, 4.0, -9.0], &[3]).unwrap();
        let run =
            |x: &Tensor| kernel.run(&device, [3, 1, 1], &[0u32; 0], &[x], &[(&[3], DType::F32)]).unwrap().remove(0);
        let (of_bad, of_good) = (run(&bad), run(&good));
        let error = of_bad.add(&of_good).unwrap().to_vec::<f32>().unwrap_err().to_string();
        assert!(error.contains("root`") && error.contains("a negative number at (2)"), "{error}");
        assert_eq!(of_good.to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let device = cpu();
    let x = Tensor::from_slice(&device, &[1.0f32], &[1]).unwrap();
    let one: &[(&[usize], DType)] = &[(&[1], DType::F32)];
    let error = axpy().run(&device, [1, 1, 1], &1.0f32, &[&x], one).unwrap_err();
    assert_eq!(error.to_string(), "kernel `axpy` was given 1 inputs and 1 outputs; it takes 2 and 1");
    let error = axpy().run(&device, [1, 1, 1], &[1.0f32; 2], &[&x, &x], one).unwrap_err();
    assert!(error.to_string().contains("parameter bytes"), "{error}");
    let gpu_only = Kernel::new("gpu_only", 0, 1).wgsl("@compute @workgroup_size(1) fn main() {}", "main");
    let error = gpu_only.compile(&device).unwrap_err().to_string();
    assert!(error.contains("gpu_only` has no host function"), "{error}");
    let error = Kernel::new("wide", 9, 1).host(|_| Ok(())).compile(&device).unwrap_err().to_string();
    assert!(error.contains("10 bindings; there can be 8"), "{error}");

    let Some(device) = thalweg_vulkan::testing::device() else { return };
    let device = Device::new(device, Config::default()).unwrap();
    let x = Tensor::from_slice(&device, &[1.0f32], &[1]).unwrap();
    let error = axpy().run(&device, [1, u32::MAX, u32::MAX], &1.0f32, &[&x, &x], one).unwrap_err().to_string();
    assert!(error.contains("more workgroups than the device has"), "{error}");
}

/// Also on the processor, which does not run it.
#[test]
fn wgsl_that_is_wrong_is_an_error_on_every_device() {
    let kernel = |name: &str, head: &str, value: &str| {
        let module = format!(
            "{head}\n@group(0) @binding(0) var<storage, read_write> out: array<f32>;\n\
             @compute @workgroup_size(1)\nfn main(@builtin(local_invocation_index) lid: u32) {{ out[0] = {value}; }}"
        );
        Kernel::new(name, 0, 1).wgsl(module, "main").host(|_| Ok(()))
    };
    for device in devices() {
        let broken = kernel("broken", "", "nothing");
        let error = broken.compile(&device).unwrap_err().to_string();
        assert!(error.contains("broken:4:") && error.contains("nothing"), "{error}");
        // A failed compile is not kept, and keeps nothing from working.
        assert!(axpy().compile(&device).is_ok() && broken.compile(&device).is_err());
        // What nothing clamps, or not every device has, takes a declaration that only kernels of ours have.
        assert!(kernel("subgroups", "", "f32(subgroupAdd(lid))").compile(&device).is_err());
        let matrices = kernel("matrices", "enable wgpu_cooperative_matrix;", "1.0").compile(&device);
        assert!(matrices.unwrap_err().to_string().contains("matrices:1:"));
    }
    assert!(kernel("half", "enable f16;", "f32(f16(lid))").compile(&cpu()).is_ok());
}

/// `out = x * (2 K + 1) + K`, in wrapping arithmetic.
fn affine<const K: u32>() -> Kernel {
    let module = format!(
        "@group(0) @binding(0) var<storage, read> x: array<u32>;
         @group(0) @binding(1) var<storage, read_write> out: array<u32>;
         @compute @workgroup_size(64)
         fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
             if id.x < arrayLength(&out) {{ out[id.x] = x[id.x] * {}u + {K}u; }}
         }}",
        2 * K + 1
    );
    // All of one name.
    Kernel::new("affine", 1, 1).wgsl(module, "main").host(|call| {
        let x = &call.inputs.get::<u32>(0)?[call.items.start as usize..call.items.end as usize];
        let affine = |x: &u32| x.wrapping_mul(2 * K + 1).wrapping_add(K);
        call.outputs.get::<u32>(0)?.iter_mut().zip(x).for_each(|(out, x)| *out = affine(x));
        Ok(())
    })
}

/// More kernels than the device keeps, of one name, from more threads than it keeps kernels: whatever is evicted,
/// compiled again, and found again meanwhile, each run computes what its kernel says.
// audit: C21
#[test]
fn evicted_kernels_are_compiled_again_and_compute_what_they_say() {
    const KEPT: usize = 3;
    const THREADS: u64 = 8;
    const RUNS: u64 = 30;
    let kernels =
        [affine::<0>, affine::<1>, affine::<2>, affine::<3>, affine::<4>, affine::<5>, affine::<6>, affine::<7>];
    // Made anew for each run: a kernel that is kept keeps what it was compiled to.
    let mock: Arc<dyn thalweg_hal::Device> = MockDevice::new(MockConfig::default());
    let cpu: Arc<dyn thalweg_hal::Device> = thalweg_cpu::CpuDevice::open().unwrap();
    for hal in [mock, cpu].into_iter().chain(gpus()) {
        let device = Device::new(hal, Config::default().pipeline_cache(KEPT)).unwrap();
        let seed = fastrand::u64(..);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (kernels, device) = (&kernels, &device);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(thread));
                    for _ in 0..RUNS {
                        let which = random.usize(0..kernels.len());
                        let n = random.usize(1..200);
                        let values: Vec<u32> = (0..n).map(|_| random.u32(..)).collect();
                        let x = Tensor::from_slice(device, &values, &[n]).unwrap();
                        let extent = [n as u32, 1, 1];
                        let out = kernels[which]().run(device, extent, &(), &[&x], &[(&[n], DType::U32)]).unwrap();
                        let k = which as u32;
                        let expected: Vec<_> =
                            values.iter().map(|x| x.wrapping_mul(2 * k + 1).wrapping_add(k)).collect();
                        let found = out[0].to_vec::<u32>().unwrap();
                        assert_eq!(found, expected, "kernel {which}, seed {seed} on {}", device.info().name);
                    }
                });
            }
        });
        let stats = device.pipeline_cache();
        assert!(stats.entries <= KEPT as u64 && stats.evictions > 0, "{stats:?}, seed {seed}");
        assert!(stats.misses > kernels.len() as u64, "{stats:?}, seed {seed}");
    }
}

/// An odd number of them ends in the middle of a word.
#[test]
fn it_binds_as_many_elements_of_two_bytes_as_there_are() {
    let twice = Kernel::new("twice_f16", 1, 1).host(|call| {
        let x = &call.inputs.get::<f16>(0)?[call.items.start as usize..call.items.end as usize];
        call.outputs.get::<f16>(0)?.iter_mut().zip(x).for_each(|(out, x)| *out = *x + *x);
        Ok(())
    });
    let device = &cpu();
    for n in 1..8u32 {
        let values: Vec<_> = (0..n).map(|i| f16::from_f32(i as f32)).collect();
        let shape = [n as usize];
        let x = Tensor::from_slice(device, &values, &shape).unwrap();
        let out = twice.run(device, [n, 1, 1], &(), &[&x], &[(&shape, DType::F16)]).unwrap();
        let expected: Vec<_> = values.iter().map(|x| *x + *x).collect();
        assert_eq!(out[0].to_vec::<f16>().unwrap(), expected);
        let mut target = Tensor::zeros::<f16>(device, &shape).unwrap();
        twice.run_in_place([n, 1, 1], &(), &[&x], &mut target).unwrap();
        assert_eq!(target.to_vec::<f16>().unwrap(), expected);
    }
}

/// Neither takes it time, nor can it fail for want of a kernel.
#[test]
fn an_empty_result_compiles_nothing() {
    let device = open(MockDevice::new(MockConfig::default()));
    let empty = Tensor::zeros::<f32>(&device, &[0, 3]).unwrap();
    let sum = (&empty + &empty).unwrap();
    assert_eq!((sum.shape(), device.pipeline_cache().misses), (&[0, 3][..], 0));
    let one = Tensor::zeros::<f32>(&device, &[1, 3]).unwrap();
    drop((&one + &one).unwrap());
    assert_eq!(device.pipeline_cache().misses, 1);
}

/// For the first device that it ran on; for others it is looked up, unless it is changed.
#[test]
fn a_kernel_keeps_what_it_was_compiled_to() {
    let kernel = affine::<1>();
    let devices = [0; 2].map(|_| open(MockDevice::new(MockConfig::default())));
    let run = |kernel: &Kernel, device: &Device| {
        let x = Tensor::from_slice(device, &[7_u32], &[1]).unwrap();
        let out = kernel.run(device, [1; 3], &(), &[&x], &[(&[1], DType::U32)]).unwrap();
        assert_eq!(out[0].to_vec::<u32>().unwrap(), [7 * 3 + 1]);
    };
    let asked = |device: &Device| (device.pipeline_cache().misses, device.pipeline_cache().hits);
    devices.iter().cycle().take(6).for_each(|device| run(&kernel, device));
    assert_eq!(devices.each_ref().map(asked), [(1, 0), (1, 2)]);
    // The same again, with another form: what was compiled is not it any more.
    let changed = kernel.clone().host(|_| Err(thalweg_hal::KernelFailure::new("another")));
    let x = Tensor::from_slice(&devices[0], &[7_u32], &[1]).unwrap();
    let out = changed.run(&devices[0], [1; 3], &(), &[&x], &[(&[1], DType::U32)]).unwrap();
    assert!(out[0].to_vec::<u32>().is_err());
}
