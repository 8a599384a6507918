//! Every setting, typed: the documented defaults in `config.default.toml`, then a file, then `MEED__SECTION__KEY`.
//!
//! The only reader of the environment. Must not know: what the settings are for.

mod brokers;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

pub use brokers::{Kafka, Sasl};

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

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// TOML has no null, so an empty text says "none".
fn empty_is_none<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// What stands between commas.
fn items<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| parse(item).map_err(serde::de::Error::custom))
        .collect()
}

/// Durations of up to thirty days, such as `5s, 2m, 24h`.
fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    items(deserializer, |item| {
        let duration = item.parse::<jiff::SignedDuration>().ok();
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
        duration
            .filter(|duration| *duration <= Duration::from_hours(30 * 24))
            .ok_or_else(|| format!("{item:?} is not a duration of up to 720h, such as 500ms, 5s, 2m or 24h"))
    })
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    items(deserializer, |item| {
        item.parse().map_err(|_| format!("{item:?} is not a port such as 443"))
    })
}

/// Networks and addresses, with commas between them, so that an environment variable can hold them.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    items(deserializer, |item| {
        let network = item.parse::<IpNet>();
        network
            .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{item:?} is neither a network such as 10.0.0.0/8 nor an address"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_complete() {
        let config = Config::load(None, None, &[]).unwrap();
        assert_eq!(config.http.listen.port(), 3000);
        assert_eq!(config.plugins.bundled_directory, None);
    }

    #[test]
    fn a_data_dir_moves_what_the_defaults_keep_in_data() {
        let config = Config::defaults(Path::new("/srv/meed")).unwrap();
        assert_eq!(config.database.url.expose_secret(), "sqlite:/srv/meed/meed.db");
        assert_eq!(config.keys.directory, Path::new("/srv/meed/keys"));
        assert_eq!(
            config.plugins.code_cache_directory.as_deref(),
            Some(Path::new("/srv/meed/code"))
        );
    }

    #[test]
    fn an_override_wins_and_an_unknown_key_is_named() {
        let config = Config::load(None, None, &[("http.listen", "127.0.0.1:4000".to_owned())]).unwrap();
        assert_eq!(config.http.listen.port(), 4000);
        let error = Config::load(None, None, &[("http.lisen", "x".to_owned())]).unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn a_url_in_a_file_takes_the_place_of_the_setting() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        let load = |key: &str| {
            let overrides = [
                ("database.url", "sqlite:elsewhere.db".to_owned()),
                (key, file.display().to_string()),
            ];
            Config::load(None, None, &overrides)
        };
        std::fs::write(&file, "redis://:hush@cache/0\n").unwrap();
        assert_eq!(
            load("cache.url_file").unwrap().cache.url.expose_secret(),
            "redis://:hush@cache/0"
        );
        let config = load("database.url_file").unwrap();
        assert_eq!(config.database.url.expose_secret(), "redis://:hush@cache/0");
        assert_eq!(config.cache.url.expose_secret(), "");
        assert!(!format!("{config:?}").contains("hush"));

        for (text, hint) in [
            ("\n", "the file is empty"),
            ("redis://cache\nhush\n", "and nothing else"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = load("cache.url_file").unwrap_err().to_string();
            assert!(
                error.starts_with("cache.url_file = ") && error.contains(hint),
                "{error}"
            );
            assert!(!error.contains("hush"), "{error}");
        }
        std::fs::remove_file(&file).unwrap();
        let error = load("database.url_file").unwrap_err().to_string();
        assert!(
            error.starts_with("database.url_file = ") && error.contains("No such file"),
            "{error}"
        );
    }

    #[test]
    fn trusted_proxies_are_networks_or_addresses() {
        let load = |text: &str| Config::load(None, None, &[("http.trusted_proxies", text.to_owned())]);
        assert_eq!(load("").unwrap().http.trusted_proxies, []);
        let proxies = load("10.0.0.0/8, ::1").unwrap().http.trusted_proxies;
        assert_eq!(proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        let error = load("10.0.0.0/8,proxy").unwrap_err();
        assert!(error.to_string().contains("\"proxy\" is neither"), "{error}");
    }

    #[test]
    fn retries_are_durations_and_ports_are_ports() {
        let load = |key: &str, text: &str| Config::load(None, None, &[(key, text.to_owned())]);
        let retries = load("webhooks.retries", "500ms, 5s,2m, 24h").unwrap().webhooks.retries;
        assert_eq!(
            retries,
            [
                Duration::from_millis(500),
                Duration::from_secs(5),
                Duration::from_mins(2),
                Duration::from_hours(24)
            ]
        );
        assert!(load("webhooks.retries", "").unwrap().webhooks.retries.is_empty());
        let days: Duration = Config::load(None, None, &[]).unwrap().webhooks.retries.iter().sum();
        assert!(days > Duration::from_hours(48), "{days:?}");
        for bad in ["soon", "-5s", "721h", "5"] {
            let error = load("webhooks.retries", bad).unwrap_err().to_string();
            assert!(error.contains("is not a duration"), "{bad}: {error}");
        }
        assert_eq!(load("webhooks.ports", "443, 8443").unwrap().webhooks.ports, [443, 8443]);
        assert!(
            load("webhooks.ports", "65536")
                .unwrap_err()
                .to_string()
                .contains("is not a port")
        );
    }

    #[test]
    fn the_documented_sandbox_is_the_default_one() {
        let documented = Config::load(None, None, &[]).unwrap().sandbox;
        assert_eq!(documented, crate::sandbox::Settings::default());
    }

    #[test]
    fn one_limit_of_the_sandbox_can_be_set_alone() {
        let config = Config::load(None, None, &[("sandbox.standard.call.note_lines", "7".to_owned())]).unwrap();
        let mut expected = crate::sandbox::Settings::default();
        expected.standard.call.note_lines = 7;
        assert_eq!(config.sandbox, expected);
    }

    #[test]
    fn what_would_hang_or_overflow_is_refused_with_its_range() {
        for (key, value, range) in [
            ("http.timeout_seconds", "0", "1 and 3600"),
            ("http.timeout_seconds", "3601", "1 and 3600"),
            ("http.shutdown_seconds", "9223372036854775807", "0 and 3600"),
            ("http.drain_seconds", "3601", "0 and 3600"),
            ("http.max_in_flight", "0", "1 and 1000000"),
            ("database.max_connections", "0", "1 and 10000"),
            ("database.max_connections", "10001", "1 and 10000"),
            ("auth.access_token_seconds", "0", "1 and 31536000"),
            ("auth.refresh_idle_seconds", "0", "1 and 3153600000"),
            ("auth.session_seconds", "9223372036854775807", "1 and 3153600000"),
            ("auth.password_concurrency", "0", "1 and 1024"),
            ("auth.password_queue", "9223372036854775807", "0 and 1000000"),
            ("auth.session_cache_seconds", "9223372036854775807", "0 and 3600"),
            ("claims.idempotency_seconds", "9223372036854775807", "1 and 31536000"),
            ("plugins.quarantine.window_seconds", "0", "1 and 86400"),
            ("plugins.quarantine.percent", "101", "1 and 100"),
            ("plugins.quarantine.users", "0", "1 and 1000"),
            ("limits.user.per_minute", "0", "1 and 1000000"),
            ("limits.account.burst", "1201", "0 and 1200"),
            ("claims.waiting", "10000001", "0 and 10000000"),
            ("claims.waiting_per_user", "0", "1 and 10000"),
            ("outbox.retention_seconds", "0", "1 and 31536000"),
            ("webhooks.timeout_seconds", "61", "1 and 60"),
            ("webhooks.concurrency", "0", "1 and 1000"),
        ] {
            let error = Config::load(None, None, &[(key, value.to_owned())]).unwrap_err();
            assert_eq!(error.to_string(), format!("{key} = {value}: must be between {range}"));
        }
        for (key, value) in [
            ("http.timeout_seconds", "1"),
            ("http.shutdown_seconds", "0"),
            ("http.drain_seconds", "0"),
            ("auth.session_cache_seconds", "0"),
            ("auth.password_queue", "0"),
            ("database.max_connections", "1"),
            ("plugins.quarantine.failures", "0"),
            ("plugins.signatures", "enforce"),
            ("limits.credentials.burst", "0"),
            ("cache.url", "redis://127.0.0.1"),
        ] {
            assert!(Config::load(None, None, &[(key, value.to_owned())]).is_ok(), "{key}");
        }
    }
}
