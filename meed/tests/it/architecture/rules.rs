//! Which module may name what: the dependency rules, one `if` each.

use super::names::Name;

pub(super) const FEATURES: &[&str] = &[
    "audit",
    "auth",
    "directory",
    "users",
    "service_keys",
    "activities",
    "plugins",
    "events",
    "rewards",
    "trials",
    "releases",
    "fulfilments",
    "claims",
    "backtests",
    "make_goods",
    "webhooks",
    "console",
    "kafka",
    "rpc",
];

/// The modules below the features, which must not depend on them.
const BASE_MODULES: &[&str] = &[
    "db",
    "backoff",
    "batch",
    "cache",
    "background",
    "body",
    "canonical",
    "exact_json",
    "correlation",
    "http",
    "problem",
    "sandbox",
    "facts",
    "attributes",
    "personal_data",
    "outbox",
    "transparency",
    "merkle",
    "watch",
    "text",
    "name",
    "keys",
    "mail",
    "clock",
    "config",
    "contract",
];

/// May use HTTP besides `http`, `app` and the `routes`, because they read the principal from the request.
const EXTRACTORS: &[&str] = &[
    "auth/authenticate",
    "auth/guards",
    "auth/long_lived",
    "auth/same_origin",
    "auth/step_up",
    "service_keys/authenticate",
];

/// The commands that listen for HTTP.
const SERVERS: &[&str] = &["meed/serve", "meed/relay", "meed/demo/past"];

/// The modules of the host that the author's tools may use.
const AUTHOR_MAY_USE: &[&str] = &["claims", "clock", "contract", "exact_json", "plugins", "sandbox"];

const SQL: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE ",
    "PRAGMA ",
    " WHERE ",
    " JOIN ",
    "ORDER BY ",
    "ON CONFLICT",
    "RETURNING ",
];

/// Names that do not describe the content.
const NAMELESS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "mod"];

/// What to do about the file's name, if a rule forbids it.
pub(super) fn judge_file(file: &str) -> Option<&'static str> {
    let stem = file.rsplit('/').next()?.trim_end_matches(".rs");
    NAMELESS
        .contains(&stem)
        .then_some("the name does not say what is in the file; name the file after its subject")
}

/// The lines of a manifest that a rule forbids.
pub(super) fn judge_manifest(file: &str, text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| is_guest(file) && line.contains("meed-host"))
        .map(|(index, _)| {
            format!(
                "{file}:{}: `meed-host`; a plugin depends on the SDK only: move what both need into plugin-sdk/wit",
                index + 1
            )
        })
        .collect()
}

/// What to do about this name in this file, if a rule forbids it.
pub(super) fn judge(file: &str, name: &Name) -> Option<String> {
    if let Name::Path(path) = name
        && is_guest(file)
        && path[0] == "meed_host"
    {
        return Some("a plugin depends on the SDK only".to_owned());
    }
    let module = module_of(file)?;
    let parts: Vec<&str> = module.split('/').collect();
    if parts.contains(&"tests") {
        return None;
    }
    let top = parts[0];
    let holds_sql = ["db", "mutations"].contains(&top) || parts.contains(&"store");
    match name {
        Name::Text(text) if SQL.iter().any(|words| text.contains(words)) && !holds_sql => {
            Some("SQL is only in a store.rs and in db/: make it a function of the feature's store".to_owned())
        }
        Name::QueryCall if !holds_sql => {
            Some("only a store.rs and db/ may query the database: make it a function of the feature's store".to_owned())
        }
        // A mutation repeats a statement of a store.
        Name::Text(_) if top == "mutations" => None,
        Name::Text(text) => super::tables::judge(&module, text),
        Name::QueryCall => None,
        Name::Path(path) => judge_path(&module, &parts, &path.iter().map(String::as_str).collect::<Vec<_>>()),
    }
}

/// The modules that may use claims.
const BRING_CLAIMS: &[&str] = &[
    "claims",
    "backtests",
    "kafka",
    "make_goods",
    "rpc",
    "app",
    "author",
    "meed",
    "lib",
];

#[expect(clippy::too_many_lines, reason = "the list of all rules")]
fn judge_path(module: &str, parts: &[&str], path: &[&str]) -> Option<String> {
    let top = parts[0];
    let speaks_http =
        ["http", "app", "rpc"].contains(&top) || parts.contains(&"routes") || EXTRACTORS.contains(&module);
    // `crate::rewards::…`, `super::super::rewards` and, after a `use`, `rewards::…` name the module `rewards`.
    let is_module = |name: &&&str| !["crate", "super", "self", "meed_host"].contains(*name);
    // `self::activities::…` is a module of this file.
    let named = if path.len() > 1 && path[0] != "self" {
        path.iter().find(is_module).copied().unwrap_or_default()
    } else {
        ""
    };
    let is_right = path
        .windows(2)
        .any(|pair| pair[0] == "Release" && ["confirmed", "rolled_back"].contains(&pair[1]));
    if is_right && module != "releases/activation" {
        return Some(
            "only releases/activation.rs may change protected events: there is one way to activate and one way back"
                .to_owned(),
        );
    }
    if path.len() > 1 {
        match path[0] {
            "axum" | "utoipa_axum" if !speaks_http => {
                return Some(
                    "only http/, rpc/, app.rs and a routes.rs may use HTTP: return the feature's error or type, map it there"
                        .to_owned(),
                );
            }
            "crate" | "super" | "self" | "meed_host"
                if named == "http" && !speaks_http && !SERVERS.contains(&module) =>
            {
                return Some(
                    "only rpc/, app.rs, a routes.rs and the extractors of auth use http/: what needs no HTTP is in problem.rs, \
                     body.rs and correlation.rs"
                        .to_owned(),
                );
            }
            "sqlx" if top != "db" && !parts.contains(&"store") => {
                return Some("only db/ and a store.rs may use sqlx: use the interface of db.rs".to_owned());
            }
            "redis" if top != "cache" => {
                return Some("only cache/ may use Redis: use the interface of cache.rs".to_owned());
            }
            "lettre" if top != "mail" => {
                return Some("only mail.rs may use the SMTP client: use its interface".to_owned());
            }
            "rdkafka" if top != "kafka" => {
                return Some("only kafka/ may use the brokers' client: use the interface of kafka.rs".to_owned());
            }
            "connectrpc" | "buffa" | "buffa_types" | "meed_proto" if top != "rpc" => {
                return Some("only rpc/ may use messages: call a feature with its own types".to_owned());
            }
            "wasmparser" | "wit_component" if module == "author/package" => {}
            "wasmtime" | "wasmparser" | "wit_component" if top != "sandbox" => {
                return Some("only sandbox/ may use the engine: add what you need to its interface".to_owned());
            }
            _ => {}
        }
    }
    if let Some(feature) = path
        .windows(2)
        .find_map(|pair| (pair[1] == "store" && FEATURES.contains(&pair[0])).then_some(pair[0]))
        && top != feature
    {
        return Some(format!(
            "a store is its feature's own: call a function of {feature}/service.rs"
        ));
    }
    // `kafka` and `rpc` bring claims, as `claims/routes` does; `backtests` and `make_goods` decide as claims do.
    if named == "claims" && !BRING_CLAIMS.contains(&top) {
        return Some(
            "`claims` may use the other features, and only `backtests`, `kafka`, `make_goods` and `rpc` may use `claims`: invert the dependency"
                .to_owned(),
        );
    }
    if top == "author" && path[0] == "meed_host" && !named.is_empty() && !AUTHOR_MAY_USE.contains(&named) {
        return Some(
            "the author's tools run without a server: they may use the sandbox, cases and receipts".to_owned(),
        );
    }
    // The audit log names principals, and auth records logouts in it.
    if top == "auth" && FEATURES.contains(&named) && ![top, "audit"].contains(&named) {
        return Some(
            "auth is below the features, which use its principals and sessions: pass in what it needs".to_owned(),
        );
    }
    if BASE_MODULES.contains(&top) && (FEATURES.contains(&named) || ["app", "cli"].contains(&named)) && named != top {
        return Some(format!(
            "{top} is below the features and must not use them: pass in what it needs"
        ));
    }
    // facts.rs is the interface and calls the store, and some files maintain facts in the database; facts/* only compute.
    let maintains = ["store", "builder", "compaction", "needs", "seed", "upkeep", "verify"];
    if top == "facts" && parts.len() > 1 && !maintains.contains(&parts[1]) {
        let reaches_out = match path {
            ["crate", "db", "text_column"] => false,
            ["tokio" | "async", ..]
            | ["std", "fs" | "env" | "net" | "process" | "thread", ..]
            | ["std", "time", "Instant" | "SystemTime", ..]
            | ["crate", "clock", "Clock", ..] => true,
            _ => ["db", "cache", "http", "config"].contains(&named),
        };
        if reaches_out {
            return Some("facts are computed from what facts/store.rs read: pass it in, or move this there".to_owned());
        }
    }
    None
}

/// `db/migrate` for a file of the host, `meed/serve` and `author/package` for those above it.
fn module_of(file: &str) -> Option<String> {
    let (package, module) = file.trim_end_matches(".rs").split_once("/src/")?;
    match package {
        "host" => Some(module.to_owned()),
        "meed" | "author" => Some(format!("{package}/{module}")),
        _ => None,
    }
}

fn is_guest(file: &str) -> bool {
    ["plugins/", "cookbook/", "plugin-sdk/"]
        .iter()
        .any(|folder| file.starts_with(folder))
}
