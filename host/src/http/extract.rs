//! Extractors that read a request or respond with a [`Problem`]. Handlers use these and never axum's own.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, OptionalFromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use garde::Validate;
use serde::de::DeserializeOwned;

use crate::body::{field_errors, parse_object};
use crate::problem::{
    BODY_TOO_LARGE, INVALID_PARAMETER, MALFORMED_JSON, Problem, REVISION_REQUIRED, UNSUPPORTED_MEDIA_TYPE,
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
        let value = parse_object::<T>(&bytes)?;
        value
            .validate()
            .map_err(|report| Problem::fields(field_errors(&report)))?;
        Ok(Self(value))
    }
}

/// A JSON body that may be missing.
impl<S, T> OptionalFromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Validate,
    T::Context: Default,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        let is_empty = request.body().size_hint().exact() == Some(0);
        if is_empty && !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
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

/// A body of several items, by its media type.
pub enum Many {
    Json(axum::body::Bytes),
    /// NDJSON: one item per line.
    Lines(axum::body::Bytes),
}

/// The whole body, in one of the forms that hold several items.
pub async fn read_many<S: Send + Sync>(request: Request, state: &S) -> Result<Many, Problem> {
    let content_type = content_type(request.headers()).to_owned();
    match media_type(request.headers()).as_str() {
        "application/json" => Ok(Many::Json(read_bytes(request, state).await?)),
        "application/x-ndjson" => Ok(Many::Lines(read_bytes(request, state).await?)),
        _ => Err(Problem::new(
            UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type is {content_type:?}; send application/json or application/x-ndjson."),
        )),
    }
}

/// The media type of a body in lower case, without parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    essence(content_type(headers)).to_ascii_lowercase()
}

fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = content_type(headers);
    if essence(content_type).eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        UNSUPPORTED_MEDIA_TYPE,
        format!("Content-Type is {content_type:?}; send application/json."),
    ))
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

/// As in a JSON body ([`crate::body::parse`]). In a URI, U+0000 is always percent-encoded.
fn refuse_nul_in_uri(parts: &Parts) -> Result<(), Problem> {
    if parts
        .uri
        .path_and_query()
        .is_some_and(|uri| uri.as_str().contains("%00"))
    {
        return Err(Problem::new(
            INVALID_PARAMETER,
            "The URL contains U+0000 (%00), which no value of this API may contain.",
        ));
    }
    Ok(())
}

/// The revision that a change is based on: `If-Match: "3"`, from the `ETag` of an earlier response (RFC 9110).
///
/// `None` means `*`, any revision. An unknown ETag is revision 0, which no resource has. A weak ETag is the same revision: a
/// proxy that compresses a response makes its ETag weak, and the revision says more than the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    fn of(parts: &Parts) -> Result<Option<Self>, Problem> {
        let values: Vec<_> = parts.headers.get_all(header::IF_MATCH).iter().collect();
        if values.is_empty() {
            return Ok(None);
        }
        let values: Vec<_> = values
            .into_iter()
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        let text = values.join(",");
        if text.trim() == "*" {
            return Ok(Some(Self(None)));
        }
        // No ETag of this API contains a comma.
        let mut revisions: Vec<i64> = text.split(',').filter_map(|etag| revision(etag.trim())).collect();
        revisions.dedup();
        match revisions[..] {
            [] => Ok(Some(Self(Some(0)))),
            [revision] => Ok(Some(Self(Some(revision)))),
            _ => Err(Problem::new(
                INVALID_PARAMETER,
                format!("If-Match is {text:?}; send only the ETag of the version that you read."),
            )),
        }
    }
}

fn revision(etag: &str) -> Option<i64> {
    let strong = etag.strip_prefix("W/").unwrap_or(etag);
    let revision = strong.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    (strong == format!("\"{revision}\"")).then_some(revision)
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts)?.ok_or_else(|| {
            Problem::new(
                REVISION_REQUIRED,
                "Send If-Match with the ETag of the version that you read, so that concurrent changes are not lost.",
            )
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Self::of(parts)
    }
}

/// A response with the revision as its `ETag`.
pub fn with_etag<T: serde::Serialize>(revision: i64, body: T) -> impl axum::response::IntoResponse {
    ([(header::ETAG, format!("\"{revision}\""))], axum::Json(body))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request};

    use super::*;

    fn if_match(values: &[&'static str]) -> Result<Option<IfMatch>, String> {
        let (mut parts, ()) = Request::new(()).into_parts();
        for value in values {
            parts.headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::of(&parts).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn if_match_names_one_revision_however_it_is_written() {
        assert_eq!(if_match(&[]), Ok(None));
        assert_eq!(if_match(&["*"]), Ok(Some(IfMatch(None))));
        for values in [
            &["\"3\""][..],
            &["W/\"3\""],
            &[" \"3\" , W/\"3\""],
            &["\"3\"", "\"other\""],
        ] {
            assert_eq!(if_match(values), Ok(Some(IfMatch(Some(3)))), "{values:?}");
        }
        for unknown in ["3", "\"03\"", "\"three\"", "\"+3\"", "", "w/\"3\""] {
            assert_eq!(if_match(&[unknown]), Ok(Some(IfMatch(Some(0)))), "{unknown}");
        }
        let refusal = if_match(&["\"3\", \"4\""]).unwrap_err();
        assert!(
            refusal.contains("send only the ETag of the version that you read"),
            "{refusal}"
        );
    }
}
