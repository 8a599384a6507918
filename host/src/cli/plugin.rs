//! `meed plugin`: what the author of a rule types.

mod case;
mod keygen;
mod pull;
mod push;
mod sign;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
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
        PluginCommand::Push(arguments) => push::run(arguments).await?,
        PluginCommand::Pull(arguments) => pull::run(arguments).await?,
        PluginCommand::Sign(arguments) => sign::run(arguments).await?,
        PluginCommand::Keygen(arguments) => keygen::run(arguments)?,
        PluginCommand::Case(arguments) => case::run(arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}
