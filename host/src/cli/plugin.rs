//! `meed plugin`: the tools of a rule's author. Each verb is a module.

mod build;
mod new;
mod project;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Make a project for a new plugin
    New(new::Arguments),
    /// Build a project into build/NAME.wasm with its language's own compiler
    Build(build::Arguments),
}

pub(super) fn run(command: &PluginCommand) -> anyhow::Result<()> {
    match command {
        PluginCommand::New(arguments) => new::run(arguments),
        PluginCommand::Build(arguments) => build::run(arguments).map(drop),
    }
}
