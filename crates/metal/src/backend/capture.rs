//! What Xcode can look at: the first lists of a device, recorded to a file.

use super::options::Options;
use super::pool::pooled;
use super::{NAME, refused};
use crate::sync::lock;
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2_foundation::{NSString, NSURL};
use objc2_metal::{MTLCaptureDescriptor, MTLCaptureDestination, MTLCaptureManager, MTLDevice};
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
        let failed = |message: String| Error::Driver { device: NAME.to_owned(), call: "capturing", message };
        let text = path.to_str().ok_or_else(|| failed(format!("{path:?} is not a path that Metal takes")))?;
        // SAFETY: the one that the process has.
        let manager = unsafe { MTLCaptureManager::sharedCaptureManager() };
        if !manager.supportsDestination(MTLCaptureDestination::GPUTraceDocument) {
            return Err(failed("the system does not allow it; run the program with MTL_CAPTURE_ENABLED=1".to_owned()));
        }
        let capture = MTLCaptureDescriptor::new();
        let object: &AnyObject = device.as_ref();
        // SAFETY: a device is one of the things that can be captured.
        unsafe { capture.setCaptureObject(Some(object)) };
        capture.setDestination(MTLCaptureDestination::GPUTraceDocument);
        capture.setOutputURL(Some(&NSURL::fileURLWithPath(&NSString::from_str(text))));
        let started = manager.startCaptureWithDescriptor_error(&capture);
        started.map_err(|error| refused("startCaptureWithDescriptor:error:", &error))?;
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
