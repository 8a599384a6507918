//! `meed key create`, `list` and `revoke`: service keys, without a server.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;

use meed_host::app;
use meed_host::audit::{self, Origin};
use meed_host::clock::{Clock, Timestamp};
use meed_host::config::Config;
use meed_host::service_keys::{NewServiceKey, ServiceKey, ServiceKeyService};

/// Keys that `list` reads at once.
const PAGE: u32 = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a service key and print it. It is not shown again
    Create(NewKey),
    /// List the service keys that are not revoked, newest first
    List,
    /// Revoke the service key with this name
    Revoke { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// What uses the key, such as "shop back end"
    name: String,
    /// What the key permits, such as activities:write; once for each scope
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A source under which it may report activities; once for each source. Default: any
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,
    /// An address or network that it may be used from; once for each. Default: any
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// When it ends, such as 2027-03-01T00:00:00Z. Default: never
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<Timestamp>,
}

impl NewKey {
    fn settings(&self) -> anyhow::Result<NewServiceKey> {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let new = NewServiceKey {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            sources: given(&self.sources),
            addresses: given(&self.addresses),
            expires_at: self.expires_at,
            rate_limit: None,
            applied: false,
        };
        new.check()
            .map_err(|error| anyhow!("invalid service key: {}", error.trim_end()))?;
        Ok(new)
    }
}

pub(crate) async fn run(command: &KeyCommand, config: &Config) -> anyhow::Result<()> {
    let db = super::connect(config).await?;
    db.schema().await.context("read the table of the migrations")?.check()?;
    let keys = app::service_keys(config, &db, &Clock::System);
    match command {
        KeyCommand::Create(new) => {
            let creating = keys.create(new.settings()?, None);
            let created = audit::run_as(Arc::new(Origin::command("meed key create")), creating).await?;
            println!("{}", created.secret.expose_secret());
        }
        KeyCommand::List => list(&keys).await?,
        KeyCommand::Revoke { name } => {
            let key = keys.named(name).await?;
            audit::run_as(Arc::new(Origin::command("meed key revoke")), keys.revoke(key.id)).await?;
            println!("{name} is revoked. Running servers refuse it within auth.session_cache_seconds.");
        }
    }
    db.close().await;
    Ok(())
}

async fn list(keys: &ServiceKeyService) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = keys.list(after, PAGE).await?;
        for key in page.iter().filter(|key| key.revoked_at.is_none()) {
            println!("{}", line(key));
        }
        let last = page.last().map(|key| key.id);
        if page.len() <= PAGE as usize {
            return Ok(());
        }
        ensure!(last != after, "the list of keys does not end");
        after = last;
    }
}

/// Name, scopes, and the latest use, separated by tabs.
fn line(key: &ServiceKey) -> String {
    let used = key
        .last_used_at
        .map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
    format!("{}\t{}\t{used}", key.settings.name, key.settings.scopes.join(","))
}
