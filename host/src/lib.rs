//! Meed: rewards decided by sandboxed WebAssembly conditions; every decision is a receipt that anyone can re-run.
//!
//! The map, from the outside in (an arrow is "may know"):
//!
//! ```text
//! main -> cli -> app -> features -> {facts, sandbox, attributes, outbox, db, batch, cache, http, keys,
//!                                      canonical, clock}
//!                       auth users activities plugins events rewards fulfilments requests webhooks kafka
//! ```
//!
//! A feature is a folder with `routes.rs` (HTTP), `service.rs` (rules, owns transactions) and `store.rs` (SQL). It calls
//! another feature's service, never its store. `docs/architecture.md` walks through an upload and a claim.

pub mod activities;
pub mod app;
pub mod attributes;
pub mod auth;
pub mod batch;
pub mod cache;
pub mod canonical;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod contract;
pub mod db;
pub mod events;
pub mod facts;
pub mod fulfilments;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keys;
pub mod outbox;
pub mod plugins;
pub mod rewards;
pub mod sandbox;
pub mod users;
pub mod webhooks;
