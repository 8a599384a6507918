//! The contract as Rust types, generated from `wit/v1`. Only this crate sees them; authors see what the other modules
//! make of them.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated: the canonical ABI needs raw pointers, and its style is not ours"
)]

wit_bindgen::generate!({
    path: "wit/v1",
    world: "condition",
    additional_derives: [PartialEq],
    disable_custom_section_link_helpers: true,
    pub_export_macro: true,
    export_macro_name: "export_world",
});

#[cfg(target_arch = "wasm32")]
pub use meed::condition::log;
pub use meed::condition::types;
