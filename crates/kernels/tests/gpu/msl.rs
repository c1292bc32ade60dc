//! The Metal text of each kernel: what the backend is told of it is so. (That it compiles and runs is shown where there
//! is a Metal, or the simulator of it.)

use super::{all, layout};
use thalweg_hal::shader::{Msl, compile as shader};
use thalweg_hal::{Access, KernelSource};

fn translate(source: &KernelSource) -> Msl {
    shader(source, "test", |shader| shader.msl()).unwrap()
}

#[test]
fn metal_buffers_are_where_the_backend_puts_them() {
    for source in all() {
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
        let mut asked = lengths.to_vec();
        asked.sort();
        assert!(asked.iter().copied().eq(0..source.bindings.len() as u32), "{}: {lengths:?}", source.name);
    }
}
