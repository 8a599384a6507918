//! What a developer types: `cargo xtask <command>`, on a machine that has rustup and a C compiler and nothing else.
//!
//! Each command is a module. This crate is the first thing that compiles on a fresh machine, so it has few dependencies
//! and no argument parser: what it does not know goes to the program behind it (`meed demo`, the test runner).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal: what it prints is its result"
)]

mod bench;
mod broker;
mod ci;
mod dist;
mod fuzz;
mod languages;
mod package;
mod packaging;
mod planted;
mod plugins;
mod postgres;
mod process;
mod python;
mod redis;
mod test;
mod up;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use workspace::Workspace;

const USAGE: &str = "\
cargo xtask <command>

  up [--listen ADDR] [--data-dir DIR] [...]
                    build the plugins and the server, fill it with demo data and serve;
                    every argument goes to `meed demo`
  test [...]        bring what the tests need and run them all; arguments go to the test
                    runner and narrow the run, as in `cargo xtask test -p meed-host claims`
  plugins           build the bundled conditions into <target>/plugins/*.wasm,
                    and the cookbook into <target>/plugins/cookbook/
  dist [DIR]        what a release consists of: the server, plugins, man pages, completions and
                    systemd units as an archive with its checksum, in <target>/dist (or DIR)
  bench [NAME...]   run the programs of bench/ (all, or these) in release mode
                    `peers` compares with other engines and is built only when named
  fuzz [SECONDS] [--long]
                    hostile input at random, for so many seconds (20) each; --long follows the
                    branches of instrumented code with cargo-fuzz, which it installs
  languages [--print] [--dev]
                    make, build, test and measure a plugin in every language, and write the table into
                    docs/languages.md, or print it; --dev measures without a release build
  planted [NAME...]
                    plant each known bug of host/tests/planted (or these) and demand that its tests fail;
                    takes minutes for each
  packaging         look at what deploy/ and .github/ hold, each with its own tool, which it installs
  ci                format, lints, docs and the dependency rules: what follows the tests in .ci/run
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let command = command.to_string_lossy();
    if ["", "help", "-h", "--help"].contains(&command.as_ref()) {
        print!("{USAGE}");
        return Ok(());
    }
    process::catch_signals()?;
    let workspace = Workspace::find()?;
    match command.as_ref() {
        "up" => up::run(&workspace, arguments),
        "test" => test::run(&workspace, &arguments),
        "plugins" => plugins::build(&workspace).map(drop),
        "dist" => dist::run(&workspace, &arguments),
        "bench" => bench::run(&workspace, &arguments),
        "languages" => languages::run(&workspace, &arguments),
        "planted" => planted::run(&workspace, &arguments),
        "fuzz" => fuzz::run(&workspace, &arguments),
        "packaging" => packaging::run(&workspace),
        "ci" => ci::run(&workspace),
        unknown => bail!("there is no command `{unknown}`\n\n{USAGE}"),
    }
}
