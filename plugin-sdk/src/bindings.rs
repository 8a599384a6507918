//! The contract as Rust types. Only this crate sees them; authors see the types that the other modules make of them.
//!
//! `generated.rs` is the output of wit-bindgen for `wit/v1`, checked in so that a plugin's build needs no binding
//! generator. A test of the host (`contract`) compares the file with the WIT; `UPDATE_DOCS=1` writes it again.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    rustdoc::broken_intra_doc_links,
    clippy::allow_attributes_without_reason,
    reason = "generated: the canonical ABI needs raw pointers, and its style is not ours"
)]

#[rustfmt::skip]
mod generated;

#[cfg(target_arch = "wasm32")]
pub use generated::meed::condition::log;
pub use generated::meed::condition::types;
pub use generated::*;
