//! What starts a case as a process, bounds it, and judges how it ended.

use crate::program::{Double, Program};
use libtest_mimic::Failed;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Names the case to the process that is to run it, with device and seed.
const CASE: &str = "THALWEG_EXIT_CASE";

/// Printed by a case when it has done everything but end.
pub const MARK: &str = "nothing is left but to end";

/// Long enough for any machine; a process that is still there hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this process is to do; `None` if it is the one that starts the others.
pub fn told() -> Option<(String, Program)> {
    let told = std::env::var(CASE).ok()?;
    let mut words = told.split(' ');
    let mut word = || words.next().unwrap_or_else(|| panic!("{CASE}=\"case device seed\", not \"{told}\""));
    let (case, double, seed) = (word().to_owned(), word(), word());
    Some((case, Program { double: Double::of(double), seed: seed.parse().unwrap() }))
}

/// The case that opens devices while threads are in the driver. The validation layers do not bear that (Debian's of
/// 1.3.239): while one thread is in `vkCreateDevice`, another, in `vkWaitSemaphores`, calls a function that the layer
/// has not set yet. So it runs without them.
const OPENS_WHILE_BUSY: &str = "forked_from_busy_threads";

/// This program again, to run a case.
pub fn command(case: &str, double: Double, seed: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CASE, format!("{case} {} {seed}", double.name()));
    if case == OPENS_WHILE_BUSY {
        command.env_remove("THALWEG_VULKAN_VALIDATION");
    }
    command
}

/// Runs a case to its end.
pub fn run(case: &str, double: Double) -> Result<(), Failed> {
    let seed = RandomState::new().hash_one(case);
    let mut command = command(case, double, seed);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it forks can be ended with it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().unwrap();
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    // The pipes end with the last process that has them.
    let texts = [out, err].map(|pipe| {
        pipe.recv_timeout(PATIENCE).or_else(|_| {
            kill(&mut child);
            pipe.recv()
        })
    });
    let status = child.wait().unwrap();
    let [out, err] = texts.map(|text| String::from_utf8_lossy(&text.unwrap()).into_owned());
    if status.success() && out.lines().last() == Some(MARK) && err.is_empty() {
        return Ok(());
    }
    Err(format!("seed {seed}: {status}; stdout:\n{out}\nstderr:\n{err}").into())
}

/// Reads a pipe to its end.
fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).unwrap();
        let _ = sender.send(text); // nobody listens once the test has failed
    });
    receiver
}

fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        // SAFETY: a system call without memory. The child has not been waited for, so its group is still its own.
        unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
    }
    let _ = child.kill(); // it may have ended just now
}
