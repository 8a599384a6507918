//! A problem as an HTTP response: `application/problem+json` (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::correlation;
use crate::problem::{FieldError, Problem};

/// The response body of a problem.
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
    /// The invalid fields of the body
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub errors: &'a [FieldError],
    /// Quote this id when you report the problem
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Members that only some codes have, such as `rewardRequestId` of an earlier grant
    #[serde(flatten)]
    pub members: &'a serde_json::Map<String, serde_json::Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code();
        let body = ProblemBody {
            type_: format!("urn:meed:problem:{}", code.code),
            title: code.title,
            status: code.status,
            code: code.code,
            detail: self.detail(),
            errors: self.errors(),
            request_id: correlation::current(),
            members: self.members(),
        };
        let status = StatusCode::from_u16(code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For layers that act on it.
        response.extensions_mut().insert(self);
        response
    }
}
