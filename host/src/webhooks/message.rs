//! The request body of a webhook: a CloudEvent (version 1.0, JSON), signed according to Standard Webhooks.
//!
//! Must not know: who receives it.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::outbox::OutboxMessage;

pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Standard Webhooks requires 24 to 64 bytes.
pub(super) const SECRET_BYTES: usize = 32;

/// A secret as the API shows it, once.
pub(super) fn show(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// The CloudEvent of a message: the same at every attempt. `source` names this installation.
pub(super) fn cloud_event(source: &str, message: &OutboxMessage) -> Value {
    let subject = message.user_id.or(message.subject_id);
    let (id, kind, payload) = (message.id, &message.kind, &message.payload.0);
    let mut event = envelope(source, id, kind, subject, message.created_at, payload);
    if let Some(id) = &message.http_request_id {
        // Meed's own extension attribute: the log's request.id.
        event["requestid"] = json!(id);
    }
    event
}

/// A CloudEvent that tests an endpoint and belongs to no message.
pub(super) fn ping(source: &str, id: Uuid, endpoint_id: Uuid, at: Timestamp) -> Value {
    let data = json!({"endpointId": endpoint_id});
    envelope(source, id, "webhook.ping", Some(endpoint_id), at, &data)
}

fn envelope(source: &str, id: Uuid, kind: &str, subject: Option<Uuid>, at: Timestamp, data: &Value) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": source, "type": kind, "time": at,
        "datacontenttype": "application/json", "data": data,
    });
    if let Some(subject) = subject {
        event["subject"] = json!(subject);
    }
    event
}

/// The value of `webhook-signature`: one signature for each secret, the newest first.
pub(super) fn sign<'a>(secrets: impl IntoIterator<Item = &'a [u8]>, id: Uuid, seconds: i64, body: &[u8]) -> String {
    let mut signatures = String::new();
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        let separator = if signatures.is_empty() { "" } else { " " };
        write!(signatures, "{separator}v1,{}", STANDARD.encode(context.sign())).ok();
    }
    signatures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // Computed with Python's hmac over "<id>.<timestamp>.<body>".
        let id = "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77".parse().unwrap();
        let signed = sign([[7_u8; 32].as_slice()], id, 1_772_366_400, br#"{"a":1}"#);
        assert_eq!(signed, "v1,bFRJV/pej//Qm7K9tYookJfF6mu+n8zUqqTMBek7QQw=");
        let both = sign([[7_u8; 32].as_slice(), &[8; 32]], id, 1_772_366_400, br#"{"a":1}"#);
        assert_eq!(
            (both.split(' ').count(), both.split(' ').next()),
            (2, Some(signed.as_str()))
        );
    }
}
