//! A kernel of your own, with a form for GPUs and one for the processor.
//!
//! Run with `cargo run --release --example 06_kernel`, or `--features vulkan` for a GPU.

use thalweg::{DType, HostCall, Kernel, KernelFailure, Tensor};

/// Where `|z|` leaves 2 in `z = z * z + c`, as the number of steps.
const MODULE: &str = "
@group(0) @binding(0) var<storage, read_write> steps: array<u32>;
struct Params { width: u32, height: u32 }
var<immediate> p: Params;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.height || id.y >= p.width { return; }
    let c = vec2(f32(id.y) / f32(p.width) * 3.0 - 2.1, f32(id.x) / f32(p.height) * 2.4 - 1.2);
    var z = vec2(0.0);
    var n = 0u;
    while n < 64u && dot(z, z) < 4.0 {
        z = vec2(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y) + c;
        n++;
    }
    steps[id.x * p.width + id.y] = n;
}";

fn on_the_processor(call: &mut HostCall<'_>) -> Result<(), KernelFailure> {
    let [width, height] = call.params::<[u32; 2]>()?;
    let rows = call.items.clone();
    let steps = call.outputs.get::<u32>(0)?;
    for (row, steps) in rows.zip(steps.chunks_exact_mut(width as usize)) {
        for (column, steps) in steps.iter_mut().enumerate() {
            let c = (column as f32 / width as f32 * 3.0 - 2.1, row as f32 / height as f32 * 2.4 - 1.2);
            let mut z = (0.0f32, 0.0f32);
            *steps = 0;
            while *steps < 64 && z.0 * z.0 + z.1 * z.1 < 4.0 {
                z = (z.0 * z.0 - z.1 * z.1 + c.0, 2.0 * z.0 * z.1 + c.1);
                *steps += 1;
            }
        }
    }
    Ok(())
}

fn main() -> thalweg::Result<()> {
    let device = thalweg::open("auto")?;
    let (width, height) = (72u32, 24u32);
    let kernel = Kernel::new("mandelbrot", 0, 1).params::<[u32; 2]>().wgsl(MODULE, "main").host(on_the_processor);
    let shape = [height as usize, width as usize];
    // An item is a row; on a GPU, the second axis of the extent gives each row its columns.
    let outputs = kernel.run(&device, [height, width, 1], &[width, height], &[], &[(&shape, DType::U32)])?;
    let steps: &Tensor = &outputs[0];
    for row in steps.to_vec::<u32>()?.chunks_exact(width as usize) {
        println!("{}", row.iter().map(|n| b" .:-=+*%@"[(*n / 8) as usize] as char).collect::<String>());
    }
    Ok(())
}
