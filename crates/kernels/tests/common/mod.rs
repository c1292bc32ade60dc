//! What the tests of the host forms and those of the forms for GPUs share.

pub mod attention;
