//! Tests that end their process, or that need an environment of their own.

use std::process::{Command, Output};

const CHILD: &str = "METAL_SIM_TEST_CHILD";

/// Whether this process was started by [`start`].
pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// A process that runs this one test again, with [`is_child`] true.
pub(super) fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(CHILD, "1");
    command
}

/// What a process has said on standard error.
pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `misuse` in a process of its own, which has to end with this rule's name. `test` is the test's path.
#[track_caller]
pub(super) fn breaks(test: &str, rule: &str, misuse: impl FnOnce()) -> String {
    if is_child() {
        misuse();
        std::process::exit(0);
    }
    let output = command(test).output().unwrap();
    let said = said(&output);
    assert!(!output.status.success(), "no rule is broken");
    assert!(said.contains(&format!("broken rule: {rule}:")), "{said}");
    said
}
