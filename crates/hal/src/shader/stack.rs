//! The thread that compiles: with a stack for any module, where a panic is an error.

use super::compile_error;
use crate::{Error, KernelSource, Result};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Enough stack for any module, whatever its length.
const LEAST: usize = 16 << 20;
/// And for each of its bytes: some of the compilers' recursions are as deep as an expression is long. Only what is used
/// becomes memory, but all of it is address space, of which a process may have little (`ulimit -v`).
const FOR_EACH_BYTE: usize = 4 << 10;

/// Runs a step on a thread with enough stack for a module of so many bytes.
///
/// # Errors
/// [`Error::Compile`] for a panic; [`Error::Thread`] if the system refuses the thread; what the step says.
pub(super) fn on_a_large_stack<T: Send>(
    source: &KernelSource,
    bytes: usize,
    step: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let defect = || compile_error(source, "the compiler panicked: this is a defect of it, or of Thalweg");
    let stack = LEAST + bytes * FOR_EACH_BYTE;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("thalweg-compile".into()).stack_size(stack);
        // The panic is caught inside, so that dropping its payload cannot panic again outside.
        let run = || catch_unwind(AssertUnwindSafe(step)).map_err(std::mem::forget);
        match thread.spawn_scoped(scope, run) {
            Ok(running) => {
                running.join().map_err(std::mem::forget).and_then(|result| result).unwrap_or_else(|()| Err(defect()))
            }
            Err(error) => Err(refused(source, bytes, stack, &error)),
        }
    })
}

fn refused(source: &KernelSource, bytes: usize, stack: usize, error: &io::Error) -> Error {
    let (name, stack) = (&source.name, stack >> 20);
    let text = format!(
        "{error}; kernel `{name}` has {bytes} bytes of WGSL, for which a stack of {stack} MiB is reserved: raise the \
         limit on address space (`ulimit -v`) or on threads (`ulimit -u`), or shorten the kernel"
    );
    let source = Arc::new(io::Error::new(error.kind(), text));
    Error::Thread { device: "the shader compiler".to_owned(), source }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::shader::compile;
    use crate::{Error, Features, Groups, KernelSource, Wgsl, WgslModule};
    use std::borrow::Cow;
    use std::process::Command;

    /// A kernel with a text of so many bytes.
    fn kernel(bytes: usize) -> KernelSource {
        let text = "@compute @workgroup_size(1) fn main() {}";
        let padding = " ".repeat(bytes - text.len());
        let module = WgslModule {
            source: Cow::Owned(format!("{text}{padding}")),
            entry: Cow::Borrowed("main"),
            overrides: Cow::Borrowed(&[]),
            groups: Groups::Invocations,
            features: Features::NONE,
            failures: Cow::Borrowed(&[]),
        };
        KernelSource {
            name: "padded".into(),
            bindings: Cow::Borrowed(&[]),
            params_bytes: 0,
            wgsl: Some(Wgsl::clamped(module)),
            host: None,
        }
    }

    /// In a process of its own, which has little address space left: kernels as long as ours are compiled, also while
    /// others are; one of the greatest length is refused, with what to do about it.
    #[test]
    fn little_address_space_is_enough_for_kernels_of_ordinary_length() {
        const LIMITED: &str = "THALWEG_TEST_LIMITED";
        if std::env::var_os(LIMITED).is_none() {
            let mut child = Command::new(std::env::current_exe().unwrap());
            let name = "shader::stack::tests::little_address_space_is_enough_for_kernels_of_ordinary_length";
            let output = child.args([name, "--exact", "--nocapture"]).env(LIMITED, "1").output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{text}");
            return;
        }
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        let most = pages * 4096 + (400 << 20);
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: a valid limit, for this process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| compile(&kernel(10_000), "test", |_| Ok(())).unwrap());
            }
        });
        let error = compile(&kernel(super::super::MAX_SOURCE_BYTES), "test", |_| Ok(())).unwrap_err();
        assert!(matches!(error, Error::Thread { .. }) && error.is_retryable(), "{error}");
        let text = error.to_string();
        assert!(text.contains("a stack of 528 MiB") && text.contains("ulimit -v"), "{text}");
    }
}
