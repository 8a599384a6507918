//! Problems (RFC 9457): the form of every refusal, over every protocol.
//!
//! A problem has a stable code, a detail for people, faults of single fields, and further members. `http/problem.rs`
//! makes an HTTP response of it; Kafka puts it into the headers of a dead letter. Must not know: axum, any feature.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::db::DbError;

/// A kind of problem. `code` is stable: clients may branch on it. The OpenAPI document lists all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    /// An HTTP status, which is part of a problem (RFC 9457). Other protocols map it to their own.
    pub status: u16,
    pub title: &'static str,
    /// An example, in JSON, of the members that only this problem has.
    pub members: &'static str,
}

impl Code {
    pub const fn new(code: &'static str, status: u16, title: &'static str) -> Self {
        Self {
            code,
            status,
            title,
            members: "{}",
        }
    }

    #[must_use]
    pub const fn with_members(self, members: &'static str) -> Self {
        Self { members, ..self }
    }
}

// Problems that no feature owns.
pub const MALFORMED_JSON: Code = Code::new("malformed-json", 400, "The body is not valid JSON");
pub const INVALID_PARAMETER: Code = Code::new("invalid-parameter", 400, "A path, query or header parameter is invalid");
pub const INVALID_BODY: Code = Code::new("invalid-body", 422, "The body does not fit the schema");
pub const BODY_TOO_LARGE: Code = Code::new("body-too-large", 413, "The body is too large");
pub const BODY_TIMEOUT: Code = Code::new("body-timeout", 408, "The body did not arrive in time");
pub const INVALID_HOST: Code = Code::new("invalid-host", 400, "The request does not name one host");
pub const UNSUPPORTED_ENCODING: Code = Code::new("unsupported-encoding", 415, "The body is compressed");
pub const UNSUPPORTED_MEDIA_TYPE: Code = Code::new("unsupported-media-type", 415, "The content type is not supported");
pub const NO_SUCH_ROUTE: Code = Code::new("no-such-route", 404, "There is no such route");
pub const METHOD_NOT_ALLOWED: Code = Code::new("method-not-allowed", 405, "The route does not know this method");
pub const REVISION_REQUIRED: Code = Code::new("revision-required", 428, "The If-Match header is required");
pub const RELEASE_REQUIRED: Code = Code::new("release-required", 409, "This change needs an approved release")
    .with_members(r#"{"eventId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
pub const RATE_LIMITED: Code = Code::new("rate-limited", 429, "Too many requests");
pub const TIMED_OUT: Code = Code::new("timed-out", 504, "The request timed out");
pub const UNAVAILABLE: Code = Code::new("unavailable", 503, "The server is temporarily unavailable");
pub const OVERLOADED: Code = Code::new("overloaded", 503, "The server has too much to do");
pub const TOO_MANY_STREAMS: Code = Code::new("too-many-streams", 429, "Too many open streams");
pub const STREAMS_FULL: Code = Code::new("streams-full", 503, "The server has no place for another stream");
pub const SEALING_KEY_MISSING: Code = Code::new("sealing-key-missing", 503, "The server lacks the key of a secret");
pub const FACTS_COMPACTED: Code = Code::new(
    "facts-compacted",
    409,
    "The activities that the question needs are compacted",
);
pub const INTERNAL: Code = Code::new("internal", 500, "An unexpected failure");

pub const CODES: &[Code] = &[
    FACTS_COMPACTED,
    MALFORMED_JSON,
    INVALID_PARAMETER,
    INVALID_BODY,
    BODY_TOO_LARGE,
    BODY_TIMEOUT,
    INVALID_HOST,
    UNSUPPORTED_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    NO_SUCH_ROUTE,
    METHOD_NOT_ALLOWED,
    REVISION_REQUIRED,
    RELEASE_REQUIRED,
    RATE_LIMITED,
    TIMED_OUT,
    UNAVAILABLE,
    OVERLOADED,
    TOO_MANY_STREAMS,
    STREAMS_FULL,
    SEALING_KEY_MISSING,
    INTERNAL,
];

/// One invalid field of the body.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the field; empty for the whole body
    #[schema(example = "/endDate")]
    pub pointer: String,
    #[schema(example = "must be after startDate (2026-03-01T00:00:00.000Z)")]
    pub message: String,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

/// Why a request was refused. Boxed, so that a `Result` that holds one stays small.
#[derive(Clone, Debug)]
pub struct Problem(Box<Refusal>);

#[derive(Clone, Debug)]
struct Refusal {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            members: Map::new(),
            retry_after_seconds: None,
        }))
    }

    /// A fault of the server. `error` is logged with the correlation id; the client sees the id only.
    pub fn internal(error: impl std::fmt::Display + std::fmt::Debug) -> Self {
        tracing::error!(%error, detail = ?error, "request failed");
        Self::new(
            INTERNAL,
            "The server failed. A change may have been made: check before you repeat it. Quote the requestId when you report this.",
        )
    }

    /// The body parsed, but a field is wrong.
    pub fn field(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            message: message.into(),
        }])
    }

    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = errors.iter().map(FieldError::to_string).collect::<Vec<_>>();
        Self::new(INVALID_BODY, detail.join("; ")).with_errors(errors)
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    pub fn members(&self) -> &Map<String, Value> {
        &self.0.members
    }

    pub fn retry_after_seconds(&self) -> Option<u32> {
        self.0.retry_after_seconds
    }

    /// The detail and all faults in one line, for protocols and logs that carry no structured body.
    pub fn to_line(&self) -> String {
        let faults: Vec<String> = self.0.errors.iter().map(FieldError::to_string).collect();
        let faults = faults.join("; ");
        match faults.as_str() {
            "" => self.0.detail.clone(),
            faults if faults == self.0.detail => faults.to_owned(),
            faults => format!("{} {faults}", self.0.detail),
        }
    }

    #[must_use]
    pub fn with(mut self, member: &str, value: impl Serialize) -> Self {
        self.0.members.insert(member.to_owned(), serde_json::json!(value));
        self
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        Self::from(&error)
    }
}

impl From<&DbError> for Problem {
    fn from(error: &DbError) -> Self {
        if error.is_unavailable() || error.is_conflict() {
            tracing::warn!(%error, "database unavailable");
            return Self::new(
                UNAVAILABLE,
                "The database is busy or unreachable. A change may have been made: check before you repeat it, or repeat a claim with the same Idempotency-Key.",
            )
            .retry_after(1);
        }
        Self::internal(error)
    }
}
