//! Service keys as requests and responses show them.

use std::net::IpAddr;

use garde::Validate;
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Scope;
use crate::cache::Policy;
use crate::clock::Timestamp;
use crate::text::legible;

/// The longest list of sources or addresses.
const MAX_ITEMS: usize = 100;

/// A service key to create, or what replaces an existing one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "name": "shop back end", "scopes": ["activities:write", "claims:write", "claims:read"], "sources": ["shop"],
    "addresses": ["203.0.113.0/24"], "expiresAt": "2027-03-01T00:00:00Z",
}))]
pub struct NewServiceKey {
    /// What uses the key, as the audit log and receipts show it. No two keys that are not revoked have the same name
    #[garde(length(chars, min = 1, max = 100), custom(legible))]
    pub name: String,
    /// What the key permits; the security requirement of each route names its scope. `service-keys:write`,
    /// `releases:approve` and `releases:waive` are not possible
    #[garde(length(min = 1), custom(known_scopes))]
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<String>,
    /// The sources under which it may report activities, such as `shop`; omit it to allow any
    #[garde(inner(length(min = 1, max = MAX_ITEMS), inner(length(bytes, min = 1, max = 256))))]
    #[serde(default)]
    pub sources: Option<Vec<String>>,
    /// The addresses and networks that it may be used from; omit it to allow any
    #[garde(inner(length(min = 1, max = MAX_ITEMS), custom(networks)))]
    #[serde(default)]
    pub addresses: Option<Vec<String>>,
    /// When it ends; omit it for a key that does not
    #[garde(skip)]
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// How many requests it may make; omit it for `limits.service_key`
    #[garde(dive)]
    #[serde(default)]
    pub rate_limit: Option<KeyRate>,
    /// The change comes from a file: the server notes the new revision as `appliedRevision`, so that the next `meed apply`
    /// sees what others changed since
    #[garde(skip)]
    #[serde(default, skip_serializing)]
    #[schema(default = false)]
    pub applied: bool,
}

/// The rate limit of one service key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ServiceKeyRate)]
pub struct KeyRate {
    /// Requests at once
    #[garde(range(min = 1, max = 1_000_000))]
    #[schema(example = 2000)]
    pub burst: u32,
    /// Requests per minute in the long run
    #[garde(range(min = 1, max = 1_000_000))]
    #[schema(example = 60000)]
    pub per_minute: u32,
}

impl KeyRate {
    pub(super) fn policy(self) -> Option<Policy> {
        Policy::new("service-key", self.burst, self.per_minute)
    }
}

impl NewServiceKey {
    /// For callers that have no body to validate.
    pub fn check(&self) -> Result<(), String> {
        self.validate().map_err(|report| report.to_string())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn known_scopes(scopes: &[String], (): &()) -> garde::Result {
    for (index, name) in scopes.iter().enumerate() {
        let scope: Scope = name.parse().map_err(garde::Error::new)?;
        if scope == Scope::ServiceKeysWrite {
            return Err(garde::Error::new(format!(
                "no key can have the scope {scope}: it could give itself any other"
            )));
        }
        if [Scope::MakeGoodsApprove, Scope::ReleasesApprove, Scope::ReleasesWaive].contains(&scope) {
            return Err(garde::Error::new(format!(
                "no key can have the scope {scope}: it needs a person who is responsible"
            )));
        }
        if scopes[..index].contains(name) {
            return Err(garde::Error::new(format!("{name:?} occurs twice")));
        }
    }
    Ok(())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn networks(texts: &[String], (): &()) -> garde::Result {
    match texts.iter().find(|text| network(text).is_none()) {
        None => Ok(()),
        Some(text) => Err(garde::Error::new(format!(
            "{text:?} is neither an address nor a network such as 203.0.113.0/24"
        ))),
    }
}

/// An address is a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let address = || Some(IpNet::from(text.parse::<IpAddr>().ok()?.to_canonical()));
    text.parse().ok().or_else(address)
}

/// A service key, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceKey {
    pub id: Uuid,
    #[serde(flatten)]
    pub settings: NewServiceKey,
    pub revision: i64,
    /// The revision that `meed apply` wrote last; null: it never wrote it. A rotation is no change of what files say
    pub applied_revision: Option<i64>,
    /// The ADMIN who created it; null: the command line
    pub created_by: Option<Uuid>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Until when the secret before the latest rotation is valid; null: it is not
    pub previous_secret_until: Option<Timestamp>,
    /// The latest use, at most a minute late; null: never
    pub last_used_at: Option<Timestamp>,
    #[schema(example = "203.0.113.7")]
    pub last_used_address: Option<String>,
    /// The key is not valid since then
    pub revoked_at: Option<Timestamp>,
}

/// A service key with its secret, which only this response shows.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceKeySecret {
    #[serde(flatten)]
    pub key: ServiceKey,
    /// Send it as `Authorization: Bearer …`. It is not shown again
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String, example = "meed_sk_0199a3b05c1e7a518f5e0d6f2c1b9e779c1f…")]
    pub secret: SecretString,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(change: &serde_json::Value) -> Option<String> {
        let mut body = json!({"name": "shop", "scopes": ["activities:write"]});
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let key: NewServiceKey = serde_json::from_value(body).unwrap();
        key.validate().err().map(|report| report.to_string())
    }

    #[test]
    fn a_key_names_known_scopes_sources_and_networks() {
        for good in [
            json!({}),
            json!({"sources": ["shop"], "addresses": ["203.0.113.7", "2001:db8::/32"]}),
            json!({"rateLimit": {"burst": 1, "perMinute": 1}}),
        ] {
            assert_eq!(fault(&good), None, "{good}");
        }
        for bad in [
            json!({"name": ""}),
            json!({"name": "a\u{202e}b"}),
            json!({"scopes": []}),
            json!({"scopes": ["everything"]}),
            json!({"scopes": ["service-keys:write"]}),
            json!({"scopes": ["releases:approve"]}),
            json!({"scopes": ["releases:waive"]}),
            json!({"scopes": ["events:read", "events:read"]}),
            json!({"sources": []}),
            json!({"sources": [""]}),
            json!({"addresses": ["203.0.113.0/33"]}),
            json!({"addresses": ["shop.example.com"]}),
            json!({"rateLimit": {"burst": 0, "perMinute": 1}}),
        ] {
            assert!(fault(&bad).is_some(), "{bad}");
        }
    }
}
