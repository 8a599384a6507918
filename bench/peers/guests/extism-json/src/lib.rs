//! An Extism plugin with JSON input and output.

use extism_pdk::{FnResult, plugin_fn};

#[plugin_fn]
pub fn evaluate(input: Vec<u8>) -> FnResult<Vec<u8>> {
    let input = serde_json::from_slice(&input)?;
    Ok(serde_json::to_vec(&rule::decide(&input))?)
}
