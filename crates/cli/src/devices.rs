//! `thalweg devices`: what is there, what it can do, and what would be chosen.

use serde::Serialize;
use serde_json::{Map, Value};
use thalweg::DeviceReport;

use crate::args::DevicesArgs;
use crate::error::Error;
use crate::streams::Sink;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    devices: Vec<Device>,
}

/// One device.
#[derive(Serialize)]
struct Device {
    /// What `--device` takes.
    selector: String,
    name: String,
    kind: String,
    memory_bytes: u64,
    max_binding_bytes: u64,
    max_allocations: u64,
    details: Map<String, Value>,
    /// Whether it would be chosen where the choice is left to the library.
    chosen: bool,
    why: String,
}

/// Runs the command.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn run(args: &DevicesArgs) -> Result<(), Error> {
    let mut output = Sink::standard_output()?;
    let devices: Vec<Device> = thalweg::devices().into_iter().map(Device::new).collect();
    if args.json {
        output.line(&crate::to_json(&Report { devices }))?;
    } else {
        for device in &devices {
            output.line(device.describe().as_bytes())?;
        }
    }
    output.flush()
}

impl Device {
    fn new(report: DeviceReport) -> Self {
        Self {
            selector: report.selector,
            name: report.name,
            kind: report.kind,
            memory_bytes: report.limits.memory_bytes,
            max_binding_bytes: report.limits.max_binding_bytes,
            max_allocations: report.limits.max_allocations,
            details: report.details.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            chosen: report.chosen,
            why: report.why,
        }
    }

    /// For people: the device, and a line for each fact.
    fn describe(&self) -> String {
        let mut text = format!("{}: {}", self.selector, self.name);
        let mut fact = |name: &str, value: &str| text.push_str(&format!("\n    {name:<20} {value}"));
        fact("kind", &self.kind);
        for (name, value) in &self.details {
            fact(name, value.as_str().unwrap_or_default());
        }
        fact(if self.chosen { "chosen" } else { "not chosen" }, &self.why);
        text
    }
}
