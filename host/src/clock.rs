//! The only source of time, ids and randomness, so that past decisions can be replayed and tests can control the time.
//!
//! Must not know: any feature, the database, HTTP. `clippy.toml` forbids the system clock in all other files.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A point in time in UTC with millisecond precision.
///
/// The JSON form is RFC 3339 with exactly three fractional digits: `2026-03-01T09:30:00.000Z`. Input may have any UTC
/// offset and precision; it is truncated to milliseconds. Other forms of ISO 8601 are refused, and so are leap seconds, which
/// the number of milliseconds cannot tell from the second before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// The start of the year 0001.
    pub const MIN: Self = Self(Self::MIN_MILLIS);

    /// The supported range is the years 0001 to 9998, within which date arithmetic cannot overflow.
    const MIN_MILLIS: i64 = -62_135_596_800_000;
    const MAX_MILLIS: i64 = 253_370_764_800_000;

    /// `None` if `millis` (since the Unix epoch) is outside the years 0001 to 9998.
    pub fn from_millis(millis: i64) -> Option<Self> {
        (Self::MIN_MILLIS..Self::MAX_MILLIS)
            .contains(&millis)
            .then_some(Self(millis))
    }

    /// At most every UUIDv7 of this millisecond, and greater than every earlier one.
    pub fn first_id(self) -> Uuid {
        Uuid::from_u128(u128::from(self.id_millis()) << 80)
    }

    /// The time that a UUIDv7 begins with.
    pub fn of_id(id: Uuid) -> Self {
        // 48 bits, which always fit.
        Self(i64::try_from(id.as_u128() >> 80).unwrap_or_default())
    }

    /// The time that a UUIDv7 can hold.
    fn id_millis(self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or_default()
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    pub fn to_timestamp(self) -> jiff::Timestamp {
        // Every value is within jiff's range, so the default is never used.
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// Saturates at the ends of the supported range.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(Self::MAX_MILLIS - 1))
    }

    /// Saturates at the ends of the supported range.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis).max(Self::MIN_MILLIS))
    }
}

impl TryFrom<jiff::Timestamp> for Timestamp {
    type Error = String;

    fn try_from(timestamp: jiff::Timestamp) -> Result<Self, String> {
        let floor = timestamp.as_millisecond()
            - i64::from(timestamp.subsec_nanosecond() < 0 && timestamp.subsec_nanosecond() % 1_000_000 != 0);
        Self::from_millis(floor).ok_or_else(|| format!("{timestamp} lies outside the years 0001 to 9998"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_timestamp())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is not an RFC 3339 timestamp such as 2026-03-01T09:30:00Z");
        let strict = rfc3339(text).ok_or_else(fault)?;
        if strict[17..].starts_with("60") {
            return Err(format!(
                "{text:?} is a leap second, which cannot be stored; send second 59"
            ));
        }
        let timestamp: jiff::Timestamp = strict.parse().map_err(|_| fault())?;
        Self::try_from(timestamp)
    }
}

/// The text, if it has the form of RFC 3339, with at most nine fractional digits: `jiff` accepts other forms, and no more digits.
fn rfc3339(text: &str) -> Option<String> {
    const DATE_TIME: &str = "dddd-dd-ddTdd:dd:dd";
    const OFFSET: &str = "+dd:dd";
    let fits = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                b'+' => byte == b'+' || byte == b'-',
                form => byte == form,
            })
    };
    let text = text.to_ascii_uppercase();
    let (date_time, rest) = text.split_at_checked(DATE_TIME.len())?;
    let digits = rest.strip_prefix('.').map(|rest| {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.split_at(length)
    });
    let (fraction, offset) = digits.unwrap_or(("", rest));
    if !fits(date_time, DATE_TIME)
        || (fraction.is_empty() && digits.is_some())
        || !(offset == "Z" || (fits(offset, OFFSET) && &offset[1..] < "24"))
    {
        return None;
    }
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!(
        "{date_time}{point}{}{offset}",
        &fraction[..fraction.len().min(9)]
    ))
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::schema::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .description(Some("RFC 3339 timestamp; responses are in UTC with milliseconds"))
            .examples([serde_json::json!("2026-03-01T09:30:00.000Z")])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// The source of time, ids and random bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// Stays at one time until a test changes it. Ids remain unique and ordered by this time.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    pub fn fixed(at: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.as_millis())))
    }

    /// Sets a fixed clock. Has no effect on the system clock.
    pub fn set(&self, at: Timestamp) {
        if let Self::Fixed(millis) = self {
            millis.store(at.as_millis(), Ordering::SeqCst);
        }
    }

    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Fixed(millis) => Timestamp(millis.load(Ordering::SeqCst)),
        }
    }

    /// A new UUIDv7 (RFC 9562). Ids sort by creation time.
    pub fn new_id(&self) -> Uuid {
        self.new_id_at(self.now())
    }

    /// A new UUIDv7 that sorts by this time. Rows whose lists are filtered by a time get their ids from it, so that a
    /// period of time is a range of ids.
    pub fn new_id_at(&self, at: Timestamp) -> Uuid {
        uuid::Builder::from_unix_timestamp_millis(at.id_millis(), &self.random::<10>()).into_uuid()
    }

    /// Cryptographically secure random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // aws-lc aborts instead of returning weak bytes, so this error does not occur in practice.
        aws_lc_rs::rand::fill(&mut bytes).unwrap_or_else(|_| std::process::abort());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_three_fractional_digits_and_truncates_input() {
        let timestamp: Timestamp = "2026-03-01T18:30:00.1239+09:00".parse().unwrap();
        assert_eq!(timestamp.to_string(), "2026-03-01T09:30:00.123Z");
    }

    #[test]
    fn a_timestamp_before_the_epoch_truncates_downwards() {
        let timestamp: Timestamp = "1969-12-31T23:59:59.9999Z".parse().unwrap();
        assert_eq!(timestamp.as_millis(), -1);
    }

    #[test]
    fn a_timestamp_without_an_offset_is_rejected() {
        assert!("2026-03-01T09:30:00".parse::<Timestamp>().is_err());
        assert!("2026-03-01".parse::<Timestamp>().is_err());
    }

    #[test]
    fn only_rfc_3339_is_accepted() {
        let parse = |text: &str| text.parse::<Timestamp>().map(|timestamp| timestamp.to_string());
        for (text, expected) in [
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00.000Z"),
            ("2026-11-01t00:00:00z", "2026-11-01T00:00:00.000Z"),
            ("2026-11-01T00:00:00.123456789012Z", "2026-11-01T00:00:00.123Z"),
            ("2026-11-01T00:00:00.5-00:00", "2026-11-01T00:00:00.500Z"),
            ("2026-11-01T09:30:00+09:30", "2026-11-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "20261101T000000Z",
            "2026-11-01 00:00:00Z",
            "2026-11-01T00:00Z",
            "2026-11-01T00:00:00",
            "2026-11-01T00:00:00+09",
            "2026-11-01T00:00:00+0900",
            "2026-11-01T00:00:00,5Z",
            "2026-11-01T00:00:00.Z",
            "2026-11-01T00:00:00+09:00[Asia/Seoul]",
            "2026-11-01T00:00:00Z[UTC]",
            "2026-11-01T00:00:00+24:00",
            "2026-11-01T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "+002026-11-01T00:00:00Z",
            " 2026-11-01T00:00:00Z",
            "2026-11-01T00:00:0\u{663}Z",
            "",
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains("is not an RFC 3339 timestamp"), "{refusal}");
        }
        assert!(parse("2016-12-31T23:59:60Z").unwrap_err().contains("leap second"));
    }

    #[test]
    fn a_period_of_time_is_a_range_of_ids() {
        let clock = Clock::fixed("2026-03-01T00:00:00Z".parse().unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let noon = at("2026-02-03T12:00:00Z");
        let id = clock.new_id_at(noon);
        assert!(noon.first_id() <= id && id < at("2026-02-03T12:00:00.001Z").first_id());
        assert_eq!(at("1969-12-31T23:59:59Z").first_id(), Uuid::nil());
    }

    #[test]
    fn ids_follow_the_clock() {
        let clock = Clock::fixed("2026-03-01T00:00:00Z".parse().unwrap());
        let early = clock.new_id();
        clock.set("2026-03-01T00:00:01Z".parse().unwrap());
        assert!(early < clock.new_id());
    }
}
