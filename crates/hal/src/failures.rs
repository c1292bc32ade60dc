//! What kernels on GPUs say of themselves: words behind a kernel's bindings, into which it stores why it failed.
//!
//! Nothing stops a kernel there. It stores the number of one of its texts
//! ([`WgslModule::failures`](crate::WgslModule::failures)), counted from 1, and a number of its own that says more;
//! zeros say that nothing failed. The host clears the words before a list runs and reads them when it has run, before
//! its value can be seen. Here is where the words of each dispatch are, and what they mean; the memory is the
//! backend's.

use crate::{Command, Error, KernelFailure, KernelSource, List, Pipeline, Report, Reported};
use std::any::Any;
use std::sync::Arc;

/// Which dispatches of a list have words, and where: one behind the other, in the order of [`List::steps`].
#[derive(Debug)]
pub struct FailureWords<P> {
    /// From one dispatch's words to the next one's.
    stride: u64,
    has_words: fn(&P) -> bool,
}

impl<P> Clone for FailureWords<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for FailureWords<P> {}

impl<P: Any> FailureWords<P> {
    /// Bytes of one dispatch's words: which failure, and a number of its own.
    pub const BYTES: u64 = 8;

    /// For a backend's pipelines, of which `has_words` says whether a kernel declares the words, and a device where
    /// bindings start at multiples of `alignment`.
    pub fn new(alignment: u64, has_words: fn(&P) -> bool) -> Self {
        Self { stride: Self::BYTES.next_multiple_of(alignment.max(1)), has_words }
    }

    /// The dispatches of a list that have words, those of lists that it runs among them: each with the index of the
    /// submitted list's command.
    pub fn dispatches(self, list: &Arc<List>) -> impl Iterator<Item = (u32, &P)> {
        List::steps(list).filter_map(move |step| {
            let Command::Dispatch { pipeline, .. } = step.command() else { return None };
            let pipeline = step.list.pipelines[*pipeline as usize].as_any().downcast_ref()?;
            (self.has_words)(pipeline).then_some((step.index, pipeline))
        })
    }

    /// Bytes of the words of a list.
    pub fn bytes(self, list: &Arc<List>) -> u64 {
        self.offset(self.dispatches(list).count() as u64)
    }

    /// Where the words of the `at`-th of those dispatches start.
    pub fn offset(self, at: u64) -> u64 {
        at * self.stride
    }
}

impl<P: Pipeline + Any> FailureWords<P> {
    /// The failures of the list with this value, which has run. `words` reads the two words at an offset.
    pub fn reports(
        self,
        list: &Arc<List>,
        value: u64,
        words: impl Fn(u64) -> [u32; 2],
    ) -> impl Iterator<Item = Report> {
        self.dispatches(list).enumerate().filter_map(move |(at, (command, pipeline))| {
            let error = failure(pipeline.source(), words(self.offset(at as u64)))?;
            Some(Report { value, command, what: Reported::Failed(error) })
        })
    }
}

/// What a kernel's words say; `None` if nothing failed.
fn failure(source: &KernelSource, [code, number]: [u32; 2]) -> Option<Error> {
    let text = (code as usize).checked_sub(1)?;
    let texts = source.wgsl.as_ref().map_or(&[][..], |wgsl| &wgsl.module().failures);
    let failure = KernelFailure::new(match texts.get(text) {
        Some(text) => format!("{text} ({number})"),
        None => format!("failure {code} ({number})"),
    });
    Some(Error::Kernel { kernel: source.name.clone().into_owned(), failure })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostPipeline;
    use crate::{Features, Groups, IndexRange, Wgsl, WgslModule};
    use std::borrow::Cow;

    fn source(name: &'static str, failures: &'static [&'static str]) -> KernelSource {
        let words = "@group(0) @binding(0) var<storage, read_write> failure: array<atomic<u32>, 2>;
            @compute @workgroup_size(1) fn main() { atomicStore(&failure[0], 1u); }";
        let nothing = "@compute @workgroup_size(1) fn main() {}";
        let module = WgslModule {
            source: Cow::Borrowed(if name == "silent" { nothing } else { words }),
            entry: Cow::Borrowed("main"),
            overrides: Cow::Borrowed(&[]),
            groups: Groups::Invocations,
            features: Features::NONE,
            failures: Cow::Borrowed(failures),
        };
        KernelSource {
            name: name.into(),
            bindings: Cow::Borrowed(&[]),
            params_bytes: 0,
            wgsl: Some(Wgsl::clamped(module)),
            host: Some(|_| Ok(())),
        }
    }

    fn has_words(pipeline: &HostPipeline) -> bool {
        pipeline.source().name.starts_with("fails")
    }

    /// A list that dispatches these kernels, and runs the given lists at its end.
    fn list(sources: &[KernelSource], lists: &[&Arc<List>]) -> Arc<List> {
        let mut list = List::default();
        let none = IndexRange { start: 0, len: 0 };
        for source in sources {
            let pipeline = list.pipelines.len() as u32;
            list.pipelines.push(Arc::new(HostPipeline::new(source, "test").unwrap()));
            let dispatch = Command::Dispatch { pipeline, bindings: none, params: none, extent: [1; 3] };
            list.commands.extend([Command::Barrier, dispatch]);
        }
        for inner in lists {
            list.commands.push(Command::Run { list: list.lists.len() as u32, bindings: none });
            list.lists.push(Arc::clone(inner));
        }
        Arc::new(list)
    }

    #[test]
    fn each_dispatch_that_can_fail_has_words_of_its_own_and_says_what_is_in_them() {
        let (fails, silent) = (source("fails", &["odd", "large"]), source("silent", &[]));
        let inner = list(&[silent.clone(), fails.clone(), fails.clone()], &[]);
        let outer = list(&[fails.clone(), silent, source("fails too", &[])], &[&inner, &inner]);
        let places = FailureWords::new(256, has_words);
        let dispatches: Vec<_> = places.dispatches(&outer).map(|(at, p)| (at, &*p.source().name)).collect();
        let expected = [(1, "fails"), (5, "fails too"), (6, "fails"), (6, "fails"), (7, "fails"), (7, "fails")];
        assert_eq!(dispatches, expected);
        assert_eq!((places.bytes(&outer), places.bytes(&inner), places.offset(3)), (6 * 256, 2 * 256, 768));

        let words = |offset: u64| match offset / 256 {
            0 => [1, 7],
            1 => [3, 8],
            4 => [2, u32::MAX],
            // A number without a failure is none.
            _ => [0, 9],
        };
        let said: Vec<_> = places
            .reports(&outer, 5, words)
            .map(|Report { value, command, what }| match what {
                Reported::Failed(error) => (value, command, error.to_string()),
                Reported::Time(time) => panic!("{time:?}"),
            })
            .collect();
        let expected = [
            (5, 1, "kernel `fails` failed: odd (7)"),
            (5, 5, "kernel `fails too` failed: failure 3 (8)"),
            (5, 7, "kernel `fails` failed: large (4294967295)"),
        ];
        assert_eq!(said, expected.map(|(value, command, text)| (value, command, text.to_owned())));
    }

    #[test]
    fn words_are_as_far_apart_as_bindings_must_be_and_overlap_nowhere() {
        for (alignment, stride) in [(0, 8), (1, 8), (4, 8), (8, 8), (16, 16), (64, 64), (256, 256)] {
            assert_eq!(FailureWords::new(alignment, has_words).offset(1), stride);
        }
    }
}
