//! Runs other programs. A signal does not end this process at once: the running program gets it, and this process
//! returns an error when that program has ended, so that everything is cleaned up.

use std::io::Write as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Ctrl-C on a terminal also reaches the running program; after this time it gets SIGTERM.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this time it is killed.
const LAST_PATIENCE: Duration = Duration::from_secs(15);

pub(crate) fn catch_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("catch signals")?;
    }
    Ok(())
}

/// Runs a step and prints its name before, its result and duration after.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    stop_if_signalled()?;
    println!("==> {name}");
    let started = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    println!("==> {name}: {outcome} in {:.1} s", started.elapsed().as_secs_f64());
    // Keeps the order with the output of other programs in a file or pipe.
    std::io::stdout().flush().context("write to the terminal")?;
    result
}

/// Runs a program to its end; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    check(command, status)
}

/// Runs a program to its end and returns its status.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    stop_if_signalled()?;
    let child = command.spawn().with_context(|| format!("start {}", line(command)))?;
    wait(child)
}

/// The standard output of a program.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    stop_if_signalled()?;
    let output = command.output().with_context(|| format!("start {}", line(command)))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    check(command, output.status)?;
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {}", line(command)))
}

/// Waits for a program. When this process gets a signal, it ends the program.
pub(crate) fn wait(mut child: Child) -> Result<ExitStatus> {
    let mut signalled: Option<Instant> = None;
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait().context("wait for a program")? {
            stop_if_signalled()?;
            return Ok(status);
        }
        if STOP.load(Ordering::Relaxed) {
            let since = signalled.get_or_insert_with(Instant::now).elapsed();
            if since > LAST_PATIENCE {
                child.kill().context("kill a program")?;
            } else if since > PATIENCE && !asked {
                asked = true;
                // Fails when it has ended meanwhile.
                let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// The command line.
pub(crate) fn line(command: &Command) -> String {
    let mut line = format!("`{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line.push('`');
    line
}

fn stop_if_signalled() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
