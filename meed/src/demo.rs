//! `meed demo`: the whole thing to look at, with accounts whose passwords everybody knows.
//!
//! It marks the keys and the database it makes, and [`refuse`] keeps a production server away from both.

mod seed;
mod walk;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{connect, keys, serve};
use meed_host::app::App;
use meed_host::clock::Clock;
use meed_host::config::{Config, LogFormat};
use meed_host::db::Db;
use meed_host::users::Filter;

/// Beside the keys: they were made for a demo.
const KEYS_MARK: &str = "MADE-FOR-A-DEMO";
/// In the database: its accounts have published passwords. The value holds what the walk needs.
const DATABASE_MARK: &str = "demo";
/// The mark's value until the walk can be walked.
const FILLING: &str = "filling";

pub(super) async fn run(config: Config, plugins: &Path) -> anyhow::Result<()> {
    let clock = Clock::System;
    make_keys(&config.keys.directory, &clock)?;
    let db = connect(&config).await?;
    db.migrate().await.context("migrate the database")?;
    let app = App::new(
        &config,
        db,
        clock,
        std::env::current_exe().context("find this executable")?,
    )?;
    let mark = app.db.metadata(DATABASE_MARK).await?;
    ensure!(
        mark.as_deref() != Some(FILLING),
        "an earlier demo was stopped while it filled this database; start again with an empty one (another --data-dir, \
         or another database in database.url)"
    );
    // Before anything of the demo's is put into it.
    ensure!(
        mark.is_some() || app.users.list(Filter::default(), None, 1).await?.is_empty(),
        "database.url names a database with accounts in it; a demo, whose passwords are published, wants its own"
    );
    app.plugins
        .install_bundled(plugins)
        .await
        .with_context(|| format!("install {}", plugins.display()))?;
    let demo = if let Some(text) = mark {
        serde_json::from_str(&text).context("read the demo's mark in the database")?
    } else {
        // Marked before the first account is made, so that nobody can take a half-filled demo for more.
        app.db
            .set_metadata(DATABASE_MARK, FILLING.to_owned(), app.clock.now())
            .await?;
        let demo = seed::fill(&config, &app).await?;
        app.db
            .set_metadata(DATABASE_MARK, serde_json::to_string(&demo)?, app.clock.now())
            .await?;
        demo
    };
    let plugins = plugins.to_owned();
    let admin = config.http.admin_listen;
    let ready = move |address| walk::print(address, admin, &demo, &plugins);
    Box::pin(serve::serve(&config, app, ready)).await
}

/// Fails when the keys or the database were made by a demo.
pub(super) async fn refuse(config: &Config, db: &Db) -> anyhow::Result<()> {
    let mark = config.keys.directory.join(KEYS_MARK);
    ensure!(
        !mark.exists(),
        "{} holds keys of a demo; choose another keys.directory and run `meed keys generate`",
        config.keys.directory.display()
    );
    ensure!(
        db.metadata(DATABASE_MARK).await?.is_none(),
        "database.url names a demo's database, whose passwords are published; choose another one"
    );
    Ok(())
}

fn make_keys(directory: &Path, clock: &Clock) -> anyhow::Result<()> {
    if !keys::generate(directory, clock, true)?.is_empty() {
        let mark = directory.join(KEYS_MARK);
        std::fs::write(&mark, "`meed serve` refuses these keys.\n")
            .with_context(|| format!("write {}", mark.display()))?;
    }
    Ok(())
}

/// In a terminal, a demo's log is for people, and no load balancer has to be told that it stops.
pub(super) fn readable(mut config: Config) -> Config {
    config.log.format = LogFormat::Text;
    config.http.drain = Duration::ZERO;
    if config.log.filter == "info" {
        "warn".clone_into(&mut config.log.filter);
    }
    config
}
