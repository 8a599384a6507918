//! Compiles uploaded bytes to machine code, in a child process that can be killed.
//!
//! Hostile input can make a compiler take minutes and gigabytes, or crash, and compiler projects do not treat this as a
//! defect. Therefore the server process never compiles. It starts its own executable as [`COMPILE_WORKER`]; the child
//! restricts itself before it reads the first byte.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use wasmparser::{CanonicalFunction, CanonicalOption, Parser, Payload};

use super::UploadRefusal;
use super::confine::confine;
use super::limits::CompileLimits;
use super::{engine, text};

/// The first argument of the compile process. The other arguments are its limits.
pub const COMPILE_WORKER: &str = "compile-worker";

/// Exit codes of the compile process. Any other code except 0 means that the process itself failed.
const WRONG_WORLD: u8 = 3;
const DOES_NOT_COMPILE: u8 = 4;
/// The exit code of a panicked Rust process.
const PANICKED: i32 = 101;
const MESSAGE_BYTES: usize = 1024;

/// Starts compile processes, a limited number at a time.
pub(super) struct Compiler {
    executable: PathBuf,
    slots: Semaphore,
}

impl Compiler {
    pub(super) fn new(executable: PathBuf, slots: usize) -> Self {
        Self {
            executable,
            slots: Semaphore::new(slots),
        }
    }

    /// Returns machine code that the engine can load. `bytes` have passed the structure check.
    pub(super) async fn compile(&self, bytes: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, UploadRefusal> {
        let limit = Duration::from_secs(limits.wall_seconds);
        let Ok(Ok(_slot)) = tokio::time::timeout(limit, self.slots.acquire()).await else {
            return Err(UploadRefusal::Unavailable(
                "all compile processes are busy; try again later".to_owned(),
            ));
        };
        let child = self.start(limits).map_err(|error| unavailable(&error))?;
        // Dropping the child kills it, after the timeout and when the caller is cancelled.
        match tokio::time::timeout(limit, exchange(child, bytes, limits)).await {
            Ok(answer) => answer,
            Err(_) => Err(UploadRefusal::CompileLimit(format!(
                "it took more than {} s to compile",
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
            // In KiB. By default, the allocator reserves more address space than the process may have.
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Sends the bytes to the child and reads its output.
async fn exchange(mut child: Child, bytes: &[u8], limits: &CompileLimits) -> Result<Vec<u8>, UploadRefusal> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(UploadRefusal::Unavailable(
            "the compile process has no pipes".to_owned(),
        ));
    };
    // Each pipe is closed as soon as possible, so that the child never blocks on a pipe that is no longer read.
    let send = async move {
        // An error means that the child ended early; its exit status says why.
        let _ = stdin.write_all(bytes).await;
    };
    let (code, message, ()) = tokio::join!(
        read(stdout, limits.code_bytes as u64 + 1),
        read(stderr, MESSAGE_BYTES as u64),
        send
    );
    let (code, message) = (code?, message?);
    if code.len() > limits.code_bytes {
        return Err(UploadRefusal::CompileLimit(format!(
            "its machine code is larger than {} bytes",
            limits.code_bytes
        )));
    }
    let status = child.wait().await.map_err(|error| unavailable(&error))?;
    interpret_exit(status, code, &message, limits)
}

fn interpret_exit(
    status: ExitStatus,
    code: Vec<u8>,
    message: &[u8],
    limits: &CompileLimits,
) -> Result<Vec<u8>, UploadRefusal> {
    let message = || text::line(&String::from_utf8_lossy(message), MESSAGE_BYTES);
    match status.code() {
        Some(0) => Ok(code),
        Some(exit) if exit == i32::from(WRONG_WORLD) => Err(UploadRefusal::World(message())),
        Some(exit) if exit == i32::from(DOES_NOT_COMPILE) => Err(UploadRefusal::Compile(message())),
        Some(PANICKED) => {
            tracing::error!(message = message(), "the compiler panicked");
            Err(UploadRefusal::Compile(
                "the compiler failed with an internal error".to_owned(),
            ))
        }
        Some(exit) => Err(UploadRefusal::Unavailable(format!(
            "the compile process failed with exit code {exit}: {}",
            message()
        ))),
        // The system ended the process by a signal: out of processor time or address space, or a crash.
        None => Err(UploadRefusal::CompileLimit(format!(
            "it needed more than {} s of processor time or {} MiB of memory, or crashed the compiler ({status})",
            limits.cpu_seconds,
            limits.memory_bytes >> 20
        ))),
    }
}

/// Reads at most `max_bytes` and ignores the rest.
async fn read(from: impl AsyncRead + Unpin, max_bytes: u64) -> Result<Vec<u8>, UploadRefusal> {
    let mut bytes = Vec::new();
    from.take(max_bytes)
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(bytes)
}

fn unavailable(error: &dyn std::error::Error) -> UploadRefusal {
    UploadRefusal::Unavailable(error.to_string())
}

/// The main function of the compile process. The arguments are its limits. It reads a plugin from standard input and
/// writes machine code to standard output, or a message to standard error and an exit code. Call it before starting any
/// thread.
pub fn compile_worker(arguments: impl Iterator<Item = String>) -> ExitCode {
    let (message, exit) = match work(arguments) {
        Ok(code) => {
            return if std::io::stdout().write_all(&code).is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        Err(failure) => failure,
    };
    // If this fails, there is no other channel to report it.
    let _ = std::io::stderr().write_all(message.as_bytes());
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
        bytes = componentise(&bytes).map_err(|error| (format!("{error:#}"), ExitCode::from(WRONG_WORLD)))?;
    }
    only_utf8(&bytes).map_err(|error| (format!("{error:#}"), ExitCode::from(WRONG_WORLD)))?;
    engine
        .precompile_component(&bytes)
        .map_err(|error| (format!("{error:#}"), ExitCode::from(DOES_NOT_COMPILE)))
}

/// Converts a core module to the component that its embedded metadata describes.
fn componentise(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .validate(true)
        .module(module)?
        .encode()
}

/// Rejects other string encodings. Transcoding had security advisories, and no toolchain needs it.
fn only_utf8(component: &[u8]) -> anyhow::Result<()> {
    for payload in Parser::new(0).parse_all(component) {
        let Ok(Payload::ComponentCanonicalSection(section)) = payload else {
            // The compiler rejects invalid components with a better message.
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
