//! An outbox message as a CloudEvent in the binary mode of the Kafka binding: its attributes are headers, so that consumers
//! can filter by type and subject without parsing the value.

use rdkafka::message::{Header, OwnedHeaders};

use crate::outbox::topics::Waiting;

/// `source` names this installation. The id is the same at every attempt.
pub(super) fn headers(source: &str, message: &Waiting) -> OwnedHeaders {
    let (id, time) = (message.id.to_string(), message.created_at.to_string());
    let subject = message
        .user_id
        .or(message.subject_id)
        .map(|subject| subject.to_string());
    let attributes = [
        ("content-type", Some("application/json")),
        ("ce_specversion", Some("1.0")),
        ("ce_id", Some(id.as_str())),
        ("ce_source", Some(source)),
        ("ce_type", Some(message.kind.as_str())),
        ("ce_time", Some(time.as_str())),
        ("ce_subject", subject.as_deref()),
        // Meed's own extension attribute: the log's request.id.
        ("ce_requestid", message.http_request_id.as_deref()),
    ];
    let present = attributes.into_iter().filter(|(_, value)| value.is_some());
    present.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value })
    })
}
