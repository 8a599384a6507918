//! Tables have owners. A store names only the tables of its own feature, except for the crossings listed here. The
//! migrations keep the rows of a user together, so that they can be on one shard.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What distributes a table's rows over shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharding {
    /// The rows belong to users: the column with the user's id.
    User(&'static str),
    /// Every shard needs the rows, or they belong to no user.
    Shared,
}

use Sharding::{Shared, User};

/// Every table, the feature that owns it, and its sharding key.
const TABLES: &[(&str, &str, Sharding)] = &[
    ("server_metadata", "db", Shared),
    ("users", "users", User("id")),
    ("user_directory", "users", Shared),
    ("user_attributes", "users", User("user_id")),
    ("password_resets", "users", User("user_id")),
    ("second_factors", "users", User("user_id")),
    ("recovery_codes", "users", User("user_id")),
    ("email_confirmations", "users", User("user_id")),
    ("mails", "users", Shared),
    ("user_erasures", "users", User("user_id")),
    ("sessions", "auth", User("user_id")),
    ("refresh_tokens", "auth", User("user_id")),
    ("activities", "activities", User("user_id")),
    ("activity_directory", "activities", Shared),
    ("activity_sources", "activities", Shared),
    ("pending_invitations", "activities", User("user_id")),
    ("fact_series", "facts", Shared),
    ("fact_needs", "facts", Shared),
    ("fact_heads", "facts", User("user_id")),
    ("fact_marks", "facts", User("user_id")),
    ("fact_days", "facts", User("user_id")),
    ("fact_horizons", "facts", Shared),
    ("fact_compactions", "facts", User("user_id")),
    ("plugin_versions", "plugins", Shared),
    ("plugin_modules", "plugins", Shared),
    ("plugin_names", "plugins", Shared),
    ("plugin_keys", "plugins", Shared),
    ("plugin_signatures", "plugins", Shared),
    ("plugin_history", "plugins", Shared),
    ("plugin_usage", "plugins", Shared),
    ("event_groups", "events", Shared),
    ("events", "events", Shared),
    ("event_revisions", "events", Shared),
    ("event_budgets", "events", Shared),
    ("live_events", "events", Shared),
    ("releases", "releases", Shared),
    ("release_entries", "releases", Shared),
    ("release_counters", "trials", Shared),
    ("release_divergences", "trials", User("user_id")),
    ("rewards", "rewards", Shared),
    ("reward_revisions", "rewards", Shared),
    ("reward_stock", "rewards", Shared),
    ("reward_code_keys", "rewards", Shared),
    ("reward_codes", "rewards", Shared),
    ("granted_codes", "rewards", Shared),
    ("event_rewards", "rewards", Shared),
    ("reward_requests", "claims", User("user_id")),
    ("receipt_terms", "claims", Shared),
    ("grants", "claims", User("user_id")),
    ("reversals", "claims", User("user_id")),
    ("idempotency_keys", "claims", User("user_id")),
    ("pending_claims", "claims", User("user_id")),
    ("claim_queues", "claims", Shared),
    ("backtests", "backtests", Shared),
    ("backtest_shards", "backtests", Shared),
    ("make_goods", "make_goods", Shared),
    ("make_good_entries", "make_goods", User("user_id")),
    ("fulfilments", "fulfilments", User("user_id")),
    ("outbox", "outbox", Shared),
    ("outbox_topics", "outbox", Shared),
    ("outbox_topic_messages", "outbox", Shared),
    ("webhook_endpoints", "webhooks", Shared),
    ("webhook_deliveries", "webhooks", Shared),
    ("audit_log", "audit", Shared),
    ("transparency_queue", "transparency", Shared),
    ("transparency_leaves", "transparency", Shared),
    ("transparency_tiles", "transparency", Shared),
    ("transparency_checkpoints", "transparency", Shared),
    ("transparency_log", "transparency", Shared),
    ("transparency_removals", "transparency", Shared),
    ("service_keys", "service_keys", Shared),
];

/// How a statement uses a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Reads,
    Writes,
}

use Access::{Reads, Writes};

/// The stores that name tables of another feature, and why.
const CROSSINGS: &[(&str, &[(&str, Access)])] = &[
    // Which ids exist, to name the item of a batch whose user does not.
    ("activities/store", &[("users", Reads)]),
    // The check of a request is one statement: session, role and state.
    ("auth/store", &[("users", Reads)]),
    // Requests of features below `users` name users by external ids, and may create them.
    (
        "directory/store",
        &[
            ("users", Reads),
            ("users", Writes),
            ("user_directory", Reads),
            ("user_directory", Writes),
        ],
    ),
    // A claim notes which stock its grant was taken from.
    ("claims/store/commit_rows", &[("reward_stock", Reads)]),
    // A batch of claims is committed by one statement.
    (
        "claims/store/commit_postgres",
        &[
            ("events", Reads),
            ("event_budgets", Reads),
            ("event_budgets", Writes),
            ("granted_codes", Writes),
            ("outbox", Writes),
            ("reward_stock", Reads),
            ("reward_stock", Writes),
            ("transparency_queue", Writes),
        ],
    ),
    // The database must page a list that shows one state of fulfilment.
    ("claims/store/grants", &[("fulfilments", Reads)]),
    // A review grants nothing to a user whose account is disabled.
    ("claims/store/reviews", &[("users", Reads)]),
    // A pending claim of an unknown user could never be decided.
    ("claims/store/queue", &[("users", Reads)]),
    // One statement answers a whole plan.
    ("facts/store", &[("users", Reads)]),
    ("facts/store/activities", &[("activities", Reads), ("users", Reads)]),
    // A reader must know who registered later.
    ("facts/store/compacted", &[("users", Reads)]),
    // Old activities are deleted together with the note that what is maintained replaces them; a repeated report stays a
    // duplicate.
    (
        "facts/store/compactions",
        &[
            ("activities", Reads),
            ("activities", Writes),
            ("activity_directory", Reads),
            ("activity_directory", Writes),
            ("users", Reads),
        ],
    ),
    // What is maintained is built from the log.
    ("facts/store/heads", &[("activities", Reads)]),
    ("facts/store/maintained", &[("activities", Reads)]),
    ("facts/store/marks", &[("activities", Reads)]),
    // A series looks for users with many activities.
    ("facts/store/series", &[("users", Reads)]),
    ("facts/store/attributes", &[("user_attributes", Reads)]),
    (
        "facts/store/grants",
        &[
            ("event_budgets", Reads),
            ("event_groups", Reads),
            ("event_rewards", Reads),
            ("reversals", Reads),
            ("reward_requests", Reads),
            ("reward_stock", Reads),
        ],
    ),
    // A backtest replays what users did, as it is stored.
    (
        "backtests/store/history",
        &[
            ("activities", Reads),
            ("grants", Reads),
            ("reversals", Reads),
            ("reward_requests", Reads),
            ("user_attributes", Reads),
            ("user_erasures", Reads),
            ("users", Reads),
        ],
    ),
    // A source, and the name of a plugin, are given to a principal that exists.
    ("activities/store/sources", &[("service_keys", Reads), ("users", Reads)]),
    ("plugins/store/names", &[("service_keys", Reads), ("users", Reads)]),
    // The history of a case, in a temporary database.
    (
        "plugins/cases/store",
        &[
            ("activities", Writes),
            ("user_attributes", Writes),
            ("users", Reads),
            ("users", Writes),
        ],
    ),
    // The state of a fulfilment is copied to its grant, so that an index can find grants by it.
    ("fulfilments/store", &[("grants", Writes)]),
    // What an event can give out depends on its budget; a reward that a live event offers may be protected.
    ("rewards/store/liability", &[("events", Reads), ("live_events", Reads)]),
    // A delivery is shown and ordered with its message.
    ("webhooks/store/deliveries", &[("outbox", Reads)]),
    // A message is deleted when every endpoint and topic has it; the outbox does not know endpoints.
    (
        "webhooks/store/sweep",
        &[
            ("outbox", Reads),
            ("outbox", Writes),
            ("outbox_topic_messages", Reads),
            ("outbox_topics", Reads),
        ],
    ),
];

fn owner(table: &str) -> Option<(&'static str, Sharding)> {
    let found = TABLES.iter().find(|(name, ..)| *name == table)?;
    Some((found.1, found.2))
}

/// The tables that an SQL text names after `FROM`, `JOIN`, `USING`, `INTO` and `UPDATE`.
fn accesses(sql: &str) -> BTreeSet<(&'static str, Access)> {
    let words: Vec<&str> = sql
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let before = |at: usize| at.checked_sub(1).map(|at| words[at]);
    let mut found = BTreeSet::new();
    for (at, pair) in words.windows(2).enumerate() {
        let access = match pair[0] {
            "FROM" if before(at) == Some("DELETE") => Writes,
            "INTO" | "UPDATE" => Writes,
            "FROM" | "JOIN" | "USING" => Reads,
            _ => continue,
        };
        let table = TABLES.iter().find(|(name, ..)| *name == pair[1]);
        found.extend(table.map(|(name, ..)| (*name, access)));
    }
    found
}

/// Whether this module may name the table.
fn is_allowed(module: &str, table: &str, access: Access) -> bool {
    let top = module.split('/').next();
    let is_own = owner(table).is_some_and(|(owner, _)| Some(owner) == top);
    let crossings = CROSSINGS.iter().filter(|(file, _)| *file == module);
    is_own
        || crossings
            .flat_map(|(_, tables)| *tables)
            .any(|crossing| *crossing == (table, access))
}

/// What to do about a foreign table in this SQL text.
pub(super) fn judge(module: &str, sql: &str) -> Option<String> {
    let (table, access) = accesses(sql)
        .into_iter()
        .find(|(table, access)| !is_allowed(module, table, *access))?;
    let does = match access {
        Reads => "reads",
        Writes => "writes",
    };
    let (owner, _) = owner(table)?;
    Some(format!(
        "it {does} `{table}`, a table of `{owner}`: call a function of {owner}/service.rs, or add a crossing to \
         architecture/tables.rs and say why"
    ))
}

/// A table as a migration creates it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    /// The columns of the primary key and of each unique key.
    keys: BTreeSet<Vec<String>>,
    /// Own columns, the other table, its columns.
    references: BTreeSet<(Vec<String>, String, Vec<String>)>,
}

/// The columns between the first parentheses.
fn columns(text: &str) -> Vec<String> {
    let inside = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let inside = inside.map_or("", |(inside, _)| inside);
    inside.split(',').map(|column| column.trim().to_owned()).collect()
}

/// Splits at the commas outside parentheses.
fn items(body: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    body.split(|letter: char| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

/// The tables that these statements create. An unknown statement is an error: add it here.
fn schema(sql: &str) -> Result<BTreeMap<String, Table>, String> {
    let lines = sql.lines().filter(|line| !line.trim_start().starts_with("--"));
    let sql = lines.collect::<Vec<_>>().join(" ");
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for statement in sql.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        if let Some(rest) = statement.strip_prefix("CREATE UNIQUE INDEX ") {
            let (_, on) = rest.split_once(" ON ").ok_or(statement)?;
            let table = on.split_whitespace().next().unwrap_or_default();
            tables.entry(table.to_owned()).or_default().keys.insert(columns(on));
        } else if let Some(rest) = statement.strip_prefix("CREATE TABLE ") {
            let (name, rest) = rest.split_once('(').ok_or(statement)?;
            let (body, _) = rest.rsplit_once(')').ok_or(statement)?;
            // Clauses after the body, such as WITH (…), have their own parentheses.
            let body = body.rsplit_once(") WITH (").map_or(body, |(body, _)| body);
            let table = tables.entry(name.trim().to_owned()).or_default();
            for item in items(body) {
                let column = item.split_whitespace().next().unwrap_or_default().to_owned();
                let of_table =
                    item.starts_with("PRIMARY KEY") || item.starts_with("UNIQUE") || item.starts_with("FOREIGN");
                let own = if of_table { columns(item) } else { vec![column] };
                if item.contains("PRIMARY KEY") || item.split_whitespace().any(|word| word == "UNIQUE") {
                    table.keys.insert(own.clone());
                }
                if let Some((_, to)) = item.split_once("REFERENCES ") {
                    let other = to.split([' ', '(']).next().unwrap_or_default().to_owned();
                    table.references.insert((own, other, columns(to)));
                }
            }
        } else if let Some((name, item)) = statement
            .strip_prefix("ALTER TABLE ")
            .and_then(|rest| rest.split_once(" ADD COLUMN "))
        {
            let table = tables.entry(name.trim().to_owned()).or_default();
            let column = item.split_whitespace().next().unwrap_or_default().to_owned();
            if let Some((_, to)) = item.split_once("REFERENCES ") {
                let other = to.split([' ', '(']).next().unwrap_or_default().to_owned();
                table.references.insert((vec![column], other, columns(to)));
            }
        } else if !statement.starts_with("CREATE INDEX ") && !statement.starts_with("INSERT INTO transparency_queue ") {
            return Err(statement.to_owned());
        }
    }
    Ok(tables)
}

/// The violations in these tables.
pub(super) fn faults(sql: &str) -> Vec<String> {
    let tables = match schema(sql) {
        Ok(tables) => tables,
        Err(statement) => return vec![format!("architecture/tables.rs cannot read: {statement}")],
    };
    let mut faults = Vec::new();
    for (name, table) in &tables {
        let Some((_, sharding)) = owner(name) else {
            faults.push(format!("{name} has no owner: add it to architecture/tables.rs"));
            continue;
        };
        for key in &table.keys {
            if let User(user_id) = sharding
                && key[0] != user_id
            {
                faults.push(format!(
                    "{name}: a key of a user's table begins with {user_id}, not {key:?}"
                ));
            }
        }
        for (own, other, theirs) in &table.references {
            let fault = match (sharding, owner(other).map(|(_, sharding)| sharding)) {
                (Shared, Some(Shared)) => None,
                (User(user_id), Some(User(their_user_id))) => (own[0] != user_id || theirs[0] != their_user_id)
                    .then_some("between users' tables a foreign key begins with the user's id"),
                (User(_), _) => Some("a user's table has no foreign key to a shared one"),
                (Shared, _) => Some("a shared table has no foreign key to a user's one; an actor is a principal id"),
            };
            faults.extend(fault.map(|fault| format!("{name} ({}) to {other}: {fault}", own.join(", "))));
        }
    }
    faults
}

fn migrations(engine: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(engine);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).expect("a migration"));
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn migrations_keep_one_users_rows_together() {
    let (sqlite, postgres) = (migrations("sqlite"), migrations("postgres"));
    assert_eq!(faults(&postgres), Vec::<String>::new());
    let tables = schema(&postgres).expect("statements that are understood");
    assert_eq!(schema(&sqlite).expect("statements that are understood"), tables);
    let listed: BTreeSet<&str> = TABLES.iter().map(|(name, ..)| *name).collect();
    let created: BTreeSet<&str> = tables.keys().map(String::as_str).collect();
    assert_eq!(listed, created);
    assert!(tables.values().all(|table| !table.keys.is_empty()));
}

#[test]
fn every_listed_crossing_is_used() {
    let mut unused: BTreeSet<(&str, &str, Access)> = CROSSINGS
        .iter()
        .flat_map(|(file, tables)| tables.iter().map(move |(table, access)| (*file, *table, *access)))
        .collect();
    for (file, _) in CROSSINGS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../host/src/{file}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (_, name) in super::names::of(text.parse().expect("tokens")) {
            if let super::names::Name::Text(sql) = name {
                for (table, access) in accesses(&sql) {
                    unused.remove(&(*file, table, access));
                }
            }
        }
    }
    assert!(unused.is_empty(), "remove these crossings: {unused:?}");
}
