//! `#[derive(Params)]` for `meed-plugin-sdk`: the JSON Schema of params as text, and how they are read.
//!
//! The schema is put together here, while the plugin is compiled, so that a plugin carries a text and no schema library.
//! `meed_plugin_sdk::Params` documents what may be written.

mod derive;
mod json;
mod schema;
mod words;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// See `meed_plugin_sdk::Params`.
#[proc_macro_derive(Params, attributes(param))]
pub fn derive_params(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive::params(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
