//! The architecture rules over every source file: which module may name what. Test code may name anything.

mod circles;
mod metrics;
mod names;
mod rules;
mod scopes;
mod tables;

use std::fs;
use std::path::Path;

use proc_macro2::TokenStream;

#[test]
fn source_files_keep_the_architecture_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in [
        "host",
        "author",
        "meed",
        "plugin-sdk",
        "plugins",
        "cookbook",
        "bench",
        "xtask",
    ] {
        list(&root.join(folder), folder, &mut files);
    }
    assert!(files.len() > 50, "only {} files found: {files:?}", files.len());
    let broken: Vec<_> = files
        .iter()
        .flat_map(|file| check(file, &fs::read_to_string(root.join(file)).unwrap()))
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// Lists all sources and manifests below a folder, as paths such as `host/src/db.rs`.
fn list(folder: &Path, name: &str, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let entry = entry.expect("its entries can be read");
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            if !name.ends_with("/target") {
                list(&entry.path(), &name, files);
            }
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs")
            || name.ends_with("/Cargo.toml")
        {
            files.push(name);
        }
    }
}

/// The violations in a file, as `file:line: what; what to do`.
fn check(file: &str, text: &str) -> Vec<String> {
    let mut broken: Vec<_> = rules::judge_file(file)
        .map(|advice| format!("{file}:1: {advice}"))
        .into_iter()
        .collect();
    if file.ends_with("Cargo.toml") {
        broken.extend(rules::judge_manifest(file, text));
        return broken;
    }
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    for (line, name) in names::of(tokens) {
        broken.extend(rules::judge(file, &name).map(|advice| format!("{file}:{line}: {name}; {advice}")));
    }
    broken
}

/// Every rule must find its bad example and accept the good ones.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_rule_can_fail() {
    let bad = [
        ("host/src/rewards/service.rs", "use axum::Json;", "may use HTTP"),
        (
            "host/src/rewards.rs",
            "fn f() -> axum::http::StatusCode {}",
            "may use HTTP",
        ),
        ("host/src/auth/service.rs", "use utoipa_axum::routes;", "may use HTTP"),
        (
            "host/src/kafka/intake.rs",
            "use crate::http::Problem;",
            "what needs no HTTP",
        ),
        (
            "host/src/events/service.rs",
            "fn f() { crate::http::request_id::HEADER }",
            "what needs no HTTP",
        ),
        (
            "host/src/problem.rs",
            "use super::{clock, http::limit};",
            "what needs no HTTP",
        ),
        ("meed/src/keys.rs", "use meed_host::http::server;", "what needs no HTTP"),
        (
            "host/src/problem.rs",
            "use axum::response::IntoResponse;",
            "may use HTTP",
        ),
        (
            "host/src/correlation.rs",
            "use crate::claims::Claim;",
            "invert the dependency",
        ),
        ("host/src/body.rs", "use crate::users::User;", "is below the features"),
        (
            "host/src/background/lease.rs",
            "use crate::webhooks::Relay;",
            "is below the features",
        ),
        ("host/src/events/service.rs", "use sqlx::{Row};", "may use sqlx"),
        ("host/src/events/service.rs", r#"const Q: &str = "SELECT 1";"#, "SQL in"),
        (
            "host/src/app.rs",
            "fn f() { format!(r#\"DELETE FROM {table}\"#) }",
            "SQL in",
        ),
        (
            "host/src/events/routes.rs",
            "fn f() { db.query(TEXT) }",
            "may query the database",
        ),
        (
            "host/src/plugins/service.rs",
            "use wasmtime::Engine;",
            "may use the engine",
        ),
        (
            "author/src/inspect.rs",
            "fn f() { wasmparser::Parser::new(0) }",
            "may use the engine",
        ),
        (
            "host/src/app.rs",
            "use {wit_component::ComponentEncoder};",
            "may use the engine",
        ),
        ("meed/src/serve.rs", "use sqlx::Row;", "may use sqlx"),
        ("meed/src/db.rs", r#"const Q: &str = "SELECT 1";"#, "SQL in"),
        ("meed/src/relay.rs", "use axum::Router;", "may use HTTP"),
        (
            "author/src/case.rs",
            "use meed_host::{db::Db, clock};",
            "without a server",
        ),
        ("host/src/auth/sessions.rs", "use redis::Cmd;", "may use Redis"),
        ("host/src/auth/principal.rs", "use axum::Json;", "may use HTTP"),
        (
            "host/src/auth/service.rs",
            "use crate::users::User;",
            "is below the features",
        ),
        (
            "host/src/events/store.rs",
            r#"const Q: &str = "SELECT id FROM rewards";"#,
            "reads `rewards`, a table of `rewards`",
        ),
        (
            "host/src/auth/store.rs",
            "const Q: &str = \"UPDATE users SET role = $1\";",
            "writes `users`, a table of `users`",
        ),
        (
            "host/src/outbox/store/topics.rs",
            "use rdkafka::Message;",
            "brokers' client",
        ),
        (
            "host/src/cache.rs",
            "use crate::events::Event;",
            "is below the features",
        ),
        ("host/src/facts/plan.rs", "use crate::db::Db;", "facts are computed"),
        ("host/src/facts/streak.rs", "async fn f() {}", "facts are computed"),
        (
            "host/src/facts/days.rs",
            "fn f() { std::fs::read(path) }",
            "facts are computed",
        ),
        (
            "host/src/facts/plan.rs",
            "use crate::clock::{Clock, Timestamp};",
            "facts are computed",
        ),
        (
            "host/src/events/service.rs",
            "use crate::rewards::store;",
            "rewards/service.rs",
        ),
        (
            "host/src/events/service.rs",
            "use crate::{clock, rewards::{self, store::find}};",
            "rewards/service.rs",
        ),
        (
            "host/src/app.rs",
            "fn f() { rewards::store::find() }",
            "rewards/service.rs",
        ),
        (
            "host/src/events/service.rs",
            "use crate::claims::Status;",
            "invert the dependency",
        ),
        (
            "host/src/rewards/routes.rs",
            "use crate::{claims, events};",
            "invert the dependency",
        ),
        (
            "host/src/http/page.rs",
            "use crate::rewards::Reward;",
            "is below the features",
        ),
        (
            "host/src/db.rs",
            "fn f() { crate::app::App::new() }",
            "is below the features",
        ),
        (
            "host/src/keys/public.rs",
            "use crate::auth::Role;",
            "is below the features",
        ),
        (
            "host/src/attributes.rs",
            "use crate::users::User;",
            "is below the features",
        ),
        (
            "plugins/first-come/src/lib.rs",
            "use meed_host::contract;",
            "the SDK only",
        ),
        (
            "plugins/first-come/Cargo.toml",
            "[dependencies]\nmeed-host.workspace = true",
            "the SDK only",
        ),
        (
            "plugin-sdk/macros/Cargo.toml",
            "meed-host = { path = \"../../host\" }",
            "the SDK only",
        ),
        ("host/src/events/utils.rs", "", "does not say"),
        ("xtask/src/common.rs", "", "does not say"),
        ("host/src/events/mod.rs", "", "does not say"),
    ];
    for (file, text, advice) in bad {
        let broken = check(file, text);
        assert_eq!(broken.len(), 1, "{file}: {text}: {broken:#?}");
        assert!(broken[0].contains(advice), "{file}: {text}: {broken:#?}");
    }
    let good = [
        ("host/src/rewards/routes.rs", "use axum::extract::State;"),
        ("host/src/http.rs", "use axum::Router;"),
        ("host/src/auth/guards.rs", "use axum::http::request::Parts;"),
        ("host/src/auth/authenticate.rs", "use crate::http::limit::Subject;"),
        ("host/src/rewards/routes.rs", "use crate::http::{Body, Problem};"),
        ("meed/src/serve.rs", "use meed_host::http::server;"),
        (
            "host/src/kafka/intake.rs",
            "use crate::problem::Problem; use crate::body;",
        ),
        (
            "host/src/webhooks/deliver.rs",
            "use http::Uri; fn f() { target::http() }",
        ),
        (
            "host/src/rewards/service.rs",
            "//! Knows nothing of axum::Json.\n/// SELECT it \nfn f() {} // sqlx::query",
        ),
        (
            "host/src/rewards/service.rs",
            "#[cfg(test)]\nmod tests { use axum::Json; }",
        ),
        (
            "host/src/rewards/service.rs",
            r#"const HELP: &str = "select a reward, where there is one";"#,
        ),
        ("host/src/rewards/store.rs", r#"fn f() { db.query("SELECT 1") }"#),
        (
            "host/src/cache/redis.rs",
            "use redis::Cmd; use crate::clock::Timestamp;",
        ),
        ("host/src/db/migrate.rs", "use sqlx::migrate::Migrator;"),
        ("host/src/http/extract.rs", "fn f() { uri.query() }"),
        ("host/src/sandbox/run.rs", "use wasmtime::{Engine, Store};"),
        ("host/src/plugins/service.rs", "fn f() { fingerprint.wasmtime }"),
        ("host/src/facts/store.rs", "use crate::db::Tx; async fn f() {}"),
        (
            "host/src/facts/plan.rs",
            "use crate::clock::Timestamp; use std::time::Duration;",
        ),
        ("host/src/facts/period.rs", "crate::db::text_column!(Period);"),
        ("host/src/facts/plan/tests.rs", "use std::fs::read;"),
        ("host/src/facts.rs", "use crate::db::Db;"),
        (
            "host/src/rewards/service.rs",
            "use super::store; use crate::rewards::store::find;",
        ),
        (
            "host/src/events/service.rs",
            "fn f() { let requests = 1; requests.len() }",
        ),
        ("host/src/app.rs", "use crate::claims::Claims;"),
        ("meed/src/replay.rs", "use meed_host::claims::replay;"),
        ("author/src/package.rs", "use wasmparser::Parser;"),
        (
            "author/src/bench.rs",
            "use meed_host::plugins::cases::{self, PreparedCase};",
        ),
        ("host/src/lib.rs", "pub mod claims;"),
        ("plugins/first-come/Cargo.toml", "meed-plugin-sdk.workspace = true"),
    ];
    for (file, text) in good {
        let broken = check(file, text);
        assert!(broken.is_empty(), "{file}: {text}: {broken:#?}");
    }
}

#[test]
fn every_rule_of_tables_can_fail() {
    let bad = [
        ("CREATE TABLE scores (id BLOB PRIMARY KEY);", "scores has no owner"),
        ("CREATE TABLE grants (id BLOB PRIMARY KEY);", "begins with user_id"),
        (
            "CREATE TABLE grants (user_id BLOB, id BLOB, PRIMARY KEY (id, user_id));",
            "begins with user_id",
        ),
        (
            "CREATE TABLE grants (user_id BLOB, id BLOB, PRIMARY KEY (user_id, id), UNIQUE (id));",
            "begins with user_id",
        ),
        (
            "CREATE UNIQUE INDEX grants_once ON grants (id) WHERE id IS NOT NULL;",
            "begins with user_id",
        ),
        (
            "CREATE TABLE grants (user_id BLOB PRIMARY KEY, reward_id BLOB REFERENCES rewards (id));",
            "no foreign key to a shared one",
        ),
        (
            "CREATE TABLE reversals (user_id BLOB PRIMARY KEY, request_id BLOB REFERENCES reward_requests (id));",
            "begins with the user's id",
        ),
        (
            "CREATE TABLE users (id BLOB PRIMARY KEY, invited_by BLOB REFERENCES users (id));",
            "begins with the user's id",
        ),
        (
            "CREATE TABLE events (id BLOB PRIMARY KEY, created_by BLOB NOT NULL REFERENCES users (id));",
            "an actor is a principal id",
        ),
        ("ALTER TABLE users DROP COLUMN nickname;", "cannot read"),
    ];
    for (sql, advice) in bad {
        let faults = tables::faults(sql);
        assert_eq!(faults.len(), 1, "{sql}: {faults:#?}");
        assert!(faults[0].contains(advice), "{sql}: {faults:#?}");
    }
    let good = "-- What a grant is; not a table (that is below).\n\
        CREATE TABLE grants (\n    user_id BLOB NOT NULL, id BLOB NOT NULL CHECK (id > 0), reward_id BLOB,\n\
        PRIMARY KEY (user_id, id), FOREIGN KEY (user_id, id) REFERENCES reward_requests (user_id, id)\n\
        ) WITH (fillfactor = 50);\nCREATE INDEX grants_id ON grants (id);\n\
        CREATE TABLE claim_queues (event_id BLOB PRIMARY KEY REFERENCES events (id)) STRICT;";
    assert_eq!(tables::faults(good), Vec::<String>::new());
}

#[test]
fn a_mismatched_scope_is_found() {
    let route = |scope: &str, guard: &str| {
        format!("#[utoipa::path(get, security((\"bearer\" = [{scope}])))]\nasync fn list(\n    _: {guard},\n) {{\n}}\n")
    };
    for (scope, guard) in [
        ("\"events:read\"", "EventsWrite"),
        ("\"events:read\"", "Principal"),
        ("", "EventsRead"),
        ("\"events:everything\"", "Principal"),
    ] {
        assert_eq!(scopes::faults(&route(scope, guard)).len(), 1, "{scope} {guard}");
    }
    for (scope, guard) in [("\"events:read\"", "EventsRead"), ("", "Principal")] {
        assert_eq!(scopes::faults(&route(scope, guard)), Vec::<String>::new());
    }
}

#[test]
fn a_violation_names_its_line_and_the_fix() {
    let broken = check(
        "host/src/events/service.rs",
        "//! Doc.\n\nfn f() {}\nuse crate::rewards::{\n    store,\n};\n",
    );
    assert_eq!(
        broken,
        [
            "host/src/events/service.rs:5: `crate::rewards::store`; a store is its feature's own: \
          call a function of rewards/service.rs"
        ]
    );
}
