//! Input, output and models that are not what they should be: an error that names them, exit code 1, no panic.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::process::{Invocation, Place, assert_results, read};

#[test]
fn lines_that_are_wrong_are_named_and_everything_before_them_is_written() {
    let place = Place::new();
    let expected = place.expected(&["river", "deep water"]);
    let text = |third: &[u8]| [b"river\ndeep water\n", third, b"\nstream\n"].concat();
    let json =
        |third: &str| format!("{{\"text\":\"river\"}}\n{{\"text\":\"deep water\"}}\n{third}\n{{\"text\":\"a\"}}\n");
    let cases = [
        ("text", text(b"caf\xe9"), "not UTF-8: byte 0xe9 at offset 3"),
        ("text", text(b"\xff"), "not UTF-8: byte 0xff at offset 0"),
        ("jsonl", json("{\"txt\":1}").into_bytes(), "no member \"text\""),
        ("jsonl", json("{\"text\":1}").into_bytes(), "\"text\" is a number, expected a string"),
        ("jsonl", json("{\"text\":\"a\"").into_bytes(), "not JSON"),
        ("jsonl", json("").into_bytes(), "an empty line"),
    ];
    for (format, input, reason) in cases {
        for (threads, batch) in [("1", "1"), ("4", "1"), ("2", "2"), ("2", "10")] {
            let flags = |it: Invocation| it.flag("--format", format).flag("--threads", threads).flag("--batch", batch);
            let ended = flags(place.embed()).input(input.clone()).run();
            ended.assert_fails(1, &["standard input, line 3: ", reason]);
            assert_results(&ended.stdout, &expected);
        }
    }
}

#[test]
fn a_wrong_line_ends_it_while_the_input_is_still_open() {
    let place = Place::new();
    let mut running = place.embed().start();
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(b"water\n\xff\n").unwrap();
    let ended = running.end();
    drop(stdin);
    ended.assert_fails(1, &["standard input, line 2: not UTF-8"]);
    assert_results(&ended.stdout, &place.expected(&["water"]));
}

#[test]
fn inputs_that_cannot_be_read_are_named() {
    let place = Place::new();
    let missing = place.path("nothing.txt");
    place.embed().flag("--input", &missing).run().assert_fails(1, &["cannot open", "nothing.txt"]);
    place.embed().flag("--input", place.model()).run().assert_fails(1, &["cannot open", "model", "directory"]);
}

#[test]
fn outputs_that_cannot_be_written_are_named_before_the_model_is_loaded() {
    let place = Place::new();
    let no_model = || Invocation::new("embed").flag("--model", place.path("no-model")).input("water\n");
    no_model().flag("--output", place.model()).run().assert_fails(1, &["cannot write", "/model"]);
    no_model().flag("--output", place.path("no/such/out")).run().assert_fails(1, &["cannot write", "no/such/out"]);
    // The other way round: a model that cannot be loaded leaves the file alone.
    let kept = place.file("kept.jsonl", "precious");
    no_model().flag("--output", &kept).run().assert_fails(1, &["no-model"]);
    assert_eq!(read(&kept), "precious");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let place = Place::new();
    let ended = place.embed().flag("--output", "/dev/full").input("water\n".repeat(50)).run();
    ended.assert_fails(1, &["cannot write /dev/full"]);
}

#[test]
fn one_file_as_input_and_output_is_wrong_usage() {
    let place = Place::new();
    let file = place.file("both.txt", "water\n");
    fs::hard_link(&file, place.path("link.txt")).unwrap();
    for output in [&file, &place.path("link.txt")] {
        let ended = place.embed().flag("--input", &file).flag("--output", output).run();
        ended.assert_fails(2, &["same file"]);
        assert_eq!(read(&file), "water\n");
    }
}

#[test]
fn an_unknown_device_is_named() {
    let place = Place::new();
    place.embed().flag("--device", "abacus").run().assert_fails(2, &["abacus", "auto, cpu"]);
}

/// A name, the damage, and words of the error.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

#[test]
fn damaged_models_are_errors_that_name_the_file() {
    let damages: [Damage; 14] = [
        ("no directory", |model| fs::remove_dir_all(model).unwrap(), &["model"]),
        ("no weights", |model| fs::remove_file(weights(model)).unwrap(), &["model.safetensors"]),
        ("truncated weights", |model| resize(&weights(model), -100), &["model.safetensors"]),
        ("weights cut inside the header", |model| truncate(&weights(model), 50), &["model.safetensors"]),
        ("empty weights", |model| truncate(&weights(model), 0), &["model.safetensors"]),
        ("bytes behind the weights", |model| resize(&weights(model), 64), &["model.safetensors"]),
        ("an endless header", |model| overwrite(&weights(model), 0, &[0xff; 8]), &["model.safetensors"]),
        ("a header that is no JSON", |model| overwrite(&weights(model), 8, b"????"), &["model.safetensors"]),
        ("weights that are no numbers", |model| fill_end(&weights(model), 4096), &["model"]),
        ("a tensor under another name", rename_a_tensor, &["model.safetensors"]),
        ("a width that the weights lack", |model| set(model, "config.json", "hidden_size", 64.into()), &[".json"]),
        ("absurd sizes", |model| set(model, "config.json", "num_hidden_layers", (1u64 << 60).into()), &["config.json"]),
        (
            "an unknown activation",
            |model| set(model, "config.json", "hidden_act", "sine".into()),
            &["config.json", "hidden_act", "sine"],
        ),
        (
            "a broken tokenizer",
            |model| fs::write(model.join("tokenizer.json"), "{\"version\":").unwrap(),
            &["tokenizer.json"],
        ),
    ];
    for (name, damage, words) in damages {
        let place = Place::new();
        damage(&place.model());
        let ended = place.embed().input("water\n").run();
        println!("{name}: {}", ended.stderr.trim());
        ended.assert_fails(1, words);
        assert_eq!(ended.stdout, "", "{name}");
    }
}

fn weights(model: &Path) -> std::path::PathBuf {
    model.join("model.safetensors")
}

fn truncate(file: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

fn resize(file: &Path, by: i64) {
    truncate(file, fs::metadata(file).unwrap().len().saturating_add_signed(by));
}

fn overwrite(file: &Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(file).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(file, content).unwrap();
}

/// Makes the last values NaN.
fn fill_end(file: &Path, bytes: usize) {
    let length = fs::metadata(file).unwrap().len() as usize;
    overwrite(file, length - bytes, &vec![0xff; bytes]);
}

fn rename_a_tensor(model: &Path) {
    let content = fs::read(weights(model)).unwrap();
    let name = b"word_embeddings";
    let at = content.windows(name.len()).position(|bytes| bytes == name).unwrap();
    overwrite(&weights(model), at, b"work_embeddings");
}

fn set(model: &Path, file: &str, key: &str, value: Value) {
    let path = model.join(file);
    let mut content: Value = serde_json::from_str(&read(&path)).unwrap();
    content[key] = value;
    fs::write(path, content.to_string()).unwrap();
}

/// Lines of 4 MiB where there is little memory: a result, or an error that names the text, and no kill.
#[test]
fn long_lines_in_little_memory() {
    let place = Place::new();
    let limited = |line: &str| {
        place.file("in.txt", line);
        // In KiB: what the command maps for itself, and room for a few times the line.
        place.shell("ulimit -v 700000; $embed --cpu-threads 1 --input in.txt").run()
    };
    for line in ["river ".repeat(700_000), "x".repeat(4 << 20), "!".repeat(4 << 20)] {
        let ended = limited(&line);
        assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{}", ended.stderr);
    }
    // Nothing splits it, and it is not ASCII.
    limited(&"é".repeat(2 << 20)).assert_fails(1, &["line 1", "4194304 bytes", "shorten the text"]);
}
