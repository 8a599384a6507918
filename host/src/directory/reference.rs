//! How a request names a user: by the id that Meed gave, or by the external id. Must not know: the database.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::ExternalId;
use crate::problem::{FieldError, INVALID_PARAMETER, Problem};

/// Before an external id in a path.
const PREFIX: &str = "external:";

/// A user as a request names it. In a path it is the id, or `external:` and the external id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserRef {
    Id(Uuid),
    External(ExternalId),
}

impl UserRef {
    /// The user of an object with the members `userId` and `externalUserId`, of which it must have exactly one.
    pub fn of_members(user_id: Option<Uuid>, external: Option<&ExternalId>) -> Result<Self, FieldError> {
        match (user_id, external) {
            (Some(id), None) => Ok(Self::Id(id)),
            (None, Some(external)) => Ok(Self::External(external.clone())),
            (None, None) => Err(FieldError {
                pointer: "/userId".to_owned(),
                message: "is required, unless the user is named by externalUserId".to_owned(),
            }),
            (Some(_), Some(_)) => Err(FieldError {
                pointer: "/externalUserId".to_owned(),
                message: "names the user a second time; send either userId or externalUserId".to_owned(),
            }),
        }
    }

    /// The user of a list's filters `userId` and `externalUserId`, of which it has one at most.
    pub fn of_filters(user_id: Option<Uuid>, external: Option<ExternalId>) -> Result<Option<Self>, Problem> {
        match (user_id, external) {
            (None, None) => Ok(None),
            (Some(id), None) => Ok(Some(Self::Id(id))),
            (None, Some(external)) => Ok(Some(Self::External(external))),
            (Some(_), Some(_)) => Err(Problem::new(
                INVALID_PARAMETER,
                "userId and externalUserId both name a user; send one of them.",
            )),
        }
    }

    /// The name of the member that names the user in this way.
    pub fn member(&self) -> &'static str {
        match self {
            Self::Id(_) => "userId",
            Self::External(_) => "externalUserId",
        }
    }
}

impl From<Uuid> for UserRef {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

/// For error messages: `7f…` or `with the external id "customer-1047"`, after the word "user".
impl fmt::Display for UserRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::External(external) => write!(f, "with the external id {:?}", external.as_str()),
        }
    }
}

/// The form in paths.
impl FromStr for UserRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(external) = text.strip_prefix(PREFIX) {
            let external = external.parse();
            return external
                .map(Self::External)
                .map_err(|error| format!("the external id {error}"));
        }
        text.parse()
            .map(Self::Id)
            .map_err(|error| format!("{text:?} is neither the id of a user ({error}) nor {PREFIX} and an external id"))
    }
}

impl<'de> Deserialize<'de> for UserRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl PartialSchema for UserRef {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The id of the user, or `external:` and the percent-encoded external id",
            ))
            .examples(["0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "external:customer-1047"])
            .build()
            .into()
    }
}

impl ToSchema for UserRef {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_user_by_either_id() {
        let id = Uuid::from_u128(7);
        assert_eq!(id.to_string().parse(), Ok(UserRef::Id(id)));
        let external = UserRef::External("external:7".parse().unwrap());
        assert_eq!("external:external:7".parse(), Ok(external));
        for text in [
            "",
            "7",
            "me",
            "external",
            "external:",
            "External:7",
            "external:\u{200b}",
        ] {
            assert!(text.parse::<UserRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_object_names_its_user_once() {
        let (id, external) = (Uuid::from_u128(7), "7".parse::<ExternalId>().unwrap());
        let pointer = |id, external| UserRef::of_members(id, external).map_err(|error| error.pointer);
        assert_eq!(pointer(Some(id), None), Ok(UserRef::Id(id)));
        assert_eq!(pointer(None, Some(&external)), Ok(UserRef::External(external.clone())));
        assert_eq!(pointer(None, None), Err("/userId".to_owned()));
        assert_eq!(pointer(Some(id), Some(&external)), Err("/externalUserId".to_owned()));
        assert!(UserRef::of_filters(Some(id), Some(external)).is_err());
        assert_eq!(UserRef::of_filters(None, None).unwrap(), None);
    }
}
