//! From Metal's language to C++: what the standard library of the simulator cannot do by itself.
//!
//! - Every `#include` goes: the library comes before the text.
//! - Address spaces are macros, so functions that differ in nothing else are the same function: naga writes some of its
//!   helpers once for each address space. All but the first go.
//! - `.zyx` becomes a call. A text that calls a member of a struct so is refused: nothing here knows types.
//! - Behind the text comes a function for each kernel that calls it with what is bound, and a table of its arguments.
//!
//! Lines keep their numbers, which the compiler's messages and the barriers use.

mod arguments;
mod scan;

use scan::{blank, matching, words};

macro_rules! library {
    ($($file:ident),+ $(,)?) => { [$((stringify!($file), include_str!(concat!("../../shim/", stringify!($file))))),+] };
}

/// A text in C++, with the library in front, and what is in it.
pub(super) struct Text {
    pub(super) cpp: String,
    pub(super) kernels: Vec<Kernel>,
    /// Whether threads wait for each other somewhere in the text.
    pub(super) meets: bool,
}

/// A kernel, as its text declares it.
pub(super) struct Kernel {
    pub(super) name: String,
    pub(super) max_threads: u32,
    /// Its parameters, without the parentheses, and where they are.
    parameters: String,
    parameters_at: usize,
}

/// The library's files, in their order.
const LIBRARY: &[(&str, &str)] = &library![
    metal_stdlib,
    sim_host,
    metal_types,
    metal_operators,
    metal_relational,
    metal_math,
    metal_integer,
    metal_geometric,
    metal_matrix,
    metal_pack,
    metal_atomic,
    metal_simdgroup,
    metal_simdgroup_matrix,
    metal_names,
    sim_caller,
];

/// The most threads of a group, where a kernel does not say.
const MOST_THREADS: u32 = 1024;

pub(super) fn translate(source: &str) -> Result<Text, String> {
    let mut text = scan::without_comments(source);
    for (start, line) in lines(&text.clone()) {
        if line.trim_start().starts_with("#include") {
            blank(&mut text, start..start + line.len());
        }
    }
    drop_duplicates(&mut text);
    refuse_local_threadgroup(&text)?;
    let kernels = kernels(&text)?;
    // `[[threadgroup(0)]]` has a word that is a macro.
    for kernel in &kernels {
        drop_attributes(&mut text, kernel.parameters_at);
    }
    let meets = meets(&text);
    let text = swizzles(&text)?;
    let mut cpp = String::new();
    for (name, text) in LIBRARY.iter().chain([&("program_source", &*text)]) {
        cpp += &format!("#line 1 \"{name}\"\n{text}\n");
    }
    cpp += "#line 1 \"callers\"\nextern \"C\" {\n";
    cpp += "__attribute__((visibility(\"default\"))) const sim::host* sim_host;\n";
    for (index, kernel) in kernels.iter().enumerate() {
        cpp += &arguments::caller(index, kernel, meets)?;
    }
    cpp += "}\n";
    Ok(Text { cpp, kernels, meets })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

/// Blanks each function that is the same as an earlier one but for address spaces.
fn drop_duplicates(text: &mut String) {
    let mut seen = std::collections::HashSet::new();
    for item in scan::functions(text) {
        let spaces = ["device", "threadgroup", "constant", "thread"];
        let plain: Vec<&str> = scan::tokens(&text[item.clone()]).filter(|token| !spaces.contains(token)).collect();
        if !seen.insert(plain.join(" ")) {
            blank(text, item);
        }
    }
}

/// A variable of a kernel in threadgroup memory would be each thread's own here.
fn refuse_local_threadgroup(text: &str) -> Result<(), String> {
    for (at, _) in words(text).filter(|(_, word)| *word == "threadgroup") {
        let declared = text[at..].find([';', '=', '[', '(', ',', ')']).map_or("", |end| &text[at..at + end]);
        if text[..at].trim_end().ends_with(['{', '}', ';']) && !declared.contains(['*', '&']) {
            let line = line_at(text, at);
            return Err(format!("program_source: threadgroup memory has to be an argument of the kernel here: {line}"));
        }
    }
    Ok(())
}

fn kernels(text: &str) -> Result<Vec<Kernel>, String> {
    let mut found = Vec::new();
    for (at, word) in words(text) {
        if word != "kernel" {
            continue;
        }
        let what = || format!("program_source: what follows `kernel` is not understood: {}", line_at(text, at));
        let rest = text[at + word.len()..].trim_start().strip_prefix("void").ok_or_else(what)?;
        let open = text.len() - rest.len() + rest.find('(').ok_or_else(what)?;
        let close = matching(text, open).ok_or_else(what)?;
        let name = text[text.len() - rest.len()..open].trim().to_owned();
        // The attributes of a kernel stand before it, behind the item before.
        let before = &text[text[..at].rfind([';', '}']).map_or(0, |end| end + 1)..at];
        let threads =
            before.split_once("max_total_threads_per_threadgroup(").and_then(|(_, rest)| rest.split_once(')'));
        let max_threads = match threads {
            Some((number, _)) => number.trim().parse().map_err(|_| what())?,
            None => MOST_THREADS,
        };
        found.push(Kernel { name, max_threads, parameters: text[open + 1..close].to_owned(), parameters_at: open + 1 });
    }
    if found.is_empty() { Err("program_source: there is no kernel".to_owned()) } else { Ok(found) }
}

fn drop_attributes(text: &mut String, parameters: usize) {
    let mut at = parameters;
    let end = matching(text, parameters - 1).unwrap_or(text.len());
    while let Some(start) = text[at..end].find("[[").map(|start| at + start) {
        at = text[start..end].find("]]").map_or(end, |close| start + close + 2);
        blank(text, start..at);
    }
}

fn line_at(text: &str, at: usize) -> &str {
    text[at..].lines().next().unwrap_or_default()
}

/// Whether a text has an operation for which threads wait: a barrier, or one of a simdgroup.
fn meets(text: &str) -> bool {
    let called = |(at, word): (usize, &str)| text[at + word.len()..].trim_start().starts_with('(');
    let meeting = |word: &str| {
        word.ends_with("_barrier") || ["simd_", "quad_", "simdgroup_"].iter().any(|start| word.starts_with(start))
    };
    words(text).any(|(at, word)| meeting(word) && called((at, word)))
}

/// Rewrites `.zyx`.
fn swizzles(text: &str) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut end = 0;
    for (at, word) in words(text) {
        let Some(elements) = swizzle(word) else { continue };
        if !text[..at].ends_with('.') {
            // As a variable it is no matter. As a member, its uses would be rewritten.
            continue;
        }
        if declares(text, word) {
            return Err(format!("program_source: a member called `{word}` cannot be told from a swizzle here"));
        }
        result += &text[end..at];
        result += &format!("swizzle<{elements}>()");
        end = at + word.len();
    }
    result += &text[end..];
    Ok(result)
}

/// The elements that a word names, if it can be a swizzle.
fn swizzle(word: &str) -> Option<String> {
    let index = |names: &str| word.chars().map(|c| names.find(c).map(|at| at.to_string())).collect::<Option<Vec<_>>>();
    if !(2..=4).contains(&word.len()) {
        return None;
    }
    Some(index("xyzw").or_else(|| index("rgba"))?.join(", "))
}

/// Whether a struct of the text has a member of this name.
fn declares(text: &str, name: &str) -> bool {
    let structs = words(text).filter(|(_, word)| *word == "struct");
    structs.filter_map(|(at, _)| Some(at + text[at..].find('{')?)).any(|open| {
        let close = matching(text, open).unwrap_or(text.len());
        words(&text[open..close]).any(|(at, word)| word == name && !text[..open + at].ends_with('.'))
    })
}
