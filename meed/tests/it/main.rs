//! The integration tests: one binary, with a file for each URL. Every test that uses a database runs on both engines.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests stand outside: they read the environment and bring their own ids"
)]
#![allow(
    unreachable_pub,
    reason = "a test binary has no outside; `pub` says what a support module offers"
)]

mod bombs;
mod guests;
mod support;

mod activities;
mod architecture;
mod audit;
mod auth;
mod background;
mod backtests;
mod cache;
mod cases;
mod cli;
mod clients;
mod console;
mod contract;
mod database;
mod event_groups;
mod events;
mod facts;
mod faults;
mod grants;
mod hold;
#[cfg(feature = "kafka")]
mod kafka;
mod languages;
mod make_goods;
mod mutations;
mod names;
mod openapi;
mod outbox;
mod overload;
mod plugin_keys;
mod plugins;
mod receipts;
mod releases;
mod reward_requests;
mod rewards;
mod roles;
#[cfg(feature = "grpc")]
mod rpc;
mod sandbox;
mod separation;
mod service_keys;
mod transparency;
mod trials;
mod users;
mod watch;
mod webhook_endpoints;
