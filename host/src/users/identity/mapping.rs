//! What the claims of a token say about its user: the external id, attributes and the role.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::attributes::{self, Attributes};
use crate::auth::Role;
use crate::directory::ExternalId;

/// How claims become users, from the settings.
#[derive(Debug)]
pub(in crate::users) struct Mapping {
    external_id_claim: String,
    external_id_prefix: String,
    /// Name and claim.
    attributes: Vec<(String, String)>,
    /// The claim, and the role of each of its values.
    roles: Option<(String, BTreeMap<String, Role>)>,
}

/// What a token says about its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::users) struct Identity {
    pub external_id: ExternalId,
    /// Those whose claims the token has.
    pub attributes: BTreeMap<String, String>,
    /// `None`: the settings name no claim for roles.
    pub role: Option<Role>,
    /// Whether a value of the claim has a role; otherwise `role` is USER.
    pub has_mapped_role: bool,
}

impl Mapping {
    pub(in crate::users) fn new(
        (claim, prefix): (&str, &str),
        attributes: &BTreeMap<String, String>,
        (roles_claim, roles): (&str, &BTreeMap<String, String>),
    ) -> Result<Self, String> {
        if let Some(name) = attributes.keys().find(|name| !attributes::is_name(name)) {
            return Err(format!(
                "attributes: {name:?} is not an attribute name: use 1 to 64 of A-Z a-z 0-9 . _ -"
            ));
        }
        let role = |(value, role): (&String, &String)| {
            let role = role
                .parse::<Role>()
                .map_err(|fault| format!("roles: {value:?}: {fault}"))?;
            Ok::<_, String>((value.clone(), role))
        };
        let roles = roles.iter().map(role).collect::<Result<_, _>>()?;
        Ok(Self {
            external_id_claim: claim.to_owned(),
            external_id_prefix: prefix.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, claim)| (name.clone(), claim.clone()))
                .collect(),
            roles: (!roles_claim.is_empty()).then(|| (roles_claim.to_owned(), roles)),
        })
    }

    pub(in crate::users) fn read(&self, claims: &Map<String, Value>) -> Result<Identity, String> {
        let id = match find(claims, &self.external_id_claim) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            other => return Err(format!("{}: {other:?} is not an id", self.external_id_claim)),
        };
        let external_id = format!("{}{id}", self.external_id_prefix).parse();
        let external_id = external_id.map_err(|fault| format!("{}: {id:?} {fault}", self.external_id_claim))?;
        let mut attributes = BTreeMap::new();
        for (name, claim) in &self.attributes {
            let Some(value) = find(claims, claim) else { continue };
            match serde_json::from_value::<Attributes>(json!({ name: value })) {
                Ok(Attributes(one)) => attributes.extend(one),
                Err(fault) => tracing::debug!(claim, %fault, "claim is no attribute"),
            }
        }
        let mapped = self.roles.as_ref().map(|(claim, roles)| {
            let values = find(claims, claim);
            let values = match values {
                Some(Value::Array(values)) => values.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            let given = values.iter().filter_map(|value| roles.get(value.as_str()?));
            given.copied().max_by_key(|role| power(*role))
        });
        Ok(Identity {
            external_id,
            attributes,
            role: mapped.map(|role| role.unwrap_or(Role::User)),
            has_mapped_role: mapped.flatten().is_some(),
        })
    }
}

/// A claim by its name, or a claim within another one by its JSON Pointer.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = if let Some(path) = name.strip_prefix('/') {
        let (first, rest) = path
            .split_once('/')
            .map_or((path, ""), |(first, _)| (first, &path[first.len()..]));
        claims.get(&first.replace("~1", "/").replace("~0", "~"))?.pointer(rest)
    } else {
        claims.get(name)
    };
    found.filter(|value| !value.is_null())
}

fn power(role: Role) -> u8 {
    match role {
        Role::User => 0,
        Role::Auditor => 1,
        Role::Operator => 2,
        Role::Admin => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        let attributes = [
            ("level", "level"),
            ("region", "/profile/region"),
            ("vip", "https://shop.example/vip"),
        ];
        let roles = [("Shop.Ops", "OPERATOR"), ("root", "ADMIN"), ("players", "USER")];
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            pairs.collect::<BTreeMap<_, _>>()
        };
        Mapping::new(
            ("sub", "game:"),
            &owned(&attributes),
            ("/realm~1a/roles", &owned(&roles)),
        )
        .unwrap()
    }

    fn read(claims: Value) -> Result<Identity, String> {
        let Value::Object(claims) = claims else { unreachable!() };
        mapping().read(&claims)
    }

    #[test]
    fn claims_become_an_id_and_attributes() {
        let identity = read(json!({
            "sub": "7", "level": 42, "profile": {"region": "KR"}, "https://shop.example/vip": true,
        }));
        let identity = identity.unwrap();
        assert_eq!(identity.external_id.as_str(), "game:7");
        let expected = [("level", "42"), ("region", "KR"), ("vip", "true")];
        assert!(
            identity
                .attributes
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected)
        );
        assert_eq!((identity.role, identity.has_mapped_role), (Some(Role::User), false));
        assert_eq!(read(json!({"sub": 7})).unwrap().external_id.as_str(), "game:7");
    }

    #[test]
    fn a_claim_that_is_no_attribute_is_left_out() {
        let identity = read(json!({"sub": "7", "level": [1], "profile": {"region": null}})).unwrap();
        assert_eq!(identity.attributes, BTreeMap::new());
    }

    #[test]
    fn the_most_powerful_mapped_role_counts() {
        let role = |roles: Value| read(json!({"sub": "7", "realm/a": {"roles": roles}})).unwrap().role;
        assert_eq!(role(json!(["Shop.Ops", "root", "else"])), Some(Role::Admin));
        assert_eq!(role(json!(["players", "Shop.Ops"])), Some(Role::Operator));
        assert_eq!(role(json!("root")), Some(Role::Admin));
        for nothing in [
            json!(["ROOT", "ADMIN", 7]),
            json!({"root": true}),
            json!(true),
            Value::Null,
        ] {
            assert_eq!(role(nothing), Some(Role::User));
        }
    }

    #[test]
    fn a_token_without_a_usable_id_names_nobody() {
        for id in [
            json!(""),
            json!(null),
            json!(1.5),
            json!(["7"]),
            json!("a\u{200b}"),
            json!("x".repeat(255)),
        ] {
            assert!(read(json!({ "sub": id })).is_err(), "{id}");
        }
        assert!(read(json!({})).is_err());
    }
}
