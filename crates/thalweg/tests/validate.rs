//! `THALWEG_VALIDATE` takes effect. In processes of their own, because it is read from the environment.

use std::process::Command;

#[test]
fn the_device_is_as_the_variable_says() {
    let opened = thalweg::open("cpu").map_or_else(|error| error.to_string(), |device| format!("{device:?}"));
    match std::env::var("THALWEG_VALIDATE").as_deref() {
        Ok("1") => assert!(opened.contains("Validated"), "{opened}"),
        Ok("" | "0") | Err(_) => assert!(opened.contains("CpuDevice") && !opened.contains("Validated"), "{opened}"),
        Ok(other) => {
            assert_eq!(opened, format!("the environment variable THALWEG_VALIDATE is {other:?}; expected 0 or 1"));
        }
    }
}

// audit: C28
#[test]
fn so_it_is_for_every_value() {
    let test = std::env::current_exe().expect("this test's own binary");
    for value in ["0", "1", "yes"] {
        let mut child = Command::new(&test);
        child.args(["the_device_is_as_the_variable_says", "--exact"]).env("THALWEG_VALIDATE", value);
        let output = child.output().expect("a process");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{value:?}: {said}");
    }
}
