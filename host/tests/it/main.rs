//! The integration tests: one binary, files that mirror the URLs, every test on SQLite and on PostgreSQL.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests stand outside: they read the environment and bring their own ids"
)]
#![allow(unreachable_pub, reason = "the support modules are a small library to the tests")]

mod support;

mod activities;
mod auth;
mod facts;
mod rewards;
mod users;
