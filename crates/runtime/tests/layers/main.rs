//! Khronos' validation layers over the recorder's barriers: one stream, on a Vulkan device, in processes of their own,
//! because the layers read their settings once.
//!
//! The layers see hazards inside a list: there they have to be silent, and to speak when barriers are taken out. Across
//! lists they look only with their queue-submit setting, which in version 1.3.239 said nothing with the barriers at the
//! lists' starts taken out, on timeline semaphores; so what it is silent about proves nothing. The mock and the
//! validator watch that.

use libtest_mimic::{Arguments, Failed, Trial};
use std::borrow::Cow;
use std::process::{Command, ExitCode};
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_hal::{Access, Features, Groups, KernelSource, Wgsl, WgslModule};
use thalweg_runtime::{Config, Device, Operand, Storage, Stream, Work};
use thalweg_vulkan::{Options, VulkanDevice};

/// What a child is to run.
const CHILD: &str = "THALWEG_TEST_LAYERS";
/// What children answer.
const SILENT: i32 = 0;
const MESSAGES: i32 = 3;
const NO_DEVICE: i32 = 4;

const HAZARDS: &str = "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT";

fn main() -> ExitCode {
    if let Ok(told) = std::env::var(CHILD) {
        let options = if told.ends_with("discrete") { Options::DISCRETE } else { Options::default() };
        std::process::exit(one_stream(&told, options));
    }
    let trials: &[(&str, &str, i32)] = &[
        // audit: C4
        ("one_stream_is_silent_inside_lists", "nothing", SILENT),
        // audit: C4
        ("one_stream_is_silent_inside_lists_discrete", "nothing, discrete", SILENT),
        // audit: C4
        ("falsify_barriers_under_the_layers", "barriers", MESSAGES),
        // audit: C4
        ("falsify_barriers_under_the_layers_discrete", "barriers, discrete", MESSAGES),
    ];
    let trial = |&(name, without, expected): &(&'static str, &'static str, i32)| {
        Trial::test(name, move || check(without, expected))
    };
    libtest_mimic::run(&Arguments::from_args(), trials.iter().map(trial).collect()).exit_code()
}

/// Runs a child under the layers, and compares what it found.
fn check(without: &str, expected: i32) -> Result<(), Failed> {
    let child = Command::new(std::env::current_exe()?)
        .env(CHILD, without)
        .env("THALWEG_VULKAN_VALIDATION", "1")
        .env("VK_LAYER_ENABLES", HAZARDS)
        .output()?;
    let said = String::from_utf8_lossy(&child.stderr).into_owned();
    match child.status.code() {
        Some(code) if code == expected => Ok(()),
        Some(NO_DEVICE) if std::env::var_os("THALWEG_REQUIRE_VULKAN").is_none() => {
            eprintln!("SKIPPED: {said}");
            Ok(())
        }
        code => Err(format!("exit code {code:?}, expected {expected}:\n{said}").into()),
    }
}

/// x = 2 x + y
static STEP: KernelSource = KernelSource {
    name: Cow::Borrowed("step"),
    bindings: Cow::Borrowed(&[Access::Read, Access::ReadWrite]),
    params_bytes: 0,
    wgsl: Some(Wgsl::clamped(WgslModule {
        source: Cow::Borrowed(
            "@group(0) @binding(0) var<storage, read> y: array<u32>;
             @group(0) @binding(1) var<storage, read_write> x: array<u32>;
             @compute @workgroup_size(64)
             fn main(@builtin(global_invocation_id) id: vec3<u32>) { x[id.x] = 2u * x[id.x] + y[id.x]; }",
        ),
        entry: Cow::Borrowed("main"),
        overrides: Cow::Borrowed(&[]),
        groups: Groups::Invocations,
        features: Features::NONE,
        failures: Cow::Borrowed(&[]),
    })),
    host: None,
};

/// Fills, kernels and copies that depend on each other within and between short lists; on a device as a discrete GPU
/// also zeros, uploads and downloads.
fn one_stream(told: &str, options: Options) -> i32 {
    let adapters = match thalweg_vulkan::adapters() {
        Ok(adapters) => adapters,
        Err(error) => {
            eprintln!("no Vulkan with validation layers: {error}");
            return NO_DEVICE;
        }
    };
    let Some(best) = thalweg_vulkan::best(&adapters) else {
        eprintln!("no Vulkan device can be used: {adapters:?}");
        return NO_DEVICE;
    };
    let whole = told.starts_with("nothing");
    let barriers = if whole { Strike::Never } else { Strike::Share(0.5) };
    let plan = Plan { barriers, ..Plan::default() };
    let vulkan = VulkanDevice::open_with(&adapters[best], options).expect("it was listed as usable");
    let device = Device::new(Faulty::new(vulkan, plan), Config::default().list_commands(8)).expect("a device");
    let right = compute(&device).expect("nothing here fails");
    let messages = thalweg_vulkan::validation_messages();
    if whole {
        assert!(right, "wrong values");
    }
    if messages == 0 { SILENT } else { MESSAGES }
}

/// Whether the values are right.
fn compute(device: &Device) -> thalweg_runtime::Result<bool> {
    const WORDS: u32 = 256;
    let stream = Stream::current(device)?;
    let pipeline = device.pipeline(&STEP)?;
    let make = || stream.allocate(4 * u64::from(WORDS));
    let (mut expected_a, mut expected_b) = (1u32, 2u32);
    let (mut a, mut copied) = (make()?, make()?);
    let mut b = Storage::from_bytes(device, bytemuck::cast_slice(&[expected_b; WORDS as usize]))?;
    stream.record(&Work::Fill(expected_a), &[Operand::write(&mut a)])?;
    let step = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [WORDS, 1, 1] };
    for _ in 0..40 {
        stream.record(&step, &[Operand::read(&b, 0, b.bytes()), Operand::update(&mut a)])?;
        expected_a = expected_a.wrapping_mul(2).wrapping_add(expected_b);
        stream.record(&step, &[Operand::read(&a, 0, a.bytes()), Operand::update(&mut b)])?;
        expected_b = expected_b.wrapping_mul(2).wrapping_add(expected_a);
        stream.record(&Work::Copy, &[Operand::read(&b, 0, b.bytes()), Operand::write(&mut copied)])?;
    }
    let mut words = vec![0u32; WORDS as usize];
    copied.read(0, bytemuck::cast_slice_mut(&mut words))?;
    Ok(words.iter().all(|word| *word == expected_b))
}
