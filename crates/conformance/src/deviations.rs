//! What drivers are known to compute otherwise, as data.

use crate::{Failure, Outcome};

/// A case that some devices cannot pass.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// A part of the device's name, which has the backend and the driver in it.
    pub device: &'static str,
    /// The case.
    pub case: &'static str,
    /// What the device does instead, and where that is known from.
    pub reason: &'static str,
}

/// Every known deviation. A case that is listed has to fail: when the driver is mended, its line goes.
pub const DEVIATIONS: &[Deviation] = &[];

/// The outcome of a case on a device, in the light of what is known of it.
pub(crate) fn judged(outcome: Outcome, known: &[Deviation], device: &str, case: &str) -> Outcome {
    let known = known.iter().find(|known| known.case == case && device.contains(known.device));
    match (known, outcome) {
        (None, outcome) => outcome,
        (Some(known), Err(failure)) => {
            eprintln!("{case} on {device} deviates as known ({}): {failure}", known.reason);
            Ok(())
        }
        (Some(known), Ok(())) => Err(Failure(format!(
            "{case} passes on {device}, though it is listed as a deviation ({}): delete the line with `device: {:?}, \
             case: {case:?}` from DEVIATIONS in crates/conformance/src/deviations.rs",
            known.reason, known.device
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Deviation] = &[Deviation { device: "some driver", case: "softmax_f32", reason: "it cannot" }];

    #[test]
    fn a_listed_case_has_to_fail_on_its_device_alone() {
        let wrong = || Err(Failure("wrong".to_owned()));
        let judge = |outcome, device, case| judged(outcome, KNOWN, device, case);
        assert!(judge(wrong(), "vulkan (some driver 1.2)", "softmax_f32").is_ok());
        assert!(judge(wrong(), "vulkan (some driver 1.2)", "linear_f32").is_err());
        assert!(judge(wrong(), "vulkan (another)", "softmax_f32").is_err());
        assert!(judge(Ok(()), "vulkan (another)", "softmax_f32").is_ok());
        let Failure(says) = judge(Ok(()), "vulkan (some driver 1.2)", "softmax_f32").unwrap_err();
        assert!(says.contains("delete the line") && says.contains("it cannot"), "{says}");
    }
}
