//! `meed plugin`: the commands of a plugin's author.
//!
//! They run in the same binary as the server and call its library for the sandbox, the cases and the receipts, so that a
//! result on the author's machine is the server's result. Must not know: the server's database, HTTP and services.

#![expect(clippy::print_stdout, reason = "a command line prints its results")]

mod bench;
mod build;
mod case;
pub mod client;
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
pub use push::signature_beside;
pub use sign::describe;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a plugin project in the language of your choice
    New(new::Arguments),
    /// Build the project with the compiler of its language
    Build(build::Arguments),
    /// Show the manifest, world and imports of a module, and its plan for given params
    Inspect(inspect::Arguments),
    /// Run the project's test cases against the built module
    Test(test::Arguments),
    /// Run one decision and show its input and result
    Run(run::Arguments),
    /// Measure the cost of decisions
    Bench(bench::Arguments),
    /// Upload a module to a server; repeating an upload changes nothing
    Push(push::Arguments),
    /// Download a version from a server
    Pull(pull::Arguments),
    /// Sign a module
    Sign(sign::Arguments),
    /// Create a key pair: a secret key to sign with, and a public key for the server's ADMIN
    Keygen(keygen::Arguments),
    /// Turn a decision of a server into a test case
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
