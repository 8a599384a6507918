//! Meed: rewards decided by sandboxed WebAssembly conditions; every decision is a receipt that anyone can re-run.
//!
//! The layers from the outside in. An arrow means "may use":
//!
//! ```text
//! meed, author -> app -> features -> {facts, sandbox, attributes, outbox, transparency, watch, background, db, batch, cache, http, keys,
//!                                      problem, body, correlation, canonical, text, clock}
//!                       audit auth directory users activities plugins events rewards trials releases fulfilments claims backtests make_goods
//!                       webhooks kafka rpc
//! ```
//!
//! A feature is a folder with `routes.rs` (HTTP), `service.rs` (rules and transactions) and `store.rs` (SQL). It calls
//! other features' services, never their stores. `docs/architecture.md` describes the path of an upload and of a claim.

pub mod activities;
pub mod app;
pub mod attributes;
pub mod audit;
pub mod auth;
pub mod background;
pub mod backoff;
pub mod backtests;
pub mod batch;
pub mod body;
pub mod cache;
pub mod canonical;
pub mod claims;
pub mod clock;
pub mod config;
pub mod console;
pub mod contract;
pub mod correlation;
pub mod db;
pub mod directory;
pub mod events;
pub mod exact_json;
pub mod facts;
pub mod fulfilments;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keys;
pub mod mail;
pub mod make_goods;
pub mod merkle;
mod mutations;
pub mod name;
pub mod outbox;
pub mod personal_data;
pub mod plugins;
pub mod problem;
pub mod releases;
pub mod rewards;
#[cfg(feature = "grpc")]
pub mod rpc;
pub mod sandbox;
pub mod service_keys;
pub mod text;
pub mod transparency;
pub mod trials;
pub mod users;
pub mod watch;
pub mod webhooks;
