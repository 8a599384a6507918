//! Every setting, typed: the documented defaults in `config.default.toml`, then a file, then `MEED__SECTION__KEY`.
//!
//! The only reader of the environment. Must not know: what the settings are for.

mod brokers;
mod spelling;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

pub use brokers::{Kafka, Sasl};
use spelling::{durations, empty_is_none, networks, ports, seconds};

const DEFAULTS: &str = include_str!("../config.default.toml");

/// In seconds.
const HOUR: u64 = 60 * 60;
const YEAR: u64 = 365 * 24 * HOUR;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http: Http,
    pub database: Database,
    pub cache: Cache,
    pub limits: Limits,
    pub keys: Keys,
    pub auth: Auth,
    pub plugins: Plugins,
    pub claims: Claims,
    pub outbox: Outbox,
    pub webhooks: Webhooks,
    pub kafka: Kafka,
    pub sandbox: crate::sandbox::Settings,
    pub log: Log,
    pub traces: Traces,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "empty_is_none")]
    pub admin_listen: Option<SocketAddr>,
    #[serde(rename = "timeout_seconds", deserialize_with = "seconds")]
    pub timeout: Duration,
    #[serde(rename = "shutdown_seconds", deserialize_with = "seconds")]
    pub shutdown: Duration,
    #[serde(rename = "drain_seconds", deserialize_with = "seconds")]
    pub drain: Duration,
    pub max_in_flight: usize,
    /// Whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// May hold a password. Empty: none.
    pub url: SecretString,
    /// Where `url` was read from, if it was.
    #[serde(deserialize_with = "empty_is_none")]
    pub url_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub credentials: Limit,
    pub account: Limit,
    pub anonymous: Limit,
    pub user: Limit,
}

impl Limits {
    /// With the names of its settings.
    fn each(&self) -> [([&'static str; 2], Limit); 4] {
        [
            (
                ["limits.credentials.burst", "limits.credentials.per_minute"],
                self.credentials,
            ),
            (["limits.account.burst", "limits.account.per_minute"], self.account),
            (
                ["limits.anonymous.burst", "limits.anonymous.per_minute"],
                self.anonymous,
            ),
            (["limits.user.burst", "limits.user.per_minute"], self.user),
        ]
    }
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// At once. 0: no limit.
    pub burst: u32,
    /// In the long run.
    pub per_minute: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    /// Where `url` was read from, if it was.
    #[serde(deserialize_with = "empty_is_none")]
    pub url_file: Option<PathBuf>,
    pub max_connections: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub directory: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub issuer: String,
    pub audience: String,
    #[serde(rename = "access_token_seconds", deserialize_with = "seconds")]
    pub access_token: Duration,
    #[serde(rename = "refresh_idle_seconds", deserialize_with = "seconds")]
    pub refresh_idle: Duration,
    #[serde(rename = "session_seconds", deserialize_with = "seconds")]
    pub session: Duration,
    pub password_concurrency: usize,
    pub password_queue: usize,
    #[serde(rename = "session_cache_seconds", deserialize_with = "seconds")]
    pub session_cache: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    #[serde(deserialize_with = "empty_is_none")]
    pub bundled_directory: Option<PathBuf>,
    #[serde(deserialize_with = "empty_is_none")]
    pub code_cache_directory: Option<PathBuf>,
    pub signatures: Signatures,
    pub quarantine: Quarantine,
    pub uploads: UploadQuota,
}

/// What one operator's uploads may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadQuota {
    /// What the uploads of one operator may take in an hour, in seconds.
    pub seconds_per_hour: u64,
    /// Versions of one operator that are stored.
    pub versions: u64,
    /// Their modules' bytes.
    pub bytes: u64,
}

/// What becomes of uploads without a signature by a trusted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signatures {
    Off,
    Warn,
    Enforce,
}

/// When a plugin version is stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    #[serde(rename = "window_seconds", deserialize_with = "seconds")]
    pub window: Duration,
    /// 0: never.
    pub failures: u32,
    pub percent: u32,
    pub users: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(rename = "idempotency_seconds", deserialize_with = "seconds")]
    pub idempotency: Duration,
    /// Claims that wait to be decided.
    pub waiting: u32,
    pub waiting_per_user: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Whether `meed serve` delivers.
    pub relay: bool,
    #[serde(rename = "retention_seconds", deserialize_with = "seconds")]
    pub retention: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// How long after one failed try the next one comes.
    #[serde(deserialize_with = "durations")]
    pub retries: Vec<Duration>,
    #[serde(rename = "timeout_seconds", deserialize_with = "seconds")]
    pub timeout: Duration,
    /// Attempts at the same time at one endpoint.
    pub concurrency: usize,
    #[serde(deserialize_with = "ports")]
    pub ports: Vec<u16>,
    #[serde(deserialize_with = "networks")]
    pub private_networks: Vec<IpNet>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Where an OpenTelemetry collector takes spans: OTLP over HTTP. Empty: nowhere.
    pub endpoint: String,
    pub sample_percent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Config {
    /// Reads the defaults (moved to `data_dir`), then `file`, then the environment, then `overrides` (dotted key, value).
    pub fn load(
        data_dir: Option<&Path>,
        file: Option<&Path>,
        overrides: &[(&str, String)],
    ) -> Result<Self, config::ConfigError> {
        let mut builder = defaults(data_dir)?;
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        builder = builder.add_source(
            config::Environment::with_prefix("MEED")
                .prefix_separator("__")
                .separator("__"),
        );
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.clone())?;
        }
        let mut config: Self = builder.build()?.try_deserialize()?;
        config.read_secrets().map_err(config::ConfigError::Message)?;
        config.check().map_err(config::ConfigError::Message)?;
        Ok(config)
    }

    /// Takes the secrets that are in files of their own, where the environment and the settings hold no password.
    fn read_secrets(&mut self) -> Result<(), String> {
        let (database, cache, kafka) = (&mut self.database, &mut self.cache, &mut self.kafka);
        for (name, file, secret) in [
            ("database.url_file", &database.url_file, &mut database.url),
            ("cache.url_file", &cache.url_file, &mut cache.url),
            ("kafka.password_file", &kafka.password_file, &mut kafka.password),
        ] {
            if let Some(file) = file {
                *secret = read_secret(file).map_err(|fault| format!("{name} = {:?}: {fault}", file.display()))?;
            }
        }
        Ok(())
    }

    /// Says which setting makes no sense, if one does: a zero that would let everyone wait for ever, a number that
    /// overflows where it is used. The sandbox checks its own.
    fn check(&self) -> Result<(), String> {
        let (auth, quarantine, uploads) = (&self.auth, &self.plugins.quarantine, &self.plugins.uploads);
        let in_range = [
            ("http.timeout_seconds", self.http.timeout.as_secs(), 1, HOUR),
            ("http.shutdown_seconds", self.http.shutdown.as_secs(), 0, HOUR),
            ("http.drain_seconds", self.http.drain.as_secs(), 0, HOUR),
            ("http.max_in_flight", self.http.max_in_flight as u64, 1, 1_000_000),
            (
                "database.max_connections",
                self.database.max_connections.into(),
                1,
                10_000,
            ),
            ("auth.access_token_seconds", auth.access_token.as_secs(), 1, YEAR),
            ("auth.refresh_idle_seconds", auth.refresh_idle.as_secs(), 1, 100 * YEAR),
            ("auth.session_seconds", auth.session.as_secs(), 1, 100 * YEAR),
            ("auth.password_concurrency", auth.password_concurrency as u64, 1, 1_024),
            ("auth.password_queue", auth.password_queue as u64, 0, 1_000_000),
            ("auth.session_cache_seconds", auth.session_cache.as_secs(), 0, HOUR),
            (
                "plugins.quarantine.window_seconds",
                quarantine.window.as_secs(),
                1,
                24 * HOUR,
            ),
            ("plugins.quarantine.failures", quarantine.failures.into(), 0, 1_000_000),
            ("plugins.quarantine.percent", quarantine.percent.into(), 1, 100),
            ("plugins.quarantine.users", quarantine.users as u64, 1, 1_000),
            ("plugins.uploads.seconds_per_hour", uploads.seconds_per_hour, 1, HOUR),
            ("plugins.uploads.versions", uploads.versions, 0, 1_000_000_000),
            ("plugins.uploads.bytes", uploads.bytes, 0, 1 << 50),
            ("claims.idempotency_seconds", self.claims.idempotency.as_secs(), 1, YEAR),
            ("claims.waiting", self.claims.waiting.into(), 0, 10_000_000),
            (
                "claims.waiting_per_user",
                self.claims.waiting_per_user.into(),
                1,
                10_000,
            ),
            ("outbox.retention_seconds", self.outbox.retention.as_secs(), 1, YEAR),
            ("traces.sample_percent", self.traces.sample_percent.into(), 0, 100),
            ("webhooks.timeout_seconds", self.webhooks.timeout.as_secs(), 1, 60),
            ("webhooks.concurrency", self.webhooks.concurrency as u64, 1, 1_000),
            (
                "webhooks.retries, their number",
                self.webhooks.retries.len() as u64,
                0,
                100,
            ),
        ];
        let limits = self.limits.each().into_iter().flat_map(|(names, limit)| {
            let Limit { burst, per_minute } = limit;
            // A bucket fills within an hour, so that it can be forgotten then.
            let in_an_hour = u64::from(per_minute) * 60;
            [
                (names[1], per_minute.into(), 1, 1_000_000),
                (names[0], burst.into(), 0, in_an_hour.min(1_000_000)),
            ]
        });
        for (name, value, least, most) in in_range.into_iter().chain(limits) {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} = {value}: must be between {least} and {most}"));
            }
        }
        if !self.traces.endpoint.is_empty() && !cfg!(feature = "otel") {
            return Err(format!(
                "traces.endpoint = {:?}: this meed was built without traces; build it with `--features otel`, or leave it empty",
                self.traces.endpoint
            ));
        }
        self.kafka.check(brokers::BUILT)
    }

    /// The defaults alone, with everything they keep below `data_dir`.
    pub fn defaults(data_dir: &Path) -> Result<Self, config::ConfigError> {
        defaults(Some(data_dir))?.build()?.try_deserialize()
    }
}

fn defaults(
    data_dir: Option<&Path>,
) -> Result<config::ConfigBuilder<config::builder::DefaultState>, config::ConfigError> {
    let mut builder = config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
    if let Some(directory) = data_dir {
        let below = |name: &str| directory.join(name).display().to_string();
        let moved = serde_json::json!({
            "database": { "url": format!("sqlite:{}", below("meed.db")) },
            "keys": { "directory": below("keys") },
            "plugins": { "code_cache_directory": below("code") },
        });
        builder = builder.add_source(config::Config::try_from(&moved)?);
    }
    Ok(builder)
}

/// The line that is in the file. A fault never repeats what was read.
fn read_secret(file: &Path) -> Result<SecretString, String> {
    let text = SecretString::from(std::fs::read_to_string(file).map_err(|error| error.to_string())?);
    let secret = text.expose_secret().trim();
    if secret.is_empty() {
        return Err("the file is empty; write the secret into it".to_owned());
    }
    if secret.lines().nth(1).is_some() {
        return Err("the file must hold the secret, in one line, and nothing else".to_owned());
    }
    Ok(secret.into())
}

#[cfg(test)]
mod tests;
