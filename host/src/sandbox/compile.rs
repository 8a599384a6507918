//! From uploaded bytes to machine code, in a process of its own that can be killed.
//!
//! A compiler that is fed by an attacker may take minutes and gigabytes, or crash; none of that counts as a defect of
//! the compiler. So it never runs here: the parent half starts this same executable as [`COMPILE_WORKER`], the child
//! half limits itself before it reads the first byte.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use wasmparser::{CanonicalFunction, CanonicalOption, Parser, Payload};

use super::Refusal;
use super::confine::confine;
use super::limits::CompileLimits;
use super::{engine, text};

/// The first argument that makes the executable a compiling process. The others are its limits.
pub const COMPILE_WORKER: &str = "compile-worker";

/// Exit codes of the compiling process; what is neither of these nor 0 is a failure of ours.
const DOES_NOT_FIT: u8 = 3;
const DOES_NOT_COMPILE: u8 = 4;
/// Rust's own.
const PANICKED: i32 = 101;
const MESSAGE_BYTES: usize = 1024;

/// Starts compiling processes, a few at a time.
pub(super) struct Compiler {
    executable: PathBuf,
    places: Semaphore,
}

impl Compiler {
    pub(super) fn new(executable: PathBuf, places: usize) -> Self {
        Self {
            executable,
            places: Semaphore::new(places),
        }
    }

    /// Machine code that the running engine can load. `bytes` have passed the structure check.
    pub(super) async fn compile(&self, bytes: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, Refusal> {
        let limit = Duration::from_secs(limits.wall_seconds);
        let Ok(Ok(_place)) = tokio::time::timeout(limit, self.places.acquire()).await else {
            return Err(Refusal::Unavailable(
                "others are being compiled; try again later".to_owned(),
            ));
        };
        let child = self.start(limits).map_err(|error| unavailable(&error))?;
        // Dropping the child, at the timeout or when the caller goes away, kills it.
        match tokio::time::timeout(limit, converse(child, bytes, limits)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::CompileLimit(format!(
                "it took longer than {} s",
                limit.as_secs()
            ))),
        }
    }

    fn start(&self, limits: &CompileLimits) -> std::io::Result<Child> {
        Command::new(&self.executable)
            .arg(COMPILE_WORKER)
            .arg(limits.memory_bytes.to_string())
            .arg(limits.cpu_seconds.to_string())
            .env_clear()
            // In KiB: by itself the allocator reserves more addresses at once than the process may have.
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

async fn converse(mut child: Child, bytes: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, Refusal> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(Refusal::Unavailable("the compiling process has no pipes".to_owned()));
    };
    // Each end is closed as soon as it is done with, so that the child never waits for a reader that has left.
    let send = async move {
        // An error here means that the child ended early; its exit status says why.
        let _ = stdin.write_all(bytes).await;
    };
    let (code, message, ()) = tokio::join!(
        read(stdout, limits.code_bytes as u64 + 1),
        read(stderr, MESSAGE_BYTES as u64),
        send
    );
    let (code, message) = (code?, message?);
    if code.len() > limits.code_bytes {
        return Err(Refusal::CompileLimit(format!(
            "it became more than {} bytes of machine code",
            limits.code_bytes
        )));
    }
    let status = child.wait().await.map_err(|error| unavailable(&error))?;
    judge(status, code, &message, limits)
}

fn judge(status: ExitStatus, code: Vec<u8>, message: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, Refusal> {
    let message = || text::line(&String::from_utf8_lossy(message), MESSAGE_BYTES);
    match status.code() {
        Some(0) => Ok(code),
        Some(exit) if exit == i32::from(DOES_NOT_FIT) => Err(Refusal::World(message())),
        Some(exit) if exit == i32::from(DOES_NOT_COMPILE) => Err(Refusal::Compile(message())),
        Some(PANICKED) => {
            tracing::error!(message = message(), "the compiler panicked");
            Err(Refusal::Compile("the compiler gave up on it".to_owned()))
        }
        Some(exit) => Err(Refusal::Unavailable(format!(
            "the compiling process failed with exit code {exit}: {}",
            message()
        ))),
        // Out of processor time or address space, or a crash: the system ended it by a signal.
        None => Err(Refusal::CompileLimit(format!(
            "it took more than {} s of processor time or {} MiB of memory, or crashed the compiler ({status})",
            limits.cpu_seconds,
            limits.memory_bytes >> 20
        ))),
    }
}

/// At most `most` bytes; what follows has nobody to read it.
async fn read(from: impl AsyncRead + Unpin, most: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    from.take(most)
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(bytes)
}

fn unavailable(error: &dyn std::error::Error) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

/// The whole life of a compiling process: limits from the arguments, a plugin on standard input, machine code on
/// standard output, or a message on standard error and an exit code. To be called before any thread is started.
pub fn compile_worker(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (answer, exit) = match work(arguments) {
        Ok(code) => {
            return if std::io::stdout().write_all(&code).is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Err(fault) => fault,
    };
    // Nobody is left to tell if this fails.
    let _ = std::io::stderr().write_all(answer.as_bytes());
    exit
}

fn work(arguments: impl Iterator<Item = String>) -> Result<Vec<u8>, (String, ExitCode)> {
    let failed = |error: &dyn std::fmt::Display| (error.to_string(), ExitCode::FAILURE);
    let numbers: Result<Vec<u64>, _> = arguments.map(|argument| argument.parse()).collect();
    let Ok([memory_bytes, cpu_seconds]) = numbers.as_deref() else {
        return Err(failed(
            &"usage: compile-worker MEMORY_BYTES CPU_SECONDS < plugin > code",
        ));
    };
    confine(*memory_bytes, *cpu_seconds).map_err(|error| failed(&error))?;
    let engine = engine::compiling().map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    if Parser::is_core_wasm(&bytes) {
        bytes = componentise(&bytes).map_err(|error| (format!("{error:#}"), ExitCode::from(DOES_NOT_FIT)))?;
    }
    only_utf8(&bytes).map_err(|error| (format!("{error:#}"), ExitCode::from(DOES_NOT_FIT)))?;
    engine
        .precompile_component(&bytes)
        .map_err(|error| (format!("{error:#}"), ExitCode::from(DOES_NOT_COMPILE)))
}

/// Makes the component that a core module's embedded metadata describes.
fn componentise(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .encode()
}

/// No other encoding of strings: translating them is where advisories were, and no toolchain needs one.
fn only_utf8(component: &[u8]) -> anyhow::Result<()> {
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::ComponentCanonicalSection(section)) = payload else {
            // What is not sound is refused by the compiler, which says it better.
            continue;
        };
        for function in section.into_iter().flatten() {
            let (CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }) = function else {
                continue;
            };
            let other = [CanonicalOption::UTF16, CanonicalOption::CompactUTF16];
            anyhow::ensure!(
                !options.iter().any(|option| other.contains(option)),
                "its strings must be UTF-8, not UTF-16 or Latin-1"
            );
        }
    }
    Ok(())
}
