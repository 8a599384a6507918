//! `meed demo`: a server with demo data and accounts whose passwords are published.
//!
//! It marks the keys and the database that it creates, so that [`refuse`] can reject both in production.

mod history;
mod incidents;
mod offers;
mod past;
mod people;
mod receiver;
mod seed;
mod walk;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{connect, keys, serve};
use meed_host::app::{self, App};
use meed_host::clock::Clock;
use meed_host::config::{Config, LogFormat, ReleaseRequired};
use meed_host::db::Db;
use meed_host::users::Filter;
use seed::Demo;

/// A file beside the keys: they were created for a demo.
const KEYS_MARK: &str = "MADE-FOR-A-DEMO";
/// An entry in the database: its accounts have published passwords. The value contains the ids of the tour.
const DATABASE_MARK: &str = "demo";
/// The mark's value until the demo data is complete.
const FILLING: &str = "filling";

/// A database with demo data, and the ids of the tour.
pub(super) struct Filled {
    db: Db,
    demo: Demo,
}

/// Creates the demo data, at the first start. Logs nothing if it runs before the log starts: the history contains failures, which
/// are no news.
pub(super) async fn fill(config: &Config, plugins: &Path) -> anyhow::Result<Filled> {
    let clock = Clock::System;
    let db = connect(config).await?;
    db.migrate().await.context("migrate the database")?;
    let mark = db.metadata(DATABASE_MARK).await?;
    ensure!(
        mark.as_deref() != Some(FILLING),
        "an earlier demo was stopped while it filled this database; start again with an empty one (another --data-dir, \
         or another database in database.url)"
    );
    // Checked before the demo writes anything.
    let users = app::users(config, &db, &clock)?;
    ensure!(
        mark.is_some() || users.list(Filter::default(), None, 1).await?.is_empty(),
        "database.url names a database with accounts; a demo has published passwords and needs an empty database"
    );
    make_keys(&config.keys.directory, &clock)?;
    if let Some(text) = mark {
        let demo = serde_json::from_str(&text).context("read the demo's mark in the database")?;
        return Ok(Filled { db, demo });
    }
    eprintln!("Creating the demo data: 30 days of history, once.");
    // Marked before the first account is created, so that a half-filled database is recognised as a demo.
    db.set_metadata(DATABASE_MARK, FILLING.to_owned(), clock.now()).await?;
    let demo = Box::pin(seed::fill(config, &db, plugins)).await?;
    db.set_metadata(DATABASE_MARK, serde_json::to_string(&demo)?, clock.now())
        .await?;
    Ok(Filled { db, demo })
}

pub(super) async fn run(config: Config, plugins: &Path, Filled { db, demo }: Filled) -> anyhow::Result<()> {
    let executable = std::env::current_exe().context("find this executable")?;
    let app = App::new(&config, db, Clock::System, executable)?;
    app.plugins
        .install_bundled(plugins)
        .await
        .with_context(|| format!("install {}", plugins.display()))?;
    let plugins = plugins.to_owned();
    let (admin, console) = (config.http.admin_listen, config.http.console);
    let ready = move |address| walk::print(address, (admin, console), &demo, &plugins);
    Box::pin(serve::serve(&config, app, ready)).await
}

/// Fails if a demo created the keys or the database.
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

/// A demo runs in a terminal: it logs readable text and stops without a drain, because it has no load balancer. One person tries
/// it, so no change needs a second one; releases can be tried all the same.
pub(super) fn readable(mut config: Config) -> Config {
    config.log.format = LogFormat::Text;
    config.http.drain = Duration::ZERO;
    config.releases.required = ReleaseRequired::Never;
    if config.log.filter == "info" {
        "warn".clone_into(&mut config.log.filter);
    }
    config
}
