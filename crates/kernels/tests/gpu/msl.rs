//! The Metal text of each kernel, as far as a host without Metal can check it.

use super::{ALL, layout};
use std::path::{Path, PathBuf};
use std::process::Command;
use thalweg_hal::shader::{Msl, compile as shader};
use thalweg_hal::{Access, KernelSource};

/// Where the shim is that stands in for Metal's standard library.
const SHIM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gpu/metal");

fn translate(source: &KernelSource) -> Msl {
    shader(source, "test", |shader| shader.msl()).unwrap()
}

/// Without address spaces the two forms of this helper are the same function: the second is cut out.
fn without_second_exchange(text: &str) -> String {
    let Some(at) = text.find("threadgroup A *atomic_ptr") else { return text.to_owned() };
    let start = text[..at].rfind("template").unwrap();
    let end = at + text[at..].find("\n}\n").unwrap() + 3;
    [&text[..start], &text[end..]].concat()
}

/// What the compiler says of a text; nothing if it is content.
fn compile(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(format!("{name}.cpp"));
    std::fs::write(&path, text).unwrap();
    let output =
        Command::new("clang++").args(["-fsyntax-only", "-std=c++17", "-w", "-I", SHIM]).arg(&path).output().unwrap();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("msl-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn metal_texts_compile() {
    if Command::new("clang++").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no clang++ to compile the Metal texts with (Debian's package is clang)");
        return;
    }
    let folder = Folder::new();
    for source in ALL {
        let errors = compile(&folder.0, &source.name, &without_second_exchange(&translate(source).text));
        assert!(errors.is_empty(), "{}:\n{errors}", source.name);
    }
    // The check is worth something only if it finds what is wrong.
    let right = without_second_exchange(&translate(ALL[0]).text);
    for (from, to) in [("metal::dot(", "metal::dott("), ("as_type<uint>(", "as_type<bool>(")] {
        assert!(right.contains(from), "{from}");
        assert!(!compile(&folder.0, "wrong", &right.replace(from, to)).is_empty(), "{to} compiles");
    }
}

#[test]
fn metal_buffers_are_where_the_backend_puts_them() {
    for source in ALL {
        let (Msl { text, lengths, .. }, module) = (translate(source), layout::parse(source));
        let signature = text.split("kernel void").nth(1).unwrap();
        let signature = &signature[..signature.find('{').unwrap()];
        // Each parameter's last word, and whether it is const, by the number of its buffer.
        let mut found: Vec<(usize, String, bool)> = signature
            .split('\n')
            .filter_map(|line| {
                let (parameter, number) = line.split_once("[[buffer(")?;
                let number = number.split(')').next()?.parse().ok()?;
                let name = parameter
                    .trim()
                    .rsplit(['&', ' '])
                    .next()?
                    .trim_end_matches(|c: char| c == '_' || c.is_ascii_digit())
                    .to_owned();
                Some((number, name, parameter.contains("const&") || parameter.contains("constant ")))
            })
            .collect();
        found.sort();

        let mut bound: Vec<(usize, String, bool)> = module
            .global_variables
            .iter()
            .filter_map(|(_, global)| {
                let number = global.binding?.binding as usize;
                let read = source.bindings.get(number) == Some(&Access::Read);
                Some((number, global.name.clone()?, read))
            })
            .collect();
        bound.retain(|(number, ..)| *number < source.bindings.len());
        bound.sort();
        bound.push((source.bindings.len(), "failure".to_owned(), false));
        assert_eq!(bound.len(), source.bindings.len() + 1, "{}", source.name);
        bound.push((bound.len(), "p".to_owned(), true));
        bound.push((bound.len(), "_buffer_sizes".to_owned(), true));
        assert_eq!(found, bound, "{}: {signature}", source.name);

        // A length for each binding but the words for a failure.
        let sizes = text.split("struct _mslBufferSizes {").nth(1).unwrap().split('}').next().unwrap();
        assert_eq!(sizes.matches("uint size").count(), source.bindings.len(), "{}", source.name);
        assert!(lengths.iter().copied().eq(0..source.bindings.len() as u32), "{}: {lengths:?}", source.name);
    }
}
