//! A data race, on purpose: one stream reads what another writes, on the CPU, with every wait taken out.
//! `scripts/sanitize` runs it to show that the sanitizer would see one. Without a sanitizer it ends quietly, having
//! shown nothing.

use std::borrow::Cow;
use thalweg_cpu::CpuDevice;
use thalweg_doubles::faulty::{Faulty, Plan, Strike};
use thalweg_hal::{Access, KernelSource};
use thalweg_runtime::{Config, Device, Operand, Result, Stream, Work};

const BYTES: u64 = 1 << 20;

static ADD_ONE: KernelSource = KernelSource {
    name: Cow::Borrowed("add_one"),
    bindings: Cow::Borrowed(&[Access::ReadWrite]),
    params_bytes: 0,
    wgsl: None,
    host: Some(|call| {
        call.outputs.get::<u32>(0)?.iter_mut().for_each(|x| *x = x.wrapping_add(1));
        Ok(())
    }),
};

fn main() -> Result<()> {
    let waits = Plan { waits: Strike::Always, ..Plan::default() };
    let device = Device::new(Faulty::new(CpuDevice::with_workers(2)?, waits), Config::default())?;
    let (writer, reader) = (Stream::new(&device)?, Stream::new(&device)?);
    let pipeline = device.pipeline(&ADD_ONE)?;
    let mut shared = writer.allocate(BYTES)?;
    // Often, because the two are seen to race only while they really run at the same time.
    for _ in 0..2_000 {
        let add = Work::Dispatch { pipeline: &pipeline, params: &[], extent: [1; 3] };
        writer.record(&add, &[Operand::update(&mut shared)])?;
        writer.flush()?;
        let mut copy = reader.allocate(BYTES)?;
        reader.record(&Work::Copy, &[Operand::read(&shared, 0, BYTES), Operand::write(&mut copy)])?;
        reader.flush()?;
    }
    device.synchronize()
}
