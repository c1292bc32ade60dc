//! `THALWEG_VALIDATE` takes effect. In a process of its own, because it reads the environment.

use std::process::Command;

/// What `open` makes of the value, seen by a process that has it in its environment.
fn opened_with(value: &str) -> String {
    let test = std::env::current_exe().expect("this test's own binary");
    let output = Command::new(test)
        .args(["the_child", "--exact", "--ignored", "--nocapture"])
        .env("THALWEG_VALIDATE", value)
        .output()
        .expect("a process");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_variable_wraps_the_device() {
    assert!(opened_with("1").contains("Validated"));
    let off = opened_with("0");
    assert!(off.contains("CpuDevice") && !off.contains("Validated"), "{off}");
    assert!(opened_with("yes").contains("THALWEG_VALIDATE is \"yes\"; expected 0 or 1"));
}

#[test]
#[ignore = "the other half of the test above, which runs it"]
fn the_child() {
    match thalweg::open("cpu") {
        Ok(device) => println!("{device:?}"),
        Err(error) => println!("{error}"),
    }
}
