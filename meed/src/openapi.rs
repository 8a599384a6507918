//! `meed openapi`: prints the document of an application with temporary dependencies.

use anyhow::Context as _;

use super::{connect, keys};
use meed_host::app::App;
use meed_host::clock::Clock;
use meed_host::config::Config;

pub(super) async fn document() -> anyhow::Result<String> {
    let directory = std::env::temp_dir().join(format!("meed-openapi-{}", Clock::System.new_id()));
    let document = Box::pin(wire(&directory)).await;
    std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
    document
}

async fn wire(directory: &std::path::Path) -> anyhow::Result<String> {
    let config = Config::defaults(directory)?;
    keys::generate(&config.keys.directory, &Clock::System, true)?;
    let db = connect(&config).await?;
    let app = App::new(&config, db, Clock::System, std::env::current_exe()?)?;
    let document = app.openapi().map_err(anyhow::Error::msg)?;
    app.db.close().await;
    Ok(document.to_pretty_json()?)
}
