//! `application/problem+json` (RFC 9457): the only shape in which this API says no.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::request_id;

/// A kind of problem. `code` is stable: clients may branch on it. The OpenAPI document lists every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// The members that only this problem has, as an example in JSON.
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

/// The problems that no feature owns.
pub const MALFORMED_JSON: Code = Code::new("malformed-json", 400, "The body is not valid JSON");
pub const INVALID_PARAMETER: Code = Code::new("invalid-parameter", 400, "A path, query or header parameter is invalid");
pub const INVALID_BODY: Code = Code::new("invalid-body", 422, "The body does not fit the schema");
pub const BODY_TOO_LARGE: Code = Code::new("body-too-large", 413, "The body is too large");
pub const UNSUPPORTED_MEDIA_TYPE: Code = Code::new("unsupported-media-type", 415, "The content type is not supported");
pub const NO_SUCH_ROUTE: Code = Code::new("no-such-route", 404, "There is no such route");
pub const METHOD_NOT_ALLOWED: Code = Code::new("method-not-allowed", 405, "The route does not know this method");
pub const REVISION_REQUIRED: Code = Code::new("revision-required", 428, "The If-Match header is required");
pub const RATE_LIMITED: Code = Code::new("rate-limited", 429, "Too many requests");
pub const TIMED_OUT: Code = Code::new("timed-out", 504, "The request took too long");
pub const UNAVAILABLE: Code = Code::new("unavailable", 503, "The server cannot answer right now");
pub const OVERLOADED: Code = Code::new("overloaded", 503, "The server has too much to do");
pub const INTERNAL: Code = Code::new("internal", 500, "An unexpected failure");

pub const CODES: &[Code] = &[
    MALFORMED_JSON,
    INVALID_PARAMETER,
    INVALID_BODY,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    NO_SUCH_ROUTE,
    METHOD_NOT_ALLOWED,
    REVISION_REQUIRED,
    RATE_LIMITED,
    TIMED_OUT,
    UNAVAILABLE,
    OVERLOADED,
    INTERNAL,
];

/// One fault in the body.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the field; empty for the body as a whole
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

/// A refusal on its way to the client. Boxed, so that a handler's result stays small.
#[derive(Debug)]
pub struct Problem(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    members: serde_json::Map<String, serde_json::Value>,
    retry_after_seconds: Option<u32>,
}

/// How a problem looks on the wire (for the OpenAPI document).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `urn:meed:problem:` and the code
    #[serde(rename = "type")]
    pub type_: String,
    pub title: &'a str,
    pub status: u16,
    /// Stable and kebab-case: branch on this
    pub code: &'a str,
    /// What was wrong, with which value, and what to do
    pub detail: &'a str,
    /// Faults in single fields of the body
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [FieldError],
    /// Quote this when you report the problem
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Members that only some codes have, such as `rewardRequestId` of an earlier grant
    #[serde(flatten)]
    pub members: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            members: serde_json::Map::new(),
            retry_after_seconds: None,
        }))
    }

    /// A fault of ours: `error` is logged with the request id, the client sees only the id.
    pub fn internal(error: impl std::fmt::Display + std::fmt::Debug) -> Self {
        tracing::error!(%error, detail = ?error, "request failed");
        Self::new(
            INTERNAL,
            "Something went wrong on our side; look before you repeat a change, it may have been made. Quote the requestId when you report it.",
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

    /// All that it says, in one line: for whoever does not get the body.
    pub fn in_words(&self) -> String {
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

impl From<crate::db::DbError> for Problem {
    fn from(error: crate::db::DbError) -> Self {
        Self::from(&error)
    }
}

impl From<&crate::db::DbError> for Problem {
    fn from(error: &crate::db::DbError) -> Self {
        if error.is_unavailable() || error.is_conflict() {
            tracing::warn!(%error, "database unavailable");
            return Self::new(
                UNAVAILABLE,
                "The database is busy or cannot be reached. A change may or may not have been made: look, or repeat a claim under the same Idempotency-Key.",
            )
            .retry_after(1);
        }
        Self::internal(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let refusal = *self.0;
        let body = ProblemBody {
            type_: format!("urn:meed:problem:{}", refusal.code.code),
            title: refusal.code.title,
            status: refusal.code.status,
            code: refusal.code.code,
            detail: &refusal.detail,
            errors: &refusal.errors,
            request_id: request_id::current(),
            members: &refusal.members,
        };
        let status = StatusCode::from_u16(refusal.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = refusal.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
