//! `thalweg pull`: a model of the hub, into the hub's cache.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::HumanBytes;
use thalweg::ModelError;
use thalweg::hub::Name;
use thalweg::hub::pull::{Hub, Plan, Watch};

use crate::args::{ProgressMode, PullArgs};
use crate::error::Error;
use crate::interrupt;
use crate::progress::Arrival;
use crate::streams::Sink;

/// Runs the command.
///
/// # Errors
///
/// Whatever keeps the model from being there.
pub fn run(args: &PullArgs) -> Result<(), Error> {
    let name = Name::parse(&args.name).map_err(|error| Error::Usage(error.to_string()))?;
    let fail = |error: ModelError| Error::Pull { name: name.to_string(), source: Box::new(error.into()) };
    let mut output = Sink::standard_output()?;
    let screen = Screen { name: &name, mode: args.progress, arrival: Arc::default() };
    stop_at_once(Arc::clone(&screen.arrival))?;
    let hub = Hub::from_environment().map_err(fail)?;
    let pulled = {
        let mut screen = screen;
        let pulled = hub.pull(&name, &mut screen);
        lock(&screen.arrival).clear();
        pulled.map_err(fail)?
    };
    match (&pulled.not_asked, pulled.fetched) {
        (Some(reason), _) => crate::say(&format!("note: {name} is there already; the hub was not asked: {reason}")),
        (None, 0) => crate::say(&format!("{name} is there already")),
        (None, _) => crate::say(&format!("{name} is there")),
    }
    let id = name.id();
    if Path::new(&id).is_dir() {
        crate::say(&format!("note: here, --model {id} takes the directory of that name, not what was fetched"));
    }
    output.line(pulled.directory.as_os_str().as_bytes())?;
    output.flush()
}

/// Ends the process at the first signal. Each byte is in its file by then, and the next pull goes on behind it.
fn stop_at_once(arrival: Arc<Mutex<Arrival>>) -> Result<(), Error> {
    let stop = move || {
        lock(&arrival).clear();
        crate::say("thalweg: interrupted; the same command goes on where this one ended");
        process::exit(1);
    };
    interrupt::on_first(stop)
        .and_then(|()| interrupt::let_long_files_fail())
        .map_err(|source| Error::System { action: "handle signals", source })
}

/// What people see of it.
struct Screen<'a> {
    name: &'a Name,
    mode: ProgressMode,
    arrival: Arc<Mutex<Arrival>>,
}

impl Watch for Screen<'_> {
    fn begin(&mut self, plan: &Plan) {
        if plan.there == plan.files {
            return;
        }
        let size = plan.bytes.map_or("of unknown size".to_owned(), |bytes| HumanBytes(bytes).to_string());
        let mut line = format!("{}, commit {}: {} files, {size}", self.name, plan.commit, plan.files);
        if plan.bytes_there > 0 {
            line.push_str(&format!(", of which {} are there", HumanBytes(plan.bytes_there)));
        }
        crate::say(&line);
        *lock(&self.arrival) = Arrival::new(self.mode, plan.bytes);
    }

    fn at(&mut self, bytes: u64) {
        lock(&self.arrival).at(bytes);
    }
}

fn lock(arrival: &Mutex<Arrival>) -> MutexGuard<'_, Arrival> {
    // Nothing under the lock leaves it half done.
    arrival.lock().unwrap_or_else(PoisonError::into_inner)
}
