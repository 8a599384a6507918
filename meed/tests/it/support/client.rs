//! Sends requests directly to the router; replies have a status, headers and JSON.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt as _;

/// A request under construction.
#[derive(Debug)]
pub struct Call {
    router: axum::Router,
    request: axum::http::request::Builder,
    body: Body,
}

impl Call {
    pub fn new(router: axum::Router, method: &str, path: &str) -> Self {
        Self {
            router,
            request: Request::builder().method(method).uri(path),
            body: Body::empty(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn json(self, body: &Value) -> Self {
        self.bytes("application/json", body.to_string())
    }

    pub fn bytes(mut self, content_type: &str, body: impl Into<Body>) -> Self {
        self = self.header("content-type", content_type);
        self.body = body.into();
        self
    }

    /// The response before its body is read.
    pub async fn begin(self) -> axum::response::Response {
        let request = self.request.body(self.body).expect("a well-formed request");
        self.router.oneshot(request).await.expect("the router answers")
    }

    pub async fn send(self) -> Reply {
        let response = self.begin().await;
        let (parts, mut body) = response.into_parts();
        // Server-sent events have no end.
        if parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value == "text/event-stream")
        {
            body = Body::empty();
        }
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the whole body");
        let is_json = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                // Messages in envelopes are no document.
                value.contains("json") && !value.contains("ndjson") && !value.starts_with("application/connect+")
            });
        let json = if is_json {
            serde_json::from_slice(&bytes).expect("valid JSON")
        } else {
            Value::Null
        };
        Reply {
            status: parts.status,
            headers: parts.headers,
            json,
            bytes: bytes.to_vec(),
        }
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// Asserts the status and returns the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.json);
        self.json
    }

    /// Asserts a problem with this status and code, and returns it.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status.as_u16(), self.json["code"].as_str()),
            (status, Some(code)),
            "{:#}",
            self.json
        );
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(self.json["status"], status);
        assert_eq!(self.json["type"], format!("urn:meed:problem:{code}"));
        assert!(
            self.json["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
            "{:#}",
            self.json
        );
        assert!(self.json["requestId"].is_string(), "{:#}", self.json);
        self.json
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
