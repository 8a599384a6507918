//! How settings are spelled where neither TOML nor an environment variable has a form of its own for them. Must not know: the
//! settings.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize as _, Deserializer};

pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// TOML has no null, so an empty text says "none".
pub(super) fn empty_is_none<'de, D: Deserializer<'de>, T: std::str::FromStr>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
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
pub(super) fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    items(deserializer, |item| {
        let duration = item.parse::<jiff::SignedDuration>().ok();
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
        duration
            .filter(|duration| *duration <= Duration::from_hours(30 * 24))
            .ok_or_else(|| format!("{item:?} is not a duration of up to 720h, such as 500ms, 5s, 2m or 24h"))
    })
}

pub(super) fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    items(deserializer, |item| {
        item.parse().map_err(|_| format!("{item:?} is not a port such as 443"))
    })
}

/// Networks and addresses, with commas between them, so that an environment variable can hold them.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    items(deserializer, |item| {
        let network = item.parse::<IpNet>();
        network
            .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{item:?} is neither a network such as 10.0.0.0/8 nor an address"))
    })
}
