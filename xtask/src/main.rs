//! The commands of a developer: `cargo xtask <command>`, on a machine with rustup and a C compiler.
//!
//! Each command is a module. This crate compiles first on a fresh machine, so it has few dependencies and no argument
//! parser: it passes unknown arguments to the program that it starts (`meed demo`, the test runner).

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "prints its results to the terminal"
)]

mod bench;
mod broker;
mod ci;
mod clients;
mod console;
mod dist;
mod fuzz;
mod languages;
mod mutations;
mod npm;
mod package;
mod packaging;
mod pins;
mod plugins;
mod postgres;
mod process;
mod proto;
mod python;
mod redis;
mod smtp;
mod spark;
mod test;
mod up;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use workspace::Workspace;

const USAGE: &str = "\
cargo xtask <command>

  up [--listen ADDR] [--data-dir DIR] [...]
                    build the bundled plugins and the server, add demo data and serve;
                    all arguments go to `meed demo`
  test [...]        provide what the tests need and run them all; arguments go to the test
                    runner and select tests: `cargo xtask test -p meed claims`
  test-root         run the tests that need root, because they mount a small disk
  mutations [NAME...]
                    switch on each known bug of host/src/mutations/table.rs (or these) and
                    require that the tests find it
  plugins           build the bundled plugins into <target>/plugins/*.wasm
                    and the cookbook into <target>/plugins/cookbook/
  console           build the console with npm; the next build of the server contains it
  dist [--kafka] [DIR]
                    build a release: server, plugins, man pages, completions and systemd units
                    as an archive with a checksum in <target>/dist (or DIR)
  clients [DIR]     pack the clients of clients/ with types from this server's OpenAPI document
                    into <target>/dist/clients (or DIR)
  bench [NAME...]   run the programs of bench/ (all, or these) in release mode;
                    `peers` compares with other engines and runs only when named
  fuzz [SECONDS] [--long]
                    random hostile input for SECONDS (20) per target; --long follows the branches
                    of instrumented code with cargo-fuzz, which it installs
  languages [--print] [--dev]
                    create, build, test and measure a plugin in every language; write the table to
                    docs/languages.md or print it; --dev measures a development build
  proto             generate the code of the RPC contract from proto/ into proto/src/generated
  spark             run contrib/spark on a Spark of two workers, which it installs, and compare
                    its report with the one of `meed backtest`
  packaging         check deploy/ and .github/ with their own tools, which it installs
  ci                format, lints, docs and dependency rules: what .ci/run runs after the tests
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
        "test-root" => test::run_as_root(&workspace),
        "mutations" => mutations::run(&workspace, &arguments),
        "plugins" => plugins::build(&workspace).map(drop),
        "console" => console::build(&workspace),
        "dist" => dist::run(&workspace, &arguments),
        "clients" => clients::run(&workspace, &arguments),
        "bench" => bench::run(&workspace, &arguments),
        "languages" => languages::run(&workspace, &arguments),
        "fuzz" => fuzz::run(&workspace, &arguments),
        "proto" => proto::run(&workspace),
        "packaging" => packaging::run(&workspace),
        "spark" => spark::run(&workspace),
        "ci" => ci::run(&workspace),
        unknown => bail!("unknown command `{unknown}`\n\n{USAGE}"),
    }
}
