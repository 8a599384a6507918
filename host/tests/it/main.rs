//! The integration tests: one binary, files that mirror the URLs, every test on SQLite and on PostgreSQL.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests stand outside: they read the environment and bring their own ids"
)]

mod guests;
mod support;

mod auth;
mod events;
mod house;
mod plugins;
mod rewards;
mod sandbox;
mod users;
