//! Limits that Vulkan has, and others have not.

use thalweg_doubles::suite::{Gpu, Test, kernel};

pub const TESTS: &[(&str, Test)] =
    &[("more_workgroups_than_the_device_has_are_refused", more_workgroups_than_the_device_has_are_refused)];

fn more_workgroups_than_the_device_has_are_refused(gpu: &Gpu) {
    let one = kernel("one", &[], 0, "@compute @workgroup_size(1) fn main() {}");
    let pipeline = gpu.device.create_pipeline(&one).unwrap();
    assert!(pipeline.check([65_535, 1, 1], &[], &[]).is_ok());
    assert_eq!(pipeline.check([1, 1, u32::MAX], &[], &[]), Err("the extent needs more workgroups than the device has"));
}
