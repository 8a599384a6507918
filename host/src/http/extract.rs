//! Extractors that read a request or answer with a [`Problem`]. Handlers use these and never axum's own.

use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use garde::Validate;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::problem::{
    BODY_TOO_LARGE, FieldError, INVALID_PARAMETER, MALFORMED_JSON, Problem, REVISION_REQUIRED, UNSUPPORTED_MEDIA_TYPE,
};

/// A JSON body that parsed and passed its own validation.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
    T::Context: Default,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_bytes(request, state).await?;
        refuse_array(&bytes)?;
        let value = parse::<T>(&bytes)?;
        value
            .validate()
            .map_err(|report| Problem::fields(field_errors(&report)))?;
        Ok(Self(value))
    }
}

/// The whole body, within the route's size limit.
pub async fn read_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<axum::body::Bytes, Problem> {
    axum::body::Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                Problem::new(
                    BODY_TOO_LARGE,
                    "The body is larger than this route accepts; send less at a time.",
                )
            } else {
                Problem::new(MALFORMED_JSON, format!("The body could not be read: {rejection}."))
            }
        })
}

/// serde would take an array for an object, member by member, and so make the order of fields part of the API.
fn refuse_array(bytes: &[u8]) -> Result<(), Problem> {
    let is_array = bytes.trim_ascii_start().starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    if is_array {
        Err(Problem::field("", "must be an object, not an array"))
    } else {
        Ok(())
    }
}

/// Parses JSON; a fault names the field by its JSON Pointer.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // First whether it is JSON at all: the parser calls some wrong types a fault of syntax.
    serde_json::from_slice::<IgnoredAny>(bytes)
        .map_err(|error| Problem::new(MALFORMED_JSON, format!("The body is not valid JSON: {error}.")))?;
    refuse_nul(bytes)?;
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(bytes)).map_err(|error| {
        let pointer = pointer_of(error.path());
        Problem::field(pointer, without_position(&error.into_inner()))
    })
}

/// PostgreSQL stores no U+0000, so no text of ours has one, whatever the engine. In JSON it can only be written so.
fn refuse_nul(bytes: &[u8]) -> Result<(), Problem> {
    const ESCAPED: &[u8] = b"\\u0000";
    if !bytes.windows(ESCAPED.len()).any(|window| window == ESCAPED) {
        return Ok(());
    }
    // What is no JSON is reported by whoever parses it next.
    let value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    match pointer_to_nul(&value) {
        Some(pointer) => Err(Problem::field(pointer, "holds U+0000, which cannot be stored")),
        None => Ok(()),
    }
}

/// Where the first text with a U+0000 is; of a member's name, the object it is in.
fn pointer_to_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| Some(format!("/{index}{}", pointer_to_nul(item)?))),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            if name.contains('\0') {
                return Some(String::new());
            }
            Some(format!("/{}{}", escaped(name), pointer_to_nul(member)?))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A member's name as a JSON Pointer writes it.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        UNSUPPORTED_MEDIA_TYPE,
        format!("Content-Type is {content_type:?}; send application/json."),
    ))
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(message, _)| message.to_owned())
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&escaped(key));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// garde speaks in Rust paths (`rewardIds[0]`); the client gets a JSON Pointer (`/rewardIds/0`).
pub fn field_errors(report: &garde::Report) -> Vec<FieldError> {
    report
        .iter()
        .map(|(path, error)| {
            let path = path.to_string();
            let mut pointer = String::new();
            for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
                pointer.push('/');
                pointer.push_str(&camel_case(segment));
            }
            FieldError {
                pointer,
                message: error.message().to_owned(),
            }
        })
        .collect()
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// Query parameters.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        refuse_nul_in_uri(parts)?;
        #[expect(clippy::disallowed_types, reason = "this is the extractor that replaces it")]
        <axum::extract::Query<T> as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::new(INVALID_PARAMETER, rejection.body_text()))
    }
}

/// Path parameters.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        refuse_nul_in_uri(parts)?;
        #[expect(clippy::disallowed_types, reason = "this is the extractor that replaces it")]
        <axum::extract::Path<T> as FromRequestParts<S>>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|rejection| Problem::new(INVALID_PARAMETER, rejection.body_text()))
    }
}

/// See [`refuse_nul`]. A URI cannot hold it but encoded.
fn refuse_nul_in_uri(parts: &Parts) -> Result<(), Problem> {
    if parts
        .uri
        .path_and_query()
        .is_some_and(|uri| uri.as_str().contains("%00"))
    {
        return Err(Problem::new(
            INVALID_PARAMETER,
            "The URL holds U+0000 (%00), which no value of this API has.",
        ));
    }
    Ok(())
}

/// The revision a change builds on: `If-Match: "3"`, as the `ETag` of an earlier answer said (RFC 9110).
///
/// `None` stands for `*`, any revision. An ETag that was never given out, and a weak one (which If-Match never matches),
/// is revision 0, which nothing has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    fn of(parts: &Parts) -> Option<Self> {
        let text = parts.headers.get(header::IF_MATCH)?.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Some(Self(None));
        }
        let revision = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .and_then(|text| text.parse().ok());
        Some(Self(Some(
            revision
                .filter(|revision: &i64| text == format!("\"{revision}\""))
                .unwrap_or(0),
        )))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts).ok_or_else(|| {
            Problem::new(
                REVISION_REQUIRED,
                "Send If-Match with the ETag of the version you read, so that nobody's change is lost.",
            )
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(Self::of(parts))
    }
}

/// An answer with the revision as its `ETag`.
pub fn with_etag<T: serde::Serialize>(revision: i64, body: T) -> impl axum::response::IntoResponse {
    ([(header::ETAG, format!("\"{revision}\""))], axum::Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_paths_become_json_pointers() {
        assert_eq!(camel_case("reward_ids"), "rewardIds");
        assert_eq!(camel_case("title"), "title");
    }

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        let found = |json: &str| refuse_nul(json.as_bytes()).err().map(|problem| format!("{problem:?}"));
        for (json, pointer) in [
            (r#""\u0000""#, r#"pointer: """#),
            (r#"{"a": [{"b/c": "x\u0000"}]}"#, r#"pointer: "/a/0/b~1c""#),
            (r#"{"a": {"\u0000": 1}}"#, r#"pointer: "/a""#),
        ] {
            assert!(found(json).is_some_and(|problem| problem.contains(pointer)), "{json}");
        }
        // An escaped backslash before it makes it plain text.
        assert_eq!(found(r#""\\u0000""#), None);
        assert_eq!(found(r#"{"a": "\u0000"#), None);
    }

    #[test]
    fn a_wrong_type_is_named_by_its_pointer() {
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only parsed")]
            items: Vec<u32>,
        }
        let problem = parse::<Outer>(br#"{"items": [1, "two"]}"#).unwrap_err();
        assert!(format!("{problem:?}").contains("/items/1"), "{problem:?}");
    }
}
