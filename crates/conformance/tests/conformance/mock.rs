//! The mock: the kernels' host functions in any order that the contract allows, and under the validator.

use thalweg_conformance::Backend;
use thalweg_doubles::mock::{MockConfig, MockDevice};

pub static BACKEND: Backend =
    Backend::of_its_own("mock", |seed| Ok(MockDevice::new(MockConfig { seed, ..MockConfig::default() })));
