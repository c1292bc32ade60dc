//! The processor.

use thalweg_conformance::Backend;
use thalweg_cpu::CpuDevice;

pub static BACKEND: Backend = Backend::shared("cpu", |_| Ok(CpuDevice::open()?));
