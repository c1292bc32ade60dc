//! The folder of compiled texts, and threads and processes that use it at once.

use crate::child::{command, is_child, said};
use crate::rig::{function, raw, run, text};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The files in it.
    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plus(constant: u32) -> String {
    text(&format!(
        "kernel void f(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {{ x[i] = x[i] * 3 + {constant}; }}"
    ))
}

#[track_caller]
fn plus_is_right(constant: u32) {
    let mut x: Vec<u32> = (0..64).collect();
    run(&function(&plus(constant), "f"), 2, 32, &mut [raw(&mut x)]);
    assert!(x.into_iter().enumerate().all(|(i, x)| x == i as u32 * 3 + constant), "{constant}");
}

/// A compiler that says the same of itself as clang and cannot compile.
fn lame_compiler(folder: &Path) -> PathBuf {
    let path = folder.join("lame");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && exec clang++-19 --version\necho lame >&2\nexit 1\n";
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_compiled_text_is_found_again_unless_it_is_damaged() {
    if is_child() {
        return plus_is_right(1000);
    }
    let test = "cache::a_compiled_text_is_found_again_unless_it_is_damaged";
    let (folder, tools) = (Folder::new("cache"), Folder::new("lame"));
    let lame = lame_compiler(&tools.0);
    let works = |compiler: Option<&Path>| {
        let mut command = command(test);
        command.env("METAL_SIM_CACHE", &folder.0);
        if let Some(compiler) = compiler {
            command.env("METAL_SIM_CXX", compiler);
        }
        let output = command.output().unwrap();
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("{}{}", said(&output), String::from_utf8_lossy(&output.stdout)))
    };
    assert!(works(Some(&lame)).is_err(), "nothing is there yet");
    works(None).unwrap();
    let [file] = &*folder.files() else { panic!("{:?}", folder.files()) };
    assert_eq!(works(Some(&lame)), Ok(()), "it is there");

    let whole = std::fs::read(file).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for damaged in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], &changed, &[]] {
        std::fs::write(file, damaged).unwrap();
        let error = works(Some(&lame)).unwrap_err();
        assert!(error.contains("lame"), "a damaged file is compiled again: {error}");
        works(None).unwrap();
        assert_eq!(std::fs::read(file).unwrap(), whole);
        assert_eq!(folder.files().len(), 1, "nothing is left behind");
    }
}

#[test]
fn threads_and_processes_compile_at_once() {
    if is_child() {
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    for round in 0..4 {
                        // The same in all threads, one of two neighbours, one's own.
                        for constant in [round, 100 + round * 10 + thread / 2, 500 + thread] {
                            plus_is_right(constant);
                        }
                    }
                });
            }
        });
        return;
    }
    let folder = Folder::new("at-once");
    let children: Vec<_> = (0..3)
        .map(|_| {
            let mut command = command("cache::threads_and_processes_compile_at_once");
            let piped = || std::process::Stdio::piped();
            command.env("METAL_SIM_CACHE", &folder.0).stdout(piped()).stderr(piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{}", said(&output), String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(folder.files().len(), 4 + 4 * 4 + 8, "one file a text, and nothing else");
}

#[test]
fn a_folder_of_somebody_else_is_not_used() {
    if is_child() {
        let result = metal_sim::shader::Library::compile(&plus(1), &metal_sim::shader::Options::default());
        return assert!(result.unwrap_err().contains("only its user writes"));
    }
    let folder = Folder::new("tmp");
    let user = std::fs::metadata(&folder.0).unwrap().uid();
    let open = folder.0.join(format!("metal-sim-{user}"));
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = command("cache::a_folder_of_somebody_else_is_not_used");
    let output = command.env_remove("METAL_SIM_CACHE").env("TMPDIR", &folder.0).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn no_compiler_is_an_error() {
    if is_child() {
        let result = metal_sim::shader::Library::compile(&plus(2), &metal_sim::shader::Options::default());
        return assert!(result.unwrap_err().contains("METAL_SIM_CXX"));
    }
    let mut command = command("cache::no_compiler_is_an_error");
    let output = command.env("METAL_SIM_CXX", "/nowhere/clang").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
