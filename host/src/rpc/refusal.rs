//! Problems as errors of Connect and gRPC: a code, and the details of `google.rpc` that clients branch on.
//!
//! A problem that ends a method is also put into the [`Slot`] of its request, where `routes` finds it: the layers of REST act
//! on problems.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use buffa::MessageField;
use buffa_types::google::protobuf;
use connectrpc::interceptor::{StreamRequest, StreamResponse, UnaryRequest, UnaryResponse};
use connectrpc::{ConnectError, ErrorCode, ErrorDetail, Interceptor, Next, NextStream, PayloadStream};
use meed_proto::google::rpc::bad_request::FieldViolation;
use meed_proto::google::rpc::{BadRequest, ErrorInfo, RetryInfo};
use serde_json::Value;

use crate::correlation;
use crate::problem::{BODY_TOO_LARGE, FieldError, INVALID_BODY, METHOD_NOT_ALLOWED, NO_SUCH_ROUTE, Problem};
use crate::watch::Closed;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "meed";
/// The list that a JSON Pointer of a REST body begins with, if that body is an array.
const LIST: &str = "activities";

/// Where a method leaves the problem that ended it. In the extensions of the request.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(pub(super) Arc<OnceLock<Problem>>);

/// A problem as the source of an error.
#[derive(Debug)]
struct Refused(Problem);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.detail())
    }
}

impl std::error::Error for Refused {}

impl From<Problem> for ConnectError {
    fn from(problem: Problem) -> Self {
        error_of(problem, correlation::current())
    }
}

/// `request_id`: to quote in a report.
pub(super) fn error_of(problem: Problem, request_id: Option<String>) -> ConnectError {
    let mut error = ConnectError::new(code_of(&problem), problem.detail());
    let members = problem.members().iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name.clone(), text)
    });
    error
        .details
        .push(info(problem.code().code.to_owned(), members, request_id));
    if !problem.errors().is_empty() {
        let bad = BadRequest {
            field_violations: problem.errors().iter().map(violation).collect(),
        };
        error
            .details
            .push(ErrorDetail::from_message("google.rpc.BadRequest", &bad));
    }
    if let Some(seconds) = problem.retry_after_seconds() {
        error.details.push(retry_after(Duration::from_secs(seconds.into())));
    }
    error.with_source(Refused(problem))
}

/// Why a stream of changes ended. REST closes the connection instead. `retry`: when the client may watch again.
pub(super) fn end_of(why: Closed, retry: Option<Duration>, request_id: Option<String>) -> ConnectError {
    let (code, message) = match why {
        Closed::Slow => (
            ErrorCode::ResourceExhausted,
            "Too many changes waited for this client; watch again after the last cursor, and read faster.",
        ),
        Closed::Age => (
            ErrorCode::Aborted,
            "The stream reached its maximum age; watch again after the last cursor.",
        ),
        Closed::Unauthorized => (
            ErrorCode::Unauthenticated,
            "The token or session has ended, or may no longer watch this user; watch again with a fresh token.",
        ),
        Closed::Shutdown => (
            ErrorCode::Unavailable,
            "The server is shutting down; watch again after the last cursor.",
        ),
        Closed::Error | Closed::Client => (
            ErrorCode::Unavailable,
            "What this stream watches cannot be read now; watch again after the last cursor.",
        ),
    };
    let mut error = ConnectError::new(code, message);
    let reason = format!("stream-{}", <&str>::from(why));
    error.details.push(info(reason, std::iter::empty(), request_id));
    error.details.extend(retry.map(retry_after));
    error
}

fn info(reason: String, members: impl Iterator<Item = (String, String)>, request_id: Option<String>) -> ErrorDetail {
    let request_id = request_id.map(|id| ("requestId".to_owned(), id));
    let info = ErrorInfo {
        reason,
        domain: DOMAIN.to_owned(),
        metadata: members.chain(request_id).collect(),
    };
    ErrorDetail::from_message("google.rpc.ErrorInfo", &info)
}

fn retry_after(delay: Duration) -> ErrorDetail {
    let retry = RetryInfo {
        retry_delay: MessageField::some(protobuf::Duration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(delay.subsec_nanos()).unwrap_or_default(),
            ..protobuf::Duration::default()
        }),
    };
    ErrorDetail::from_message("google.rpc.RetryInfo", &retry)
}

fn code_of(problem: &Problem) -> ErrorCode {
    let code = problem.code();
    match code.status {
        _ if code == NO_SUCH_ROUTE || code == METHOD_NOT_ALLOWED => ErrorCode::Unimplemented,
        _ if code == BODY_TOO_LARGE => ErrorCode::ResourceExhausted,
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::PermissionDenied,
        404 => ErrorCode::NotFound,
        408 | 504 => ErrorCode::DeadlineExceeded,
        409 if ["already-granted", "activity-conflict"].contains(&code.code) => ErrorCode::AlreadyExists,
        409 | 412 => ErrorCode::FailedPrecondition,
        429 => ErrorCode::ResourceExhausted,
        503 => ErrorCode::Unavailable,
        400..=499 => ErrorCode::InvalidArgument,
        _ => ErrorCode::Internal,
    }
}

fn violation(error: &FieldError) -> FieldViolation {
    FieldViolation {
        field: field_of(&error.pointer),
        description: error.message.clone(),
        ..FieldViolation::default()
    }
}

/// A JSON Pointer as the path of a protobuf field: `activities[3].occurred_at` of `/3/occurredAt`.
pub(super) fn field_of(pointer: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1) {
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            if path.is_empty() {
                path.push_str(LIST);
            }
            path.push('[');
            path.push_str(segment);
            path.push(']');
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        for letter in segment.chars() {
            if letter.is_ascii_uppercase() {
                path.push('_');
            }
            path.push(letter.to_ascii_lowercase());
        }
    }
    path
}

/// Leaves the problem of each failed method in the slot of its request.
pub(super) struct Refusals;

fn kept(slot: Option<&Slot>, error: ConnectError) -> ConnectError {
    let source = error.source_arc();
    let refused = source.as_ref().and_then(|source| source.downcast_ref::<Refused>());
    let problem = match refused {
        Some(Refused(problem)) => problem.clone(),
        // The library could not read the message. Its other errors are of the protocol.
        None if error.code == ErrorCode::InvalidArgument => {
            let detail = error.message.as_deref().unwrap_or("it is damaged");
            Problem::new(INVALID_BODY, format!("The message cannot be read: {detail}."))
        }
        None => return error,
    };
    if let Some(Slot(slot)) = slot {
        // A method fails once.
        slot.set(problem).ok();
    }
    error
}

#[connectrpc::async_trait]
impl Interceptor for Refusals {
    async fn intercept_unary(&self, request: UnaryRequest, next: Next<'_>) -> Result<UnaryResponse, ConnectError> {
        let slot = request.ctx.extensions().get::<Slot>().cloned();
        next.run(request).await.map_err(|error| kept(slot.as_ref(), error))
    }

    async fn intercept_streaming(
        &self,
        request: StreamRequest,
        inbound: PayloadStream,
        next: NextStream<'_>,
    ) -> Result<StreamResponse, ConnectError> {
        let slot = request.ctx.extensions().get::<Slot>().cloned();
        let started = next.run(request, inbound).await;
        started.map_err(|error| kept(slot.as_ref(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{OVERLOADED, RATE_LIMITED, TIMED_OUT, UNAVAILABLE};

    #[test]
    fn pointers_become_paths_of_fields() {
        for (pointer, field) in [
            ("", ""),
            ("/eventId", "event_id"),
            ("/3/occurredAt", "activities[3].occurred_at"),
            ("/3", "activities[3]"),
            ("/activities/3/kind", "activities[3].kind"),
        ] {
            assert_eq!(field_of(pointer), field);
        }
    }

    #[test]
    fn an_error_has_the_details_of_its_problem() {
        let problem = Problem::new(RATE_LIMITED, "Wait.")
            .retry_after(7)
            .with("grantIds", ["a", "b"])
            .with("rewardRequestId", "c");
        let error = error_of(problem, Some("order-1".to_owned()));
        assert_eq!(error.code, ErrorCode::ResourceExhausted);
        let types: Vec<_> = error.details.iter().map(|detail| detail.type_url.as_str()).collect();
        assert_eq!(types, ["google.rpc.ErrorInfo", "google.rpc.RetryInfo"]);
        for (code, expected) in [
            (OVERLOADED, ErrorCode::Unavailable),
            (UNAVAILABLE, ErrorCode::Unavailable),
            (TIMED_OUT, ErrorCode::DeadlineExceeded),
            (NO_SUCH_ROUTE, ErrorCode::Unimplemented),
            (BODY_TOO_LARGE, ErrorCode::ResourceExhausted),
        ] {
            assert_eq!(error_of(Problem::new(code, ""), None).code, expected, "{code:?}");
        }
    }
}
