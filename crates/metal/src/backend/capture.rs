//! What Xcode can look at: the first lists of a device, recorded to a file.

use super::options::{CAPTURE, Options};
use super::pool::pooled;
use crate::sync::lock;
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2_foundation::{NSString, NSURL};
use objc2_metal::{MTLCaptureDescriptor, MTLCaptureDestination, MTLCaptureManager, MTLDevice};
use std::borrow::Cow;
use std::sync::Mutex;
use thalweg_hal::{Error, Result};

/// Lists that are recorded: some forward passes of a small model.
const LISTS: u32 = 64;

/// How many lists it still takes; none if nothing is recorded.
pub struct Capture(Mutex<u32>);

impl Capture {
    /// Starts to record, if the options say so.
    ///
    /// # Errors
    /// If the path is no text, or the system does not allow it.
    pub fn start(device: &ProtocolObject<dyn MTLDevice>, options: &Options) -> Result<Self> {
        let Some(path) = &options.capture else { return Ok(Self(Mutex::new(0))) };
        let wrong = |expected: Cow<'static, str>| {
            let given = path.to_string_lossy().into_owned();
            Error::Setting { variable: CAPTURE, given, expected }
        };
        let text = path.to_str().ok_or_else(|| wrong("a path in UTF-8".into()))?;
        // SAFETY: the one that the process has.
        let manager = unsafe { MTLCaptureManager::sharedCaptureManager() };
        if !manager.supportsDestination(MTLCaptureDestination::GPUTraceDocument) {
            return Err(wrong("to be set for programs that run with MTL_CAPTURE_ENABLED=1".into()));
        }
        let capture = MTLCaptureDescriptor::new();
        let object: &AnyObject = device.as_ref();
        // SAFETY: a device is one of the things that can be captured.
        unsafe { capture.setCaptureObject(Some(object)) };
        capture.setDestination(MTLCaptureDestination::GPUTraceDocument);
        capture.setOutputURL(Some(&NSURL::fileURLWithPath(&NSString::from_str(text))));
        let started = manager.startCaptureWithDescriptor_error(&capture);
        started.map_err(|error| wrong(format!("a path that Metal takes: {}", error.localizedDescription()).into()))?;
        Ok(Self(Mutex::new(LISTS)))
    }

    /// A list was submitted.
    pub fn submitted(&self) {
        let mut left = lock(&self.0);
        if *left > 0 {
            *left -= 1;
            if *left == 0 {
                drop(left);
                stop();
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if *lock(&self.0) > 0 {
            stop();
        }
    }
}

/// Ends the recording, and writes the file.
fn stop() {
    // SAFETY: the one that the process has.
    pooled(|| unsafe { MTLCaptureManager::sharedCaptureManager() }.stopCapture());
}
