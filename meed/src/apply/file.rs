//! The form of a file: its sections and their members, with the names of the API. Must not know: where a file is, the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use utoipa::{PartialSchema, ToSchema};

use meed_host::clock::Timestamp;
use meed_host::events::{Budget, Recurrence};
use meed_host::facts::Zone;
use meed_host::service_keys::KeyRate;

/// Objects by name, each with its place in the file.
pub(super) type Section<T> = Option<BTreeMap<String, Spanned<T>>>;

/// The rules of a Meed server. Members that are left out have the defaults of the API.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[expect(dead_code, reason = "reading it is the check")]
    api_version: ApiVersion,
    /// Plugin versions by name and version, such as login-streak@1.0.0
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, PluginVersion>>)]
    pub plugins: Section<PluginVersion>,
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Reward>>)]
    pub rewards: Section<Reward>,
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, EventGroup>>)]
    pub event_groups: Section<EventGroup>,
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Event>>)]
    pub events: Section<Event>,
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Webhook>>)]
    pub webhooks: Section<Webhook>,
    /// Never with a token: a new key is created only with --create-keys
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, ServiceKey>>)]
    pub service_keys: Section<ServiceKey>,
}

/// The version of the form.
#[derive(Debug, Deserialize, ToSchema)]
enum ApiVersion {
    #[serde(rename = "meed/v1")]
    V1,
}

/// A plugin version that the server has, or gets. A version never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PluginVersion {
    /// The module, relative to this file. It is uploaded if the server does not have it, with the signature beside it
    /// (FILE.minisig), if there is one
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "login_streak.wasm")]
    pub file: Option<String>,
    /// The digest of the uploaded bytes, which the server must have
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^sha256:[0-9a-f]{64}$")]
    pub digest: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RewardRule)]
pub(super) struct Reward {
    /// An upper-case word of your choice
    #[serde(rename = "type")]
    #[schema(example = "COUPON", pattern = "^[A-Z][A-Z0-9_]*$")]
    pub type_: String,
    /// The item's id in the game or shop
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<String>,
    /// Points, or minor units of money
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub value: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "P30D")]
    pub duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How many can be granted in total, including those that were granted. What is left follows from it
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    pub stock: Option<i64>,
    /// Whether each grant gets a unique code. It never changes; the codes are imported with the API
    #[serde(default, skip_serializing_if = "is_default")]
    pub codes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub codes_low_water: Option<i64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub codes_return: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EventGroupRule)]
pub(super) struct EventGroup {
    /// How many grants of all events of the group a user may have
    #[schema(minimum = 1, maximum = 1000)]
    pub max_per_user: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = EventRule)]
pub(super) struct Event {
    pub title: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub description: String,
    pub start_date: Timestamp,
    pub end_date: Timestamp,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[schema(default = true)]
    pub is_active: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    /// Names of rewards, of a file or of the server
    #[schema(min_items = 1, max_items = 32)]
    pub rewards: Vec<String>,
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    #[schema(example = "Asia/Seoul", default = "UTC")]
    pub time_zone: String,
    pub condition: Condition,
    #[serde(default, skip_serializing_if = "is_once")]
    pub recurrence: Recurrence,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The name of an event group
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schema(default = 1, minimum = 1, maximum = 1000)]
    pub max_quantity: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub respond_async: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ConditionRule)]
pub(super) struct Condition {
    /// Name and version of a plugin
    #[schema(example = "login-streak@1.0.0", pattern = "^[^@]+@[^@]+$")]
    pub plugin: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = BTreeMap<String, Value>)]
    pub params: Map<String, Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = WebhookRule)]
pub(super) struct Webhook {
    #[schema(example = "https://shop.example.com/meed")]
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The message types that it receives; all if it is missing or empty
    #[serde(default, skip_serializing_if = "is_default")]
    pub types: Vec<String>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[schema(default = true)]
    pub acknowledges: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ServiceKeyRule)]
pub(super) struct ServiceKey {
    #[schema(min_items = 1)]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<KeyRate>,
}

/// The members of an object, without those that have their default. Two objects say the same if these are equal.
pub(super) type Content = Map<String, Value>;

/// Something with a content.
pub(super) trait Rule: Serialize {
    /// Gives each value its one spelling.
    fn normalize(&mut self) {}

    fn content(mut self) -> Content
    where
        Self: Sized,
    {
        self.normalize();
        let Ok(Value::Object(mut content)) = serde_json::to_value(&self) else {
            return Content::new();
        };
        for member in ["budget", "rateLimit"] {
            if let Some(Value::Object(members)) = content.get_mut(member) {
                members.retain(|_, value| !value.is_null());
            }
        }
        content
    }
}

impl Rule for PluginVersion {}
impl Rule for Reward {}
impl Rule for EventGroup {}
impl Rule for Webhook {}
impl Rule for ServiceKey {}

impl Rule for Event {
    fn normalize(&mut self) {
        if let Ok(zone) = self.time_zone.parse::<Zone>() {
            zone.name().clone_into(&mut self.time_zone);
        }
        self.condition.params.values_mut().for_each(plain_numbers);
    }
}

/// Writes whole numbers as integers, as the server does with `7.0` and `7e0`.
fn plain_numbers(value: &mut Value) {
    const LARGEST: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = float.filter(|float| float.fract() == 0.0 && float.abs() <= LARGEST) {
                #[expect(clippy::cast_possible_truncation, reason = "whole, and small enough")]
                let integer = float as i64;
                *value = integer.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(members) => members.values_mut().for_each(plain_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The JSON Schema of a file, for editors.
pub(crate) fn schema() -> anyhow::Result<Value> {
    let mut parts = Vec::new();
    Document::schemas(&mut parts);
    let definitions: BTreeMap<String, Value> = parts
        .into_iter()
        .map(|(name, schema)| Ok((name, serde_json::to_value(schema)?)))
        .collect::<anyhow::Result<_>>()?;
    let mut schema = serde_json::to_value(Document::schema())?;
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Rules of a Meed server (meed apply)".into();
    schema["$defs"] = serde_json::to_value(definitions)?;
    let text = serde_json::to_string(&schema)?.replace("#/components/schemas/", "#/$defs/");
    Ok(serde_json::from_str(&text)?)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_once(recurrence: &Recurrence) -> bool {
    *recurrence == Recurrence::default()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_true(value: &bool) -> bool {
    *value
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

fn utc() -> String {
    "UTC".to_owned()
}

fn is_utc(zone: &str) -> bool {
    zone == "UTC"
}
