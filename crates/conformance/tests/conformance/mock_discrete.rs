//! The mock as a discrete GPU: the host does not see its memory, and what is in new memory is NaN.

use thalweg_conformance::Backend;
use thalweg_doubles::mock::{MockConfig, MockDevice};

pub static BACKEND: Backend =
    Backend::of_its_own("mock_discrete", |seed| Ok(MockDevice::new(MockConfig::discrete(seed))));
