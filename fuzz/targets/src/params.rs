//! Fuzzes a plugin's JSON Schema and an operator's params, both of which the host parses.

use std::time::Duration;

use meed_host::sandbox::check_params;
use serde_json::Value;

use crate::within;

/// The input is the schema, a NUL and the params.
pub fn params(bytes: &[u8]) {
    let mut halves = bytes.splitn(2, |byte| *byte == 0);
    let (schema, params) = (halves.next().unwrap_or_default(), halves.next().unwrap_or(b"{}"));
    let (Ok(schema), Ok(params)) = (
        serde_json::from_slice::<Value>(schema),
        serde_json::from_slice::<Value>(params),
    ) else {
        return;
    };
    within(Duration::from_secs(2), || drop(check_params(&schema, &params)));
}
