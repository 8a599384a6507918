//! `meed`: see `meed --help`.

use std::process::ExitCode;

/// A claim makes some hundred small allocations, and frees many of them on another thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    meed_host::cli::main()
}
