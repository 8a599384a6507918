//! What a service reports about an action: its target and the changed fields. Must not know: who acts, the database.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use crate::db::text_column;

/// The largest value that is stored as it is. The log describes a longer one by its size and hash.
const MAX_VALUE_BYTES: usize = 4096;

/// Members that are never stored, in any object.
const SECRET: &[&str] = &[
    "secret",
    "seedSecret",
    "password",
    "accessToken",
    "refreshToken",
    "token",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
#[schema(as = AuditOutcome)]
pub(super) enum Outcome {
    Done,
    /// The server refused it and changed nothing
    Refused,
    /// The server failed; a change may have been made
    Failed,
}

text_column!(Outcome);

/// An action on a target.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) target: (&'static str, String),
    pub(super) changes: Map<String, Value>,
    pub(super) refused: Option<&'static str>,
    pub(super) task: Option<&'static str>,
}

impl Entry {
    pub fn about(kind: &'static str, id: &(impl ToString + ?Sized)) -> Self {
        Self {
            target: (kind, id.to_string()),
            changes: Map::new(),
            refused: None,
            task: None,
        }
    }

    /// Adds every member that differs. Of a created target `old` is `()`, of a deleted one `new`.
    #[must_use]
    pub fn between(mut self, old: &impl Serialize, new: &impl Serialize) -> Self {
        let members = |value: Option<Value>| match value {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let old = members(serde_json::to_value(old).ok());
        let new = members(serde_json::to_value(new).ok());
        let added = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(added) {
            let of = |members: &Map<String, Value>| members.get(name).cloned().unwrap_or(Value::Null);
            let (before, after) = (of(&old), of(&new));
            if before != after {
                self.set(name, before, after);
            }
        }
        self
    }

    /// Adds one field.
    #[must_use]
    pub fn field(mut self, name: &str, old: impl Serialize, new: impl Serialize) -> Self {
        self.set(name, json!(old), json!(new));
        self
    }

    /// The action was refused with this problem code, but changed something: the entry is part of the transaction.
    #[must_use]
    pub fn refused(mut self, code: &'static str) -> Self {
        self.refused = Some(code);
        self
    }

    /// The server acts by itself, whatever request it serves meanwhile. `task` says what it does.
    #[must_use]
    pub fn by_server(mut self, task: &'static str) -> Self {
        self.task = Some(task);
        self
    }

    fn set(&mut self, name: &str, old: Value, new: Value) {
        if !SECRET.contains(&name) {
            let change = json!({"old": stored(old), "new": stored(new)});
            self.changes.insert(name.to_owned(), change);
        }
    }
}

fn stored(mut value: Value) -> Value {
    remove_secrets(&mut value);
    let text = value.to_string();
    if text.len() <= MAX_VALUE_BYTES {
        return value;
    }
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    json!({"bytes": text.len(), "sha256": hex::encode(hash)})
}

fn remove_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !SECRET.contains(&name.as_str()));
            members.values_mut().for_each(remove_secrets);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_the_members_that_differ() {
        let old = json!({"title": "A", "tags": ["x"], "gone": 1});
        let new = json!({"title": "B", "tags": ["x"], "new": true});
        let entry = Entry::about("event", &7).between(&old, &new);
        let expected = json!({
            "title": {"old": "A", "new": "B"},
            "gone": {"old": 1, "new": null},
            "new": {"old": null, "new": true},
        });
        assert_eq!(Value::Object(entry.changes), expected);
        let created = Entry::about("event", &7).between(&(), &json!({"title": "A", "limit": null}));
        assert_eq!(
            Value::Object(created.changes),
            json!({"title": {"old": null, "new": "A"}})
        );
    }

    #[test]
    fn secrets_are_left_out_and_long_values_are_hashed() {
        let new = json!({"secret": "whsec_x", "inner": [{"seedSecret": "s", "kept": 1}], "long": "x".repeat(5000)});
        let changes = Value::Object(Entry::about("event", &7).between(&(), &new).changes);
        assert!(changes.get("secret").is_none(), "{changes}");
        assert_eq!(changes["inner"]["new"], json!([{"kept": 1}]));
        assert_eq!(changes["long"]["new"]["bytes"], 5002);
        assert!(changes.to_string().len() < 400, "{changes}");
    }
}
