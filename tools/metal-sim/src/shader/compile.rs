//! C++ to a shared object, by clang; loaded once a process.

use super::{At, BufferArgument, Call, Options, cache};
use crate::fiber::{HOST, Host};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Runs a thread of a group, or all of them where none waits for another.
pub(super) type Code = unsafe extern "C" fn(*const Call, *const At);

/// The most bytes that a function may have on its stack. Metal knows no recursion, so what a thread needs is this for
/// each function that calls another and is not inlined: a fiber has room for several.
const MOST_FRAME_BYTES: usize = crate::fiber::STACK_BYTES / 4;

/// A row of a kernel's table of arguments, as `translate` writes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Argument {
    space: u32,
    pub(super) index: u32,
    pub(super) bytes: u32,
    align: u32,
    writes: u32,
    constant: u32,
}

impl Argument {
    pub(super) fn in_buffer(&self) -> bool {
        self.space == 0
    }

    pub(super) fn buffer(&self) -> BufferArgument {
        let Self { index, bytes, align, .. } = *self;
        BufferArgument { index, bytes, align, writes: self.writes != 0, constant: self.constant != 0 }
    }
}

/// A shared object. It is never unloaded.
#[derive(Debug)]
pub(super) struct Image {
    handle: *mut c_void,
}

// SAFETY: a handle of the dynamic loader may be used by any thread.
unsafe impl Send for Image {}
// SAFETY: as above; looking up a symbol changes nothing of ours.
unsafe impl Sync for Image {}

/// An image, or the turn to make it.
type Slot = Arc<Mutex<Option<&'static Image>>>;

/// The images of this process by what they were made from. Threads that want the same one wait for the first.
static IMAGES: Mutex<Option<HashMap<cache::Key, Slot>>> = Mutex::new(None);

/// The shared object of a text in C++: of this process, of the cache's folder, or compiled.
pub(super) fn load(cpp: &str, options: &Options) -> Result<&'static Image, String> {
    let arguments = arguments(options);
    let key = cache::Key::of(&[cpp, &arguments.join(" "), compiler()?]);
    let slot = {
        let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(images.get_or_insert_default().entry(key).or_default())
    };
    let mut image = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = *image {
        return Ok(image);
    }
    let path = cache::find_or_make(key, |path| compile(cpp, &arguments, path))?;
    Ok(image.insert(Image::open(&path)?))
}

fn program() -> String {
    std::env::var("METAL_SIM_CXX").unwrap_or_else(|_| "clang++-19".to_owned())
}

/// The compiler's version, as it says it.
fn compiler() -> Result<&'static str, String> {
    static VERSION: OnceLock<Result<String, String>> = OnceLock::new();
    let ask = || {
        let output = Command::new(program()).arg("--version").output().map_err(|error| no_compiler(&error))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    VERSION.get_or_init(ask).as_deref().map_err(Clone::clone)
}

fn no_compiler(error: &std::io::Error) -> String {
    format!("the simulator's compiler, {}, does not run ({error}); METAL_SIM_CXX can name another", program())
}

fn arguments(options: &Options) -> Vec<String> {
    let fixed = [
        // Frames that a fiber has no room for are an error; nothing else is said of a text that compiles.
        "-Wno-everything",
        "-Wframe-larger-than=",
        "-Werror=frame-larger-than",
        "-std=c++17",
        "-O2",
        // A literal without a suffix is a float, and an operation of halves rounds to a half.
        "-Xclang -cl-single-precision-constant",
        "-Xclang -ffloat16-excess-precision=none",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fwrapv",
        "-fno-strict-aliasing",
        "-fno-finite-loops",
        "-fno-exceptions",
        "-fno-rtti",
        "-fvisibility=hidden",
        "-fPIC",
        "-shared",
        "-nostdlib++",
        // A fiber has no room for the dynamic linker either.
        "-Wl,-z,now",
    ];
    let mut arguments: Vec<String> = fixed.iter().flat_map(|argument| argument.split(' ')).map(str::to_owned).collect();
    arguments[1] += &MOST_FRAME_BYTES.to_string();
    if options.fast_math {
        arguments.push("-ffast-math".to_owned());
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
        arguments.push("-march=x86-64-v3".to_owned());
    }
    arguments
}

fn compile(cpp: &str, arguments: &[String], path: &Path) -> Result<(), String> {
    let mut clang = Command::new(program());
    clang.args(arguments).arg("-o").arg(path).args(["-x", "c++", "-", "-x", "none", "-lm"]);
    let child = clang.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| no_compiler(&error))?;
    // It says nothing before it has read all, but for what is wrong with its arguments; then it does not read.
    let written = child.stdin.take().map(|mut input| input.write_all(cpp.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match (output.status.success(), written) {
        (true, Some(Ok(()))) => Ok(()),
        (true, _) => Err("the compiler has not read its input".to_owned()),
        (false, _) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

impl Image {
    fn open(path: &Path) -> Result<&'static Self, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the name ends with a zero. The object has no constructors, so nothing of it runs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(loader_error());
        }
        let image = Self { handle };
        let host = image.symbol(c"sim_host")?.cast::<*const Host>();
        // SAFETY: the text defines it as a pointer to what `Host` describes, and no kernel of it has run yet: this
        // image is not known to anybody.
        unsafe { host.write(&raw const HOST) };
        Ok(Box::leak(Box::new(image)))
    }

    fn symbol(&self, name: &CStr) -> Result<*mut c_void, String> {
        // SAFETY: the handle is open, the name ends with a zero.
        let symbol = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        if symbol.is_null() { Err(loader_error()) } else { Ok(symbol) }
    }

    /// The code and the arguments of the text's kernel of this number.
    pub(super) fn kernel(&self, index: usize) -> Result<(Code, Vec<Argument>), String> {
        let symbol = |what: &str| {
            let name = CString::new(format!("sim_{what}_{index}")).map_err(|error| error.to_string())?;
            self.symbol(&name)
        };
        let code = symbol("run")?;
        // SAFETY: the caller that `translate` writes has this type.
        let code = unsafe { std::mem::transmute::<*mut c_void, Code>(code) };
        let mut row = symbol("arguments")?.cast_const().cast::<Argument>();
        let mut arguments = Vec::new();
        // SAFETY: the table has rows of this type, and behind them a number of all ones, where a row has its space.
        while unsafe { row.cast::<u32>().read() } != u32::MAX {
            // SAFETY: as above; this is a whole row.
            arguments.push(unsafe { row.read() });
            // SAFETY: as above; behind a row is another, or the end.
            row = unsafe { row.add(1) };
        }
        Ok((code, arguments))
    }
}

fn loader_error() -> String {
    // SAFETY: called after a call of the loader that failed, on the same thread; the text is copied before another
    // call.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the dynamic loader failed".to_owned();
    }
    // SAFETY: it is a text that ends with a zero.
    unsafe { CStr::from_ptr::<'_>(message.cast::<c_char>()) }.to_string_lossy().into_owned()
}
