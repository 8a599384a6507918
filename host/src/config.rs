//! Every setting, typed: the documented defaults in `config.default.toml`, then a file, then `MEED__SECTION__KEY`.
//!
//! The only reader of the environment. Must not know: what the settings are for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

const DEFAULTS: &str = include_str!("../config.default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub http: Http,
    pub database: Database,
    pub keys: Keys,
    pub auth: Auth,
    pub plugins: Plugins,
    pub claims: Claims,
    #[serde(default)]
    pub sandbox: crate::sandbox::Settings,
    pub log: Log,
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
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// May hold a password.
    pub url: SecretString,
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
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(rename = "idempotency_seconds", deserialize_with = "seconds")]
    pub idempotency: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
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
        builder.build()?.try_deserialize()
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

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
}
