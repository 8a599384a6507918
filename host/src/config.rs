//! All settings, typed and in range: the defaults in `config.default.toml`, then a file, then `MEED__SECTION__KEY`.
//!
//! The only reader of the environment. Must not know: what the settings are for.

mod identity;
mod kafka;
mod parse;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

pub use self::identity::{Jwks, Oidc, TokenAlgorithm, TrustedIssuer};
pub use self::kafka::{Kafka, Sasl};
use parse::{durations, empty_is_none, host_and_port, milliseconds, networks, ports, seconds, within, zero_or};

const DEFAULTS: &str = include_str!("../config.default.toml");

/// In seconds.
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const YEAR: u64 = 365 * 24 * HOUR;
const CENTURY: u64 = 100 * YEAR;

const GIB: u64 = 1 << 30;
const PIB: u64 = 1 << 50;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http: Http,
    pub database: Database,
    pub cache: Cache,
    pub limits: Limits,
    pub keys: Keys,
    pub auth: Auth,
    pub mail: Mail,
    pub users: Users,
    pub activities: Activities,
    pub plugins: Plugins,
    pub claims: Claims,
    pub outbox: Outbox,
    pub streams: Streams,
    pub audit: Audit,
    pub releases: Releases,
    pub webhooks: Webhooks,
    pub kafka: Kafka,
    pub sandbox: Sandbox,
    pub log: Log,
    pub traces: Traces,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "empty_is_none")]
    pub admin_listen: Option<SocketAddr>,
    #[serde(rename = "timeout_seconds", deserialize_with = "seconds::<1, HOUR, _>")]
    pub timeout: Duration,
    #[serde(rename = "shutdown_seconds", deserialize_with = "seconds::<0, HOUR, _>")]
    pub shutdown: Duration,
    #[serde(rename = "drain_seconds", deserialize_with = "seconds::<0, HOUR, _>")]
    pub drain: Duration,
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub max_in_flight: usize,
    #[serde(rename = "client_timeout_seconds", deserialize_with = "seconds::<1, HOUR, _>")]
    pub client_timeout: Duration,
    pub http2: bool,
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub max_connections_per_address: usize,
    pub console: ConsoleAt,
    /// The proxies whose `X-Forwarded-For` the server trusts.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

/// The listener of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleAt {
    /// That of the API.
    On,
    Off,
    /// The admin listener, which then serves the API, too.
    Admin,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// May hold a password. Empty: none.
    pub url: SecretString,
    /// The file that `url` was read from, if any.
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
    pub service_key: Limit,
}

/// A rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The size of a burst. 0: no limit.
    #[serde(deserialize_with = "within::<0, 1_000_000, _, _>")]
    pub burst: u32,
    /// The sustained rate.
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub per_minute: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
    /// The file that `url` was read from, if any.
    #[serde(deserialize_with = "empty_is_none")]
    pub url_file: Option<PathBuf>,
    #[serde(deserialize_with = "within::<1, 10_000, _, _>")]
    pub max_connections: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// Days from the request of an erasure to the erasure.
    #[serde(deserialize_with = "within::<0, 365, _, _>")]
    pub erasure_grace_days: u32,
}

impl Users {
    pub fn erasure_grace(&self) -> Duration {
        Duration::from_hours(u64::from(self.erasure_grace_days) * 24)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Activities {
    /// Whether an activity of an unknown external id creates the user.
    pub create_unknown_users: bool,
    #[serde(deserialize_with = "zero_or::<30, 36_500, _, _>")]
    compact_after_days: u32,
}

impl Activities {
    /// How long activities are kept before they are compacted; `None`: for ever.
    pub fn kept(&self) -> Option<Duration> {
        (self.compact_after_days > 0).then(|| Duration::from_hours(24 * u64::from(self.compact_after_days)))
    }
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
    #[serde(rename = "access_token_seconds", deserialize_with = "seconds::<1, YEAR, _>")]
    pub access_token: Duration,
    #[serde(rename = "refresh_idle_seconds", deserialize_with = "seconds::<1, CENTURY, _>")]
    pub refresh_idle: Duration,
    #[serde(rename = "session_seconds", deserialize_with = "seconds::<1, CENTURY, _>")]
    pub session: Duration,
    /// The same for the roles OPERATOR, AUDITOR and ADMIN.
    #[serde(rename = "staff_session_seconds", deserialize_with = "seconds::<1, CENTURY, _>")]
    pub staff_session: Duration,
    #[serde(rename = "refresh_grace_seconds", deserialize_with = "seconds::<0, MINUTE, _>")]
    pub refresh_grace: Duration,
    #[serde(rename = "step_up_seconds", deserialize_with = "seconds::<60, CENTURY, _>")]
    pub step_up: Duration,
    pub require_totp: bool,
    pub hide_registered_emails: bool,
    pub invitations_count_after: InvitationsCountAfter,
    /// Zero: expired sessions are kept.
    #[serde(rename = "session_retention_seconds", deserialize_with = "seconds::<0, CENTURY, _>")]
    pub session_retention: Duration,
    #[serde(deserialize_with = "within::<1, 1_024, _, _>")]
    pub password_concurrency: usize,
    #[serde(rename = "session_cache_seconds", deserialize_with = "seconds::<0, HOUR, _>")]
    pub session_cache: Duration,
    pub trusted_issuers: Vec<TrustedIssuer>,
    pub oidc: Oidc,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Host and port. `None`: no mails.
    #[serde(deserialize_with = "host_and_port")]
    pub server: Option<(String, u16)>,
    pub encryption: MailEncryption,
    pub username: String,
    pub password: SecretString,
    /// The file that `password` was read from, if any.
    #[serde(deserialize_with = "empty_is_none")]
    pub password_file: Option<PathBuf>,
    pub from: String,
    /// Pages that take a token at the end of their address. Empty: none.
    pub reset_page: String,
    pub confirmation_page: String,
    pub confirm_registrations: bool,
}

/// How the connection to the SMTP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailEncryption {
    Off,
    /// STARTTLS is required.
    Starttls,
    /// From the first byte.
    Tls,
}

/// What credits the inviter of a new account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvitationsCountAfter {
    Registration,
    /// The first activity of the invitee that is reported.
    Activity,
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

/// The upload quota of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadQuota {
    /// The time to check uploads, in seconds per hour.
    #[serde(deserialize_with = "within::<1, HOUR, _, _>")]
    pub seconds_per_hour: u64,
    /// Stored versions.
    #[serde(deserialize_with = "within::<0, 1_000_000_000, _, _>")]
    pub versions: u64,
    /// The total size of their modules, in bytes.
    #[serde(deserialize_with = "within::<0, PIB, _, _>")]
    pub bytes: u64,
}

/// How the server treats uploads without a signature by a trusted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signatures {
    Off,
    Warn,
    Enforce,
}

/// When the server quarantines a plugin version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// 0: never.
    #[serde(deserialize_with = "within::<0, 1_000_000, _, _>")]
    pub failures: u32,
    #[serde(deserialize_with = "within::<1, 1_000, _, _>")]
    pub users: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(rename = "idempotency_seconds", deserialize_with = "seconds::<1, YEAR, _>")]
    pub idempotency: Duration,
    /// Zero: rejected and failed requests are kept.
    #[serde(rename = "refusal_retention_seconds", deserialize_with = "seconds::<0, CENTURY, _>")]
    pub refusal_retention: Duration,
    /// The maximum number of pending claims.
    #[serde(deserialize_with = "within::<0, 10_000_000, _, _>")]
    pub max_pending: u32,
    #[serde(deserialize_with = "within::<1, 10_000, _, _>")]
    pub max_pending_per_user: u32,
    #[serde(deserialize_with = "within::<1, 3_650, _, _>")]
    review_days: u32,
}

impl Claims {
    /// How long a held claim waits for its review, and how long a denial stands.
    pub fn review(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.review_days))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Whether `meed serve` delivers outbox messages.
    pub relay: bool,
    #[serde(rename = "retention_seconds", deserialize_with = "seconds::<1, YEAR, _>")]
    pub retention: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub max: usize,
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub max_per_user: usize,
    #[serde(rename = "max_age_seconds", deserialize_with = "seconds::<1, YEAR, _>")]
    pub max_age: Duration,
    #[serde(rename = "heartbeat_seconds", deserialize_with = "seconds::<1, HOUR, _>")]
    pub heartbeat: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    #[serde(deserialize_with = "within::<0, 36_500, _, _>")]
    retention_days: u32,
}

impl Audit {
    /// How long entries are kept; `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_hours(24 * u64::from(self.retention_days)))
    }
}

/// Which changes of live events need a second person.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Releases {
    pub required: ReleaseRequired,
    /// In units of value, for [`ReleaseRequired::AboveLiability`].
    #[serde(deserialize_with = "within::<0, 9_007_199_254_740_991, _, _>")]
    pub liability: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseRequired {
    Never,
    /// For events that can still give out more than [`Releases::liability`].
    AboveLiability,
    Always,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// The delay before each retry.
    #[serde(deserialize_with = "durations")]
    pub retries: Vec<Duration>,
    #[serde(rename = "timeout_seconds", deserialize_with = "seconds::<1, MINUTE, _>")]
    pub timeout: Duration,
    /// Concurrent attempts at one endpoint.
    #[serde(deserialize_with = "within::<1, 1_000, _, _>")]
    pub concurrency: usize,
    #[serde(deserialize_with = "ports")]
    pub ports: Vec<u16>,
    #[serde(deserialize_with = "networks")]
    pub private_networks: Vec<IpNet>,
}

/// See [`crate::sandbox::Settings`] for all limits of a plugin: most are constants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Whether plugins that bring the runtime of a language are accepted.
    pub language_runtimes: bool,
    /// Concurrent calls of standard plugins. 0: four per core.
    #[serde(deserialize_with = "within::<0, 4_096, _, _>")]
    pub slots: usize,
    /// Concurrent calls of plugins with a language runtime. 0: one per core.
    #[serde(deserialize_with = "within::<0, 1_024, _, _>")]
    pub runtime_slots: usize,
    /// How long a call waits for a slot.
    #[serde(rename = "wait_ms", deserialize_with = "milliseconds::<0, 60_000, _>")]
    pub wait: Duration,
    pub standard: PluginClass,
    pub runtime: PluginClass,
}

/// The limits of one class of plugins that an operator may change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginClass {
    #[serde(deserialize_with = "within::<1, 1_000_000_000, _, _>")]
    pub evaluate_fuel: u64,
    #[serde(deserialize_with = "within::<65_536, GIB, _, _>")]
    pub memory_bytes: usize,
    /// `meed replay` accepts no larger module.
    #[serde(deserialize_with = "within::<1, 67_108_864, _, _>")]
    pub upload_bytes: usize,
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
    /// The OpenTelemetry collector for spans, by OTLP over HTTP. Empty: none.
    pub endpoint: String,
    #[serde(deserialize_with = "within::<0, 100, _, _>")]
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
        let mut config: Self = builder.build()?.try_deserialize().map_err(key_first)?;
        config.read_secrets().map_err(config::ConfigError::Message)?;
        config.check().map_err(config::ConfigError::Message)?;
        Ok(config)
    }

    /// Reads the secrets that are in separate files, so that the environment and the settings contain no password.
    fn read_secrets(&mut self) -> Result<(), String> {
        let (database, cache, kafka, mail) = (&mut self.database, &mut self.cache, &mut self.kafka, &mut self.mail);
        let oidc = &mut self.auth.oidc;
        for (name, file, secret) in [
            ("database.url_file", &database.url_file, &mut database.url),
            ("cache.url_file", &cache.url_file, &mut cache.url),
            ("kafka.password_file", &kafka.password_file, &mut kafka.password),
            ("mail.password_file", &mail.password_file, &mut mail.password),
            (
                "auth.oidc.client_secret_file",
                &oidc.client_secret_file,
                &mut oidc.client_secret,
            ),
        ] {
            if let Some(file) = file {
                *secret = read_secret(file).map_err(|fault| format!("{name} = {:?}: {fault}", file.display()))?;
            }
        }
        Ok(())
    }

    /// The rules that concern more than one setting, or this executable.
    fn check(&self) -> Result<(), String> {
        let Limits {
            credentials,
            account,
            anonymous,
            user,
            service_key,
        } = self.limits;
        for (name, Limit { burst, per_minute }) in [
            ("credentials", credentials),
            ("account", account),
            ("anonymous", anonymous),
            ("user", user),
            ("service_key", service_key),
        ] {
            // A bucket fills within an hour and can then be dropped.
            let most = per_minute.saturating_mul(60);
            if burst > most {
                return Err(format!(
                    "limits.{name}.burst: {burst} is not between 0 and {most}, which is limits.{name}.per_minute for an hour"
                ));
            }
        }
        if self.mail.confirm_registrations && self.mail.server.is_none() {
            return Err(
                "mail.confirm_registrations needs mail.server: set it, because accounts are confirmed by mail"
                    .to_owned(),
            );
        }
        if self.mail.encryption == MailEncryption::Off && !self.mail.username.is_empty() {
            return Err(
                "mail.username would send the password in clear with mail.encryption = \"off\": set mail.encryption, or leave \
                 mail.username empty"
                    .to_owned(),
            );
        }
        if self.http.console == ConsoleAt::Admin && self.http.admin_listen.is_none() {
            return Err(
                "http.console = \"admin\" needs http.admin_listen: set it, or set http.console to \"on\" or \"off\""
                    .to_owned(),
            );
        }
        if self.http.http2 && !cfg!(feature = "grpc") {
            return Err(
                "http.http2 = true: this meed was built without HTTP/2; build it with `--features grpc`, or set it to false"
                    .to_owned(),
            );
        }
        if !self.traces.endpoint.is_empty() && !cfg!(feature = "otel") {
            return Err(format!(
                "traces.endpoint = {:?}: this meed was built without traces; build it with `--features otel`, or leave it empty",
                self.traces.endpoint
            ));
        }
        self::identity::check(&self.auth.issuer, &self.auth.trusted_issuers, &self.auth.oidc)?;
        self.kafka.check(self::kafka::BUILT)
    }

    /// Only the defaults, with all their files below `data_dir`.
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

/// `http.timeout_seconds: 0 is not between 1 and 3600`
fn key_first(error: config::ConfigError) -> config::ConfigError {
    match error {
        config::ConfigError::At {
            error, key: Some(key), ..
        } => config::ConfigError::Message(format!("{}: {error}", dotted(&key))),
        config::ConfigError::Type {
            unexpected,
            expected,
            key: Some(key),
            ..
        } => config::ConfigError::Message(format!("{}: is {unexpected}, but must be {expected}", dotted(&key))),
        error => error,
    }
}

/// The library writes `issuers[1]name`.
fn dotted(key: &str) -> String {
    let (mut dotted, mut before) = (String::with_capacity(key.len() + 1), ' ');
    for letter in key.chars() {
        if before == ']' && letter != '.' && letter != '[' {
            dotted.push('.');
        }
        dotted.push(letter);
        before = letter;
    }
    dotted
}

/// Reads the only line of the file. An error never contains the secret.
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
