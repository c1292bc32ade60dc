//! What a kernel takes, read from its parameters, and the function that calls it with that.

use super::{Kernel, scan};
use crate::shader::run::BUFFERS;
use std::fmt::Write;

/// A parameter of a kernel: its type, and what its attribute says.
struct Parameter<'a> {
    kind: &'a str,
    /// With the attributes that make a threadgroup's memory or a buffer.
    place: Place<'a>,
}

enum Place<'a> {
    Buffer(u32),
    Threadgroup(u32),
    /// One of the numbers that tell a thread who it is.
    Builtin(&'a str),
}

/// The C++ that calls kernel `index`, once if its threads meet and for every thread of a group if not, and the table of
/// its arguments: rows of six numbers, which `compile::Argument` names, and all ones at the end.
pub(super) fn caller(index: usize, kernel: &Kernel, meets: bool) -> Result<String, String> {
    let parameters = parse(&kernel.parameters).map_err(|what| format!("program_source: {}: {what}", kernel.name))?;
    let (mut values, mut table) = (Vec::new(), String::new());
    for Parameter { kind, place } in &parameters {
        let (from, at, row) = match place {
            Place::Buffer(at) => ("buffers", at, 0),
            Place::Threadgroup(at) => ("threadgroups", at, 1),
            Place::Builtin(name) => {
                let (x, y, z) = builtin(name).ok_or_else(|| {
                    format!("program_source: {}: the simulator does not know the attribute `{name}`", kernel.name)
                })?;
                values.push(format!("sim::position<{kind}>::of({x}, {y}, {z})"));
                continue;
            }
        };
        let constant = u32::from(scan::words(kind).any(|(_, word)| word == "constant"));
        let pointee = format!("__remove_reference_t(__remove_pointer({kind}))");
        values.push(format!("sim::argument<{kind}>::of(c->{from}[{at}])"));
        let _ = writeln!(
            table,
            "    {row}, {at}, sizeof({pointee}), alignof({pointee}), !sim::is_const<{pointee}>::is, {constant},"
        );
    }
    let call = format!("{}({});", kernel.name, values.join(", "));
    let body = if meets {
        format!("    {call}\n")
    } else {
        format!(
            "    a->index = 0;\n    \
             for (a->in_group[2] = 0; a->in_group[2] < c->size[2]; a->in_group[2]++)\n    \
             for (a->in_group[1] = 0; a->in_group[1] < c->size[1]; a->in_group[1]++)\n    \
             for (a->in_group[0] = 0; a->in_group[0] < c->size[0]; a->in_group[0]++, a->index++)\n        {call}\n"
        )
    };
    // Copies, which the compiler knows nothing else to change.
    let copies = "    const sim::call calling = *with, *c = &calling;\n    sim::at here = *thread_at, *a = &here;\n";
    let visible = "__attribute__((visibility(\"default\")))";
    Ok(format!(
        "{visible} void sim_run_{index}(const sim::call* with, const sim::at* thread_at) {{\n{copies}{body}}}\n\
         {visible} extern const uint sim_arguments_{index}[] = {{\n{table}    ~0u}};\n"
    ))
}

/// The three numbers of an attribute; where there is one, the first.
fn builtin(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let threads = "c->size[0] * c->size[1] * c->size[2]";
    Some(match name {
        "thread_position_in_grid" => (
            "a->group[0] * c->size[0] + a->in_group[0]",
            "a->group[1] * c->size[1] + a->in_group[1]",
            "a->group[2] * c->size[2] + a->in_group[2]",
        ),
        "thread_position_in_threadgroup" => ("a->in_group[0]", "a->in_group[1]", "a->in_group[2]"),
        "threadgroup_position_in_grid" => ("a->group[0]", "a->group[1]", "a->group[2]"),
        "threadgroups_per_grid" => ("c->grid[0]", "c->grid[1]", "c->grid[2]"),
        "threads_per_threadgroup" | "dispatch_threads_per_threadgroup" => ("c->size[0]", "c->size[1]", "c->size[2]"),
        "threads_per_grid" => ("c->grid[0] * c->size[0]", "c->grid[1] * c->size[1]", "c->grid[2] * c->size[2]"),
        "thread_index_in_threadgroup" => ("a->index", threads, threads),
        "thread_index_in_simdgroup" => ("a->index % 32", threads, threads),
        "simdgroup_index_in_threadgroup" => ("a->index / 32", threads, threads),
        "simdgroups_per_threadgroup" | "dispatch_simdgroups_per_threadgroup" => {
            ("(c->size[0] * c->size[1] * c->size[2] + 31) / 32", threads, threads)
        }
        "threads_per_simdgroup" | "thread_execution_width" => ("32", threads, threads),
        "thread_index_in_quadgroup" => ("a->index % 4", threads, threads),
        "quadgroup_index_in_threadgroup" => ("a->index / 4", threads, threads),
        _ => return None,
    })
}

fn parse(list: &str) -> Result<Vec<Parameter<'_>>, String> {
    let mut unnumbered = 0;
    let texts = split(list).into_iter().map(str::trim).filter(|text| !text.is_empty());
    texts
        .map(|text| {
            let (declaration, attribute) = match text.split_once("[[") {
                Some((declaration, rest)) => {
                    let attribute = rest.split_once("]]").ok_or_else(|| format!("`{text}` has no `]]`"))?.0;
                    (declaration, Some(attribute.trim()))
                }
                None => (text, None),
            };
            // The last word is the name.
            let name = scan::words(declaration).last().ok_or_else(|| format!("`{text}` has no name"))?;
            let kind = declaration[..name.0].trim();
            let number = |name: &str| {
                let rest = attribute?.strip_prefix(name)?.trim_start().strip_prefix('(')?;
                Some(rest.trim_end().strip_suffix(')')?.trim().parse::<u32>())
            };
            let wrong = |_| format!("`{text}` has no number");
            let place = if let Some(at) = number("buffer") {
                let at = at.map_err(wrong)?;
                if at as usize >= BUFFERS {
                    return Err(format!("`{text}`: there are {BUFFERS} buffers"));
                }
                Place::Buffer(at)
            } else if let Some(at) = number("threadgroup") {
                Place::Threadgroup(at.map_err(wrong)?)
            } else if let Some(name) = attribute {
                Place::Builtin(name)
            } else if scan::words(kind).any(|(_, word)| word == "threadgroup") {
                // Without an attribute they are numbered as they come.
                unnumbered += 1;
                Place::Threadgroup(unnumbered - 1)
            } else {
                return Err(format!("`{text}` has no attribute"));
            };
            Ok(Parameter { kind, place })
        })
        .collect()
}

/// Cuts at the commas outside of brackets.
fn split(list: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' | b'>' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}
