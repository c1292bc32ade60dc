//! The command on Metal, which is Apple's or the simulator's; without either it does not know the word.

use crate::process::{Invocation, Place};
use serde_json::Value;

#[test]
fn on_metal_the_values_are_the_processors() {
    let place = Place::new();
    let devices = Invocation::new("devices").switch("--json").run();
    devices.assert_succeeds();
    let report: Value = serde_json::from_str(&devices.stdout).unwrap();
    let metal = report["devices"].as_array().unwrap().iter().find(|device| device["selector"] == "metal");
    if !cfg!(any(target_vendor = "apple", metal_sim)) {
        assert!(metal.is_none(), "{report}");
        let ended = place.embed().flag("--device", "metal").input("deep water").run();
        ended.assert_fails(2, &["no device is called \"metal\"", "expected one of auto"]);
        return;
    }
    let metal = metal.unwrap_or_else(|| panic!("{report}"));
    // A GPU, and so what `auto` takes.
    assert!(metal["chosen"] == true && metal["kind"] == "integrated gpu", "{report}");
    assert!(metal["name"].as_str().unwrap().starts_with("metal ("), "{report}");

    let texts = ["deep water", "the river", "a stream that joins another", "the line of fastest flow"];
    let expected = place.expected(&texts);
    for threads in ["1", "8"] {
        let embed = place.embed().flag("--device", "metal").flag("--threads", threads);
        let ended = embed.input(texts.join("\n") + "\n").run();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.stdout.lines().count(), texts.len());
        for (line, expected) in ended.stdout.lines().zip(&expected) {
            let line: Value = serde_json::from_str(line).unwrap();
            for (value, expected) in line["embedding"].as_array().unwrap().iter().zip(&expected.values) {
                assert!((value.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-5, "{value}, expected {expected}");
            }
        }
    }
}

/// Also where nobody has named the device: another is not taken in its place.
#[test]
fn a_metal_setting_that_is_wrong_is_an_error() {
    if cfg!(any(target_vendor = "apple", metal_sim)) {
        let place = Place::new();
        let ended = place.embed().flag("--device", "auto").variable("THALWEG_METAL_SIGNPOSTS", "maybe").run();
        ended.assert_fails(1, &["THALWEG_METAL_SIGNPOSTS is \"maybe\"; expected 0 or 1"]);
    }
}
