//! `meed plugin`: what the author of a rule types.

mod bench;
mod build;
mod case;
mod inspect;
mod keygen;
mod new;
mod project;
mod pull;
mod push;
mod run;
mod sign;
mod test;
mod workbench;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
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

pub(super) async fn run(command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::New(arguments) => new::run(arguments)?,
        PluginCommand::Build(arguments) => build::run(arguments).await?,
        PluginCommand::Inspect(arguments) => return inspect::run(arguments).await,
        PluginCommand::Test(arguments) => return test::run(arguments).await,
        PluginCommand::Run(arguments) => return run::run(arguments).await,
        PluginCommand::Bench(arguments) => return bench::run(arguments).await,
        PluginCommand::Push(arguments) => push::run(arguments).await?,
        PluginCommand::Pull(arguments) => pull::run(arguments).await?,
        PluginCommand::Sign(arguments) => sign::run(arguments).await?,
        PluginCommand::Keygen(arguments) => keygen::run(arguments)?,
        PluginCommand::Case(arguments) => case::run(arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}
