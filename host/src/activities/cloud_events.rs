//! CloudEvents 1.0 in the JSON format as activities: `type` is the kind, `time` the instant, `subject` the external id of the
//! user. Of `data` the integer `amount` is the amount, and the other texts, numbers and booleans are the attributes.
//!
//! Must not know: the transport, the recorded activities.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::report::NewActivity;
use crate::attributes::{self, Attributes};
use crate::body::parse_object;
use crate::clock::Timestamp;
use crate::exact_json;
use crate::problem::{FieldError, MALFORMED_JSON, Problem};

/// An event of another system. Further attributes are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "order-1047", "source": "/shop/orders", "type": "shop.purchase",
    "subject": "customer-1047", "time": "2026-03-01T09:30:00Z", "data": {"amount": 2500, "category": "hats"},
}))]
pub(super) struct CloudEvent {
    /// `1.0`
    #[schema(example = "1.0")]
    specversion: String,
    id: String,
    /// 1 to 256 visible ASCII characters
    #[schema(example = "/shop/orders")]
    source: String,
    /// The kind of the activity
    #[serde(rename = "type")]
    #[schema(example = "shop.purchase")]
    type_: String,
    /// The external id of the user
    #[schema(example = "customer-1047")]
    subject: Option<String>,
    time: Option<Timestamp>,
    /// JSON, if there is data
    #[schema(example = "application/json")]
    datacontenttype: Option<String>,
    /// An extension attribute: the id of the user, instead of `subject`
    meeduserid: Option<Uuid>,
    #[serde(default, deserialize_with = "exact_json::value")]
    data: Value,
    #[schema(ignore)]
    data_base64: Option<IgnoredAny>,
}

/// Whether a JSON object is a CloudEvent.
pub(super) fn is_cloud_event(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Marked {
        specversion: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Marked>(bytes).is_ok_and(|marked| marked.specversion.is_some())
}

/// The activity of an event. A problem has JSON pointers into the event.
pub(super) fn parse(bytes: &[u8]) -> Result<NewActivity, Problem> {
    let event: CloudEvent = parse_object(bytes)?;
    if event.specversion != "1.0" {
        return Err(Problem::field(
            "/specversion",
            format!("{:?} is not supported; send CloudEvents 1.0", event.specversion),
        ));
    }
    if event.data_base64.is_some() {
        return Err(Problem::field(
            "/data_base64",
            "binary data has no members that rules could query; send JSON in data, or no data",
        ));
    }
    if let Some(media_type) = event.datacontenttype.filter(|media_type| !is_json(media_type))
        && event.data != Value::Null
    {
        return Err(Problem::field(
            "/datacontenttype",
            format!("{media_type:?} is not JSON; send JSON in data, or no data"),
        ));
    }
    let subject = event.subject.filter(|_| event.meeduserid.is_none());
    let external_user_id = subject
        .map(|subject| subject.parse())
        .transpose()
        .map_err(|message: String| Problem::field("/subject", message))?;
    if event.meeduserid.is_none() && external_user_id.is_none() {
        return Err(Problem::field(
            "/subject",
            "is missing; send the external id of the user, or the id in the extension attribute meeduserid",
        ));
    }
    let mut data = match event.data {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let amount = match data.remove("amount") {
        None | Some(Value::Null) => None,
        Some(amount) => Some(integer(&amount).ok_or_else(|| {
            Problem::field(
                "/data/amount",
                format!("{amount} is not an integer; send minor units of money"),
            )
        })?),
    };
    data.retain(|name, value| attributes::is_name(name) && is_attribute(value));
    let attributes: Attributes =
        serde_json::from_value(Value::Object(data)).map_err(|error| Problem::field("/data", error.to_string()))?;
    Ok(NewActivity {
        source: event.source,
        id: event.id,
        user_id: event.meeduserid,
        external_user_id,
        kind: event.type_,
        occurred_at: event.time,
        amount,
        attributes,
    })
}

/// The JSON of an event in the binary mode of a protocol: the attributes and the data.
pub(super) fn from_parts<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
    content_type: &str,
    data: &[u8],
) -> Result<Vec<u8>, Problem> {
    let mut event = Map::new();
    for (name, value) in attributes {
        // Otherwise an attribute could stand for the data.
        if name != "data" && name != "data_base64" {
            event.insert(name.to_owned(), decoded(value).into());
        }
    }
    if !content_type.is_empty() {
        event.insert("datacontenttype".to_owned(), content_type.into());
    }
    let mut json = serde_json::to_vec(&event).map_err(Problem::internal)?;
    if !data.is_empty() {
        let data: &[u8] = if content_type.is_empty() || is_json(content_type) {
            // Only checked here, so that numbers stay exact.
            serde_json::from_slice::<IgnoredAny>(data)
                .map_err(|error| Problem::new(MALFORMED_JSON, format!("The body is not valid JSON: {error}.")))?;
            data
        } else {
            // `parse` refuses its media type.
            b"\"\""
        };
        json.pop();
        json.extend_from_slice(b",\"data\":");
        json.extend_from_slice(data);
        json.push(b'}');
    }
    Ok(json)
}

/// A header's value, which has percent-encoded UTF-8.
fn decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        if let Some(coded) = digits.and_then(|digits| hex::decode(digits).ok()) {
            plain.extend(coded);
            at += 3;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// A fault in the activity of an event, at its place in the event.
pub(super) fn at_its_place(fault: FieldError) -> FieldError {
    let place = place_of(fault.pointer.trim_start_matches('/'));
    FieldError {
        pointer: format!("/{place}"),
        message: fault.message,
    }
}

/// The place in an event of a field of its activity.
pub(super) fn place_of(field: &str) -> &str {
    match field {
        "kind" => "type",
        "occurredAt" => "time",
        "userId" => "meeduserid",
        "externalUserId" => "subject",
        "amount" => "data/amount",
        "attributes" => "data",
        same => same,
    }
}

/// `2500.0` is an integer, too.
#[expect(clippy::cast_possible_truncation, reason = "exact JSON has no number beyond 2^53")]
fn integer(value: &Value) -> Option<i64> {
    let whole = || value.as_f64().filter(|number| number.fract() == 0.0);
    value.as_i64().or_else(|| whole().map(|number| number as i64))
}

/// Objects, lists and long texts are no attributes.
fn is_attribute(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => attributes::is_text(text),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn event(changes: &Value) -> Value {
        let mut event =
            json!({"specversion": "1.0", "id": "7", "source": "/shop", "type": "shop.purchase", "subject": "c-7"});
        event
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        event
    }

    #[expect(clippy::needless_pass_by_value, reason = "json! makes values")]
    fn read(changes: Value) -> Result<NewActivity, String> {
        let bytes = event(&changes).to_string();
        assert!(is_cloud_event(bytes.as_bytes()));
        parse(bytes.as_bytes()).map_err(|problem| problem.errors()[0].pointer.clone())
    }

    #[test]
    fn the_attributes_of_an_event_are_the_fields_of_an_activity() {
        let activity = read(json!({
            "time": "2026-03-01T09:30:00Z", "datacontenttype": "application/vnd.shop+json; charset=utf-8",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "data": {"amount": 2500.0, "category": "hats", "gift": true, "lines": [1, 2], "address": {"zip": "1"},
                "a b": 1, "note": "x".repeat(300), "gone": null, "weight": 1.5},
        }))
        .unwrap();
        assert_eq!(
            (activity.source.as_str(), activity.kind.as_str()),
            ("/shop", "shop.purchase")
        );
        assert_eq!(activity.external_user_id.unwrap().as_str(), "c-7");
        assert_eq!(activity.amount, Some(2500));
        let expected = [("category", "hats"), ("gift", "true"), ("weight", "1.5")];
        let expected: BTreeMap<String, String> =
            expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(activity.attributes.0, expected);
    }

    #[test]
    fn an_event_needs_no_data_and_may_name_the_user_by_id() {
        for data in [
            json!({}),
            json!({"data": null}),
            json!({"data": "text"}),
            json!({"data": [1]}),
        ] {
            let activity = read(data).unwrap();
            assert!(activity.amount.is_none() && activity.attributes.0.is_empty());
        }
        let id = Uuid::from_u128(7);
        let activity = read(json!({"meeduserid": id, "subject": "orders/7"})).unwrap();
        assert_eq!((activity.user_id, activity.external_user_id), (Some(id), None));
    }

    #[test]
    fn an_event_that_cannot_be_read_names_the_fault() {
        for (changes, pointer) in [
            (json!({"specversion": "0.3"}), "/specversion"),
            (json!({"data_base64": "AA=="}), "/data_base64"),
            (
                json!({"datacontenttype": "text/xml", "data": "<a/>"}),
                "/datacontenttype",
            ),
            (json!({"subject": ""}), "/subject"),
            (json!({"subject": null}), "/subject"),
            (json!({"time": "yesterday"}), "/time"),
            (json!({"data": {"amount": 12.5}}), "/data/amount"),
            (json!({"data": {"amount": "12"}}), "/data/amount"),
            (json!({"type": 7}), "/type"),
        ] {
            assert_eq!(read(changes.clone()).unwrap_err(), pointer, "{changes}");
        }
        assert!(parse(br#"{"specversion": "1.0", "data": {"a": 1, "a": 2}}"#).is_err());
    }
}
