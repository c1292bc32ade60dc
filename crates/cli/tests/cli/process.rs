//! Running the command, and the small model that it runs on.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg::EmbeddingModel;
use thalweg_models::testing::SmallEncoder;

/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory of the test's own, with a small model in it.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { directory: TempDir::new().unwrap() };
        fs::create_dir(place.model()).unwrap();
        SmallEncoder::new(11, 2, 32).write(place.model()).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    /// A file with this content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// What the library itself answers for each text, alone.
    pub fn expected(&self, texts: &[&str]) -> Vec<Embedding> {
        let model = EmbeddingModel::load(&thalweg::open("cpu").unwrap(), self.model()).unwrap();
        let embed = |text: &&str| model.embed(&[text]).unwrap();
        let alone = |text| Embedding { tokens: embed(text).tokens(0), values: embed(text).row(0).unwrap().to_vec() };
        texts.iter().map(alone).collect()
    }

    /// A script for a POSIX shell, which redirects streams as a user does. It runs in this directory; `$thalweg` is the
    /// command, and `$embed` is `thalweg embed` with this model.
    pub fn shell(&self, script: &str) -> Invocation {
        let thalweg = env!("CARGO_BIN_EXE_thalweg");
        let mut shell = Invocation::of(Command::new("sh"));
        shell.command.arg("-c").arg(script).current_dir(self.path(""));
        shell.variable("thalweg", thalweg).variable("embed", format!("{thalweg} embed --device cpu --model model"))
    }

    /// `thalweg embed` with this model and these flags.
    pub fn embed(&self) -> Invocation {
        Invocation::new("embed").flag("--model", self.model())
    }
}

/// A text's embedding.
#[derive(Clone)]
pub struct Embedding {
    pub tokens: usize,
    pub values: Vec<f32>,
}

/// A command that ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Exit code 1 or 2, one line on standard error with all of `words`, and no panic.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "standard error does not say `{word}`: {self:?}");
        }
    }

    #[track_caller]
    pub fn assert_succeeds(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
    }
}

/// What tells Vulkan's loader which drivers there are: the newer name, and the older one.
const DRIVERS: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// A command to be run. It finds no driver for Vulkan, so that it computes on the processor on every machine.
pub struct Invocation {
    command: Command,
    input: Vec<u8>,
}

impl Invocation {
    pub fn new(subcommand: &str) -> Self {
        let mut invocation = Self::of(Command::new(env!("CARGO_BIN_EXE_thalweg")));
        invocation.command.arg(subcommand);
        invocation
    }

    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in DRIVERS {
            command.env(name, "/there/is/no/such/file");
        }
        // Tests that run in the background are deaf to some signals, and what they start would be too.
        let listen = || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                // SAFETY: the default action runs none of our code.
                if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `signal` is one of the functions that may be called between fork and exec, and nothing allocates.
        unsafe { command.pre_exec(listen) };
        Self { command, input: Vec::new() }
    }

    /// With the machine's drivers for Vulkan.
    pub fn with_vulkan(mut self) -> Self {
        for name in DRIVERS {
            match std::env::var_os(name) {
                Some(value) => self.command.env(name, value),
                None => self.command.env_remove(name),
            };
        }
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable out of the environment.
    pub fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn flag(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.arg(name).arg(value);
        self
    }

    pub fn switch(mut self, name: &str) -> Self {
        self.command.arg(name);
        self
    }

    /// What standard input holds.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs to the end.
    pub fn run(self) -> Ended {
        let input = self.input.clone();
        let mut running = self.start();
        let mut stdin = running.child.stdin.take().unwrap();
        // Its own thread: the command writes while it reads. A command that refuses its flags reads nothing.
        thread::spawn(move || stdin.write_all(&input));
        running.end()
    }

    /// Starts the command with its streams in the test's hands.
    pub fn start(mut self) -> Running {
        let child = self.command.spawn().unwrap();
        let (ended, end) = mpsc::channel();
        let id = child.id();
        thread::spawn(move || {
            // A command that hangs is killed, so that its streams end and the test fails where it stands.
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                send("KILL", id);
            }
        });
        Running { child, _ended: ended }
    }
}

/// A command that runs.
pub struct Running {
    pub child: Child,
    /// Dropped with the rest: then nobody is left to be killed.
    _ended: Sender<()>,
}

impl Running {
    /// Sends the signal, "INT" or "TERM".
    pub fn signal(&self, name: &str) {
        send(name, self.child.id());
    }

    /// Waits for the end, with what is still to be read of the streams in the test's hands.
    pub fn end(mut self) -> Ended {
        let stdout = self.child.stdout.take().map(read_all);
        let stderr = self.child.stderr.take().map(read_all);
        let code = self.wait();
        let text = |reader: Option<thread::JoinHandle<String>>| reader.map_or(String::new(), |it| it.join().unwrap());
        Ended { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Waits for the end without reading anything: the exit code, or `None` when the command was killed for hanging.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn send(signal: &str, process: u32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).status().unwrap();
    assert!(status.success());
}

fn read_all(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// Checks that `lines` are the results of the texts, numbered from 0, each value with the library's own bits.
#[track_caller]
pub fn assert_results(lines: &str, expected: &[Embedding]) {
    assert!(lines.is_empty() || lines.ends_with('\n'), "the last line is cut off");
    assert_eq!(lines.lines().count(), expected.len());
    for (index, (line, expected)) in lines.lines().zip(expected).enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["index"], index, "results are out of order");
        assert_eq!(value["tokens"], expected.tokens, "line {index}");
        let found: Vec<u32> = value["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.to_string().parse::<f32>().unwrap().to_bits())
            .collect();
        let bits: Vec<u32> = expected.values.iter().map(|value| value.to_bits()).collect();
        assert_eq!(found, bits, "line {index}");
    }
}

/// The lines of these results, numbered from 0, to the byte.
pub fn lines(results: &[Embedding]) -> String {
    let lines = results.iter().enumerate().map(|(index, result)| {
        let Embedding { tokens, values } = result;
        format!("{{\"index\":{index},\"tokens\":{tokens},\"embedding\":{}}}\n", serde_json::to_string(values).unwrap())
    });
    lines.collect()
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
