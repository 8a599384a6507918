//! Converts between messages and what features take and return.
//!
//! The JSON of a message has the members and values of REST's JSON. So a document of a feature becomes a message by way of its
//! JSON, and there is no second list of its fields; a test compares the fields of both.

use buffa_types::google::protobuf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::directory::ExternalId;
use crate::http::PageParams;
use crate::problem::{FieldError, Problem};
use crate::watch::Closed;

/// A document of a feature as a message.
pub(super) fn of_document<M: DeserializeOwned>(document: &impl Serialize) -> Result<M, Problem> {
    let json = serde_json::to_string(document).map_err(Problem::internal)?;
    of_json(&json)
}

/// A stored response of REST as a message.
pub(super) fn of_json<M: DeserializeOwned>(json: &str) -> Result<M, Problem> {
    serde_json::from_str(json).map_err(Problem::internal)
}

/// A document that a stream tells as a message.
pub(super) fn told<M: DeserializeOwned>(document: &impl Serialize) -> Result<M, Closed> {
    of_document(document).map_err(|problem| {
        tracing::error!(?problem, "a message of a stream cannot be written");
        Closed::Error
    })
}

/// The value of an optional field, whose name in JSON is `member`.
pub(super) fn parsed<T>(
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, String>,
    member: &str,
) -> Result<Option<T>, Problem> {
    let value = text.map(parse).transpose();
    value.map_err(|message| Problem::field(format!("/{member}"), message))
}

/// The id in a field, whose name in JSON is `member`.
pub(super) fn id(text: &str, member: &str) -> Result<Uuid, FieldError> {
    text.parse().map_err(|error| FieldError {
        pointer: format!("/{member}"),
        message: format!("{text:?} is not a UUID: {error}"),
    })
}

/// The same, for a message that has no list.
pub(super) fn only_id(text: &str, member: &str) -> Result<Uuid, Problem> {
    id(text, member).map_err(|error| Problem::fields(vec![error]))
}

/// The page that a list asks for.
pub(super) fn page(size: Option<u32>, token: Option<&str>) -> PageParams {
    PageParams {
        page_size: size,
        page_token: token.map(str::to_owned),
    }
}

/// A user as a message names it.
#[derive(Debug, Default)]
pub(super) struct User {
    pub id: Option<Uuid>,
    pub external: Option<ExternalId>,
}

impl User {
    pub(super) fn by_id(text: &str) -> Result<Self, FieldError> {
        Ok(Self {
            id: Some(id(text, "userId")?),
            external: None,
        })
    }

    pub(super) fn by_external_id(text: &str) -> Result<Self, FieldError> {
        let external = text.parse().map_err(|message| FieldError {
            pointer: "/externalUserId".to_owned(),
            message,
        })?;
        Ok(Self {
            id: None,
            external: Some(external),
        })
    }

    pub(super) fn named(&self) -> (Option<Uuid>, Option<&ExternalId>) {
        (self.id, self.external.as_ref())
    }
}

/// An instant, rounded down to milliseconds.
pub(super) fn timestamp(at: &protobuf::Timestamp, member: &str) -> Result<Timestamp, FieldError> {
    let millis = at.seconds.checked_mul(1000);
    let millis = millis.and_then(|millis| millis.checked_add(i64::from(at.nanos) / 1_000_000));
    millis.and_then(Timestamp::from_millis).ok_or_else(|| FieldError {
        pointer: format!("/{member}"),
        message: format!("{} seconds is outside of the years 0001 to 9998", at.seconds),
    })
}
