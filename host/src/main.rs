//! `meed`: see `meed --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    meed_host::cli::main()
}
