//! The objects of the server, in the form of files. Must not know: files, plans.

use std::collections::HashMap;

use anyhow::Context as _;
use meed_author::client::Client;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::file::{Content, Event, EventGroup, PluginVersion, Reward, Rule, ServiceKey, Webhook};
use super::kind::Kind;

/// An object of the server.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub kind: Kind,
    pub name: String,
    pub content: Content,
    /// The last segment of its path. A plugin version has none.
    pub id: String,
    pub revision: i64,
    /// The revision that `meed apply` wrote last.
    pub applied_revision: Option<i64>,
    /// As the server shows it.
    pub shown: Value,
}

impl Found {
    /// Whether files manage it, and it has not changed since.
    pub(super) fn is_as_applied(&self) -> bool {
        self.applied_revision == Some(self.revision)
    }
}

/// The objects of some kinds.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    objects: HashMap<(Kind, String), Found>,
    /// Names of rewards by id.
    rewards: HashMap<String, String>,
}

impl Inventory {
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Found> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// In the order of kinds and names.
    pub(super) fn all(&self) -> Vec<&Found> {
        let mut all: Vec<&Found> = self.objects.values().collect();
        all.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        all
    }

    /// Reads the objects of a kind. Rewards must be read before events.
    pub(super) async fn read(&mut self, client: &Client, kind: Kind) -> anyhow::Result<()> {
        for shown in client.list(&[kind.collection()]).await? {
            if kind == Kind::ServiceKeys && !shown["revokedAt"].is_null() {
                continue;
            }
            let found = self
                .found(kind, shown)
                .with_context(|| format!("unexpected {} of the server", kind.noun()))?;
            if kind == Kind::Rewards {
                self.rewards.insert(found.id.clone(), found.name.clone());
            }
            self.objects.insert((kind, found.name.clone()), found);
        }
        Ok(())
    }

    fn found(&self, kind: Kind, shown: Value) -> anyhow::Result<Found> {
        let text = |member: &str| shown[member].as_str().unwrap_or_default().to_owned();
        let (name, id) = match kind {
            Kind::Plugins => (format!("{}@{}", text("name"), text("version")), String::new()),
            Kind::EventGroups => (text("name"), text("name")),
            _ => (text("name"), text("id")),
        };
        Ok(Found {
            kind,
            content: self.content(kind, &shown)?,
            name,
            id,
            revision: shown["revision"].as_i64().unwrap_or_default(),
            applied_revision: shown["appliedRevision"].as_i64(),
            shown,
        })
    }

    fn content(&self, kind: Kind, shown: &Value) -> anyhow::Result<Content> {
        Ok(match kind {
            Kind::Plugins => rule::<PluginVersion>(shown, &["digest"])?,
            Kind::EventGroups => rule::<EventGroup>(shown, &["maxPerUser"])?,
            Kind::Webhooks => rule::<Webhook>(shown, &["url", "description", "types", "acknowledges"])?,
            Kind::ServiceKeys => {
                rule::<ServiceKey>(shown, &["scopes", "sources", "addresses", "expiresAt", "rateLimit"])?
            }
            Kind::Rewards => {
                const MEMBERS: &[&str] = &[
                    "type",
                    "itemId",
                    "value",
                    "duration",
                    "description",
                    "stock",
                    "codes",
                    "codesLowWater",
                    "codesReturn",
                ];
                let mut content = rule::<Reward>(shown, MEMBERS)?;
                if content.contains_key("codes") {
                    // The number of imported codes is no rule.
                    content.remove("stock");
                }
                content
            }
            Kind::Events => {
                const MEMBERS: &[&str] = &[
                    "title",
                    "description",
                    "startDate",
                    "endDate",
                    "isActive",
                    "tags",
                    "timeZone",
                    "recurrence",
                    "budget",
                    "group",
                    "maxQuantity",
                    "respondAsync",
                ];
                let mut members = picked(shown, MEMBERS);
                let condition = &shown["condition"];
                let text = |member: &str| condition[member].as_str().unwrap_or_default().to_owned();
                members.insert(
                    "condition".to_owned(),
                    serde_json::json!({
                        "plugin": format!("{}@{}", text("plugin"), text("version")),
                        "params": condition["params"],
                    }),
                );
                let ids = shown["rewardIds"].as_array().into_iter().flatten();
                let names = ids.filter_map(Value::as_str).map(|id| {
                    // A reward that appeared since the rewards were read has its id here.
                    self.rewards.get(id).map_or(id, String::as_str).into()
                });
                members.insert("rewards".to_owned(), Value::Array(names.collect()));
                serde_json::from_value::<Event>(members.into())?.content()
            }
        })
    }
}

fn rule<T: Rule + DeserializeOwned>(shown: &Value, members: &[&str]) -> anyhow::Result<Content> {
    Ok(serde_json::from_value::<T>(picked(shown, members).into())?.content())
}

fn picked(shown: &Value, members: &[&str]) -> Map<String, Value> {
    let members = members.iter().filter(|member| !shown[**member].is_null());
    members
        .map(|member| ((*member).to_owned(), shown[*member].clone()))
        .collect()
}

/// The body of a request that makes an object have this content. `ids` are those of an event's rewards.
pub(super) fn body(kind: Kind, name: &str, content: &Content, ids: &HashMap<String, String>) -> Value {
    let mut body = content.clone();
    body.insert("applied".to_owned(), true.into());
    if kind != Kind::EventGroups {
        body.insert("name".to_owned(), name.into());
    }
    if kind == Kind::Events {
        if let Some(Value::Array(rewards)) = body.remove("rewards") {
            let of = |reward: &Value| {
                let name = reward.as_str().unwrap_or_default();
                Value::from(ids.get(name).map_or(name, String::as_str))
            };
            body.insert("rewardIds".to_owned(), rewards.iter().map(of).collect());
        }
        if let Some(Value::Object(condition)) = body.get_mut("condition") {
            let plugin = condition.get("plugin").and_then(Value::as_str).unwrap_or_default();
            let (plugin, version) = plugin.split_once('@').unwrap_or((plugin, ""));
            let (plugin, version) = (plugin.to_owned(), version.to_owned());
            condition.insert("plugin".to_owned(), plugin.into());
            condition.insert("version".to_owned(), version.into());
        }
    }
    body.into()
}
