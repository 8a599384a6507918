//! `meed man`: man pages, generated from the `--help` texts.

use std::path::Path;

use anyhow::Context as _;
use clap::Command;

/// The man page of this command, in roff.
pub(super) fn page(command: Command) -> anyhow::Result<Vec<u8>> {
    // The same steps as in `generate_to`, so that both produce the same page.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .context("make the man page")?;
    Ok(page)
}

/// `meed.1`, `meed-serve.1` and so on.
pub(super) fn write_all(command: Command, directory: &Path) -> anyhow::Result<()> {
    let written = std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    written.with_context(|| format!("write man pages to {}", directory.display()))
}
