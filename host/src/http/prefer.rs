//! `Prefer` (RFC 7240): preferences are separated by commas, in one or several headers, and may have a value and parameters.

use axum::http::{HeaderMap, HeaderName};

pub const PREFER: HeaderName = HeaderName::from_static("prefer");
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Whether the request has the preference, with any value.
pub fn has(headers: &HeaderMap, name: &str) -> bool {
    preferences(headers).any(|(found, _)| found.eq_ignore_ascii_case(name))
}

/// Whether the request has the preference with this value.
pub fn has_value(headers: &HeaderMap, name: &str, value: &str) -> bool {
    preferences(headers).any(|(found, with)| found.eq_ignore_ascii_case(name) && with == value)
}

/// Names and values, without parameters.
fn preferences(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn preferences_may_share_a_header_and_have_values_and_parameters() {
        let mut headers = HeaderMap::new();
        for value in ["wait=10, Respond-Async; x=1", "handling=\"lenient\""] {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        assert!(has(&headers, "respond-async") && has(&headers, "wait") && !has(&headers, "return"));
        assert!(has_value(&headers, "handling", "lenient") && has_value(&headers, "wait", "10"));
        assert!(!has_value(&headers, "handling", "strict") && !has_value(&headers, "respond-async", "1"));
    }
}
