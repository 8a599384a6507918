//! Meed.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(meed_host::sandbox::COMPILE_WORKER) => meed_host::sandbox::compile_worker(arguments),
        _ => ExitCode::FAILURE,
    }
}
