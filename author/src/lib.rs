//! `meed plugin`: the commands of a plugin's author.
//!
//! They run in the same binary as the server and call its library for the sandbox, the cases and the receipts, so that a
//! result on the author's machine is the server's result. Must not know: the server's database, HTTP and services.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to its caller"
)]

mod bench;
mod build;
mod case;
mod client;
mod inspect;
mod keygen;
mod new;
mod package;
mod password;
mod project;
mod pull;
mod push;
mod run;
mod sign;
mod test;
mod workbench;

use std::process::ExitCode;

use clap::Subcommand;

pub use password::read_password;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a project for a new plugin, in the language of your choice
    New(new::Arguments),
    /// Build the project with its language's own compiler
    Build(build::Arguments),
    /// Show what a server would make of a module: its manifest, world, imports, and its plan for given params
    Inspect(inspect::Arguments),
    /// Run the project's cases against the built module
    Test(test::Arguments),
    /// Make one decision and show all of it
    Run(run::Arguments),
    /// Measure what decisions cost
    Bench(bench::Arguments),
    /// Upload a module to a server; the same bytes again change nothing
    Push(push::Arguments),
    /// Download a version from a server
    Pull(pull::Arguments),
    /// Sign a module, so that a server can tell whose it is
    Sign(sign::Arguments),
    /// Make a pair of keys: one to sign with, one for the server's ADMIN to trust
    Keygen(keygen::Arguments),
    /// Turn a decision that was really made into a test case
    Case(case::Arguments),
}

/// Runs one command.
pub async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New(arguments) => new::run(arguments)?,
        Command::Build(arguments) => build::run(arguments).await?,
        Command::Inspect(arguments) => return inspect::run(arguments).await,
        Command::Test(arguments) => return test::run(arguments).await,
        Command::Run(arguments) => return run::run(arguments).await,
        Command::Bench(arguments) => return bench::run(arguments).await,
        Command::Push(arguments) => push::run(arguments).await?,
        Command::Pull(arguments) => pull::run(arguments).await?,
        Command::Sign(arguments) => sign::run(arguments).await?,
        Command::Keygen(arguments) => keygen::run(arguments)?,
        Command::Case(arguments) => case::run(arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}
