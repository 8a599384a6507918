//! `meed`: see `meed --help`.

use std::process::ExitCode;

/// mimalloc is faster for claims: about 100 small allocations each, many of which another thread frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    meed::main()
}
