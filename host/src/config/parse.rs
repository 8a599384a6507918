//! Parses values for which TOML and environment variables have no type: durations, ranges, lists. Must not know: the
//! settings.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize as _, Deserializer};

const MAX_DURATIONS: usize = 100;

/// A number from `LEAST` to `MOST`.
pub(super) fn within<'de, const LEAST: u64, const MOST: u64, T: TryFrom<u64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = u64::deserialize(deserializer)?;
    let in_range = Some(number).filter(|number| (LEAST..=MOST).contains(number));
    in_range
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| serde::de::Error::custom(format!("{number} is not between {LEAST} and {MOST}")))
}

/// 0, which means that something is off, or a number in the range.
pub(super) fn zero_or<'de, const LEAST: u64, const MOST: u64, T: TryFrom<u64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = u64::deserialize(deserializer)?;
    let in_range = Some(number).filter(|number| *number == 0 || (LEAST..=MOST).contains(number));
    in_range
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| serde::de::Error::custom(format!("{number} is neither 0 nor between {LEAST} and {MOST}")))
}

pub(super) fn seconds<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    within::<LEAST, MOST, _, _>(deserializer).map(Duration::from_secs)
}

pub(super) fn milliseconds<'de, const LEAST: u64, const MOST: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    within::<LEAST, MOST, _, _>(deserializer).map(Duration::from_millis)
}

/// TOML has no null: an empty string means "none".
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

/// Comma-separated items.
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

/// At most 100 durations of up to thirty days, such as `5s, 2m, 24h`.
pub(super) fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    let durations = items(deserializer, |item| {
        let duration = item.parse::<jiff::SignedDuration>().ok();
        let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
        duration
            .filter(|duration| *duration <= Duration::from_hours(30 * 24))
            .ok_or_else(|| format!("{item:?} is not a duration of up to 720h, such as 500ms, 5s, 2m or 24h"))
    })?;
    if durations.len() > MAX_DURATIONS {
        return Err(serde::de::Error::custom(format!(
            "{} durations; at most {MAX_DURATIONS} are allowed",
            durations.len()
        )));
    }
    Ok(durations)
}

pub(super) fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    items(deserializer, |item| {
        item.parse().map_err(|_| format!("{item:?} is not a port such as 443"))
    })
}

/// Networks and addresses.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    items(deserializer, |item| {
        let network = item.parse::<IpNet>();
        network
            .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| format!("{item:?} is neither a network such as 10.0.0.0/8 nor an address"))
    })
}

/// `HOST:PORT`. Empty: none.
pub(super) fn host_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<(String, u16)>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    });
    let fault = || serde::de::Error::custom(format!("{text:?} is not HOST:PORT, such as smtp.example.com:587"));
    parsed.map(Some).ok_or_else(fault)
}
