//! Completes the OpenAPI 3.1 document: every operation says who may call it and with which problems it responds.
//!
//! A handler's `#[utoipa::path]` names the scope that its guard requires, in `security`, and its problem codes, in the
//! extension `x-problems`. The roles that have the scope (`x-roles`) and the codes' status and title come from the
//! features' own tables, so the document cannot drift from the answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Header, OpenApi, Ref, RefOr, ResponseBuilder};

use super::limit::UNLIMITED;
use crate::problem::{
    BODY_TIMEOUT, BODY_TOO_LARGE, Code, INTERNAL, INVALID_BODY, INVALID_PARAMETER, MALFORMED_JSON, Problem,
    RATE_LIMITED, TIMED_OUT, UNAVAILABLE, UNSUPPORTED_ENCODING, UNSUPPORTED_MEDIA_TYPE,
};

/// Problems of every operation.
const EVERYWHERE: &[Code] = &[INTERNAL, UNAVAILABLE, TIMED_OUT];
/// Problems of every JSON body.
const WITH_JSON_BODY: &[Code] = &[
    MALFORMED_JSON,
    INVALID_BODY,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_ENCODING,
];

/// Adds roles, problem responses and the security scheme. An operation's problems are those of `x-problems`, those of
/// any body or parameter, and `secured` where a token is needed. `with_scopes` returns the roles that have all of the
/// given scopes. An error names a code that `codes` does not hold, or an unknown scope.
pub fn finish<R: fmt::Display>(
    mut document: OpenApi,
    codes: &[Code],
    secured: &[Code],
    with_scopes: impl Fn(&[&str]) -> Result<Vec<R>, String>,
) -> Result<OpenApi, String> {
    let codes: BTreeMap<&str, Code> = codes.iter().map(|code| (code.code, *code)).collect();
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("patch", &mut item.patch),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            // Unique, unlike the names of the handlers.
            operation.operation_id = Some(operation_id(method, path));
            add_roles(operation, &with_scopes).map_err(|error| format!("{path}: {error}"))?;
            let limited = !UNLIMITED.contains(&path.as_str());
            add_problems(operation, &codes, secured, limited).map_err(|error| format!("{path}: {error}"))?;
            describe_responses(operation).map_err(|error| format!("{path}: {error}"))?;
        }
    }
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some("`accessToken` of `POST /auth/login` or `/auth/refresh`"))
                .build(),
        ),
    );
    Ok(document)
}

/// `get` and `/events/{id}/progress` make `getEventsIdProgress`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

/// Sets `x-roles`, the roles that may call an operation, unless the operation has it already.
fn add_roles<R: fmt::Display>(
    operation: &mut Operation,
    with_scopes: &impl Fn(&[&str]) -> Result<Vec<R>, String>,
) -> Result<(), String> {
    let security = serde_json::to_value(&operation.security).map_err(|error| error.to_string())?;
    let alternatives = security.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_public = alternatives.is_empty() || alternatives.contains(&serde_json::json!({}));
    let mut roles: Vec<String> = Vec::new();
    if is_public {
        roles.push("PUBLIC".to_owned());
    } else {
        for scopes in alternatives
            .iter()
            .filter_map(|alternative| alternative["bearer"].as_array())
        {
            let scopes: Vec<&str> = scopes.iter().filter_map(serde_json::Value::as_str).collect();
            let with = with_scopes(&scopes)?.into_iter().map(|role| role.to_string());
            let further: Vec<String> = with.filter(|role| !roles.contains(role)).collect();
            roles.extend(further);
        }
    }
    let extensions = operation.extensions.get_or_insert_default();
    if !extensions.contains_key("x-roles") {
        extensions.insert("x-roles".to_owned(), roles.into());
    }
    Ok(())
}

fn add_problems(
    operation: &mut Operation,
    codes: &BTreeMap<&str, Code>,
    secured: &[Code],
    limited: bool,
) -> Result<(), String> {
    let names: Vec<String> = operation
        .extensions
        .as_ref()
        .and_then(|extensions| extensions.get("x-problems"))
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or_default();
    let mut answers = EVERYWHERE.to_vec();
    if limited {
        answers.push(RATE_LIMITED);
    }
    if operation.security.is_some() {
        answers.extend(secured);
    }
    if operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        answers.push(INVALID_PARAMETER);
    }
    if operation
        .request_body
        .as_ref()
        .is_some_and(|body| matches!(body, RefOr::T(body) if body.content.contains_key("application/json")))
    {
        answers.extend(WITH_JSON_BODY);
    }
    for name in &names {
        answers.push(
            *codes
                .get(name.as_str())
                .ok_or_else(|| format!("unknown problem code {name:?}"))?,
        );
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in answers {
        by_status.entry(code.status).or_default().push(code);
    }
    for (status, codes) in by_status {
        let description = codes
            .iter()
            .map(|code| format!("`{}`: {}", code.code, code.title))
            .collect::<Vec<_>>();
        let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
        for code in &codes {
            let mut example = serde_json::json!({
                "type": format!("urn:meed:problem:{}", code.code),
                "title": code.title,
                "status": code.status,
                "code": code.code,
                "detail": "what was wrong, with which value, and what to do",
                "requestId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77",
            });
            let members: serde_json::Map<_, _> =
                serde_json::from_str(code.members).map_err(|error| format!("members of {:?}: {error}", code.code))?;
            if let Some(example) = example.as_object_mut() {
                example.extend(members);
            }
            let example = utoipa::openapi::example::ExampleBuilder::new()
                .value(Some(example))
                .build();
            content = content.examples_from_iter([(code.code.to_owned(), example)]);
        }
        let mut response = ResponseBuilder::new()
            .description(description.join("<br>"))
            .content("application/problem+json", content.build());
        if [UNAVAILABLE.status, RATE_LIMITED.status].contains(&status) {
            let mut header = Header::new(utoipa::openapi::schema::Object::with_type(
                utoipa::openapi::Type::Integer,
            ));
            header.description = Some("Seconds after which to retry".to_owned());
            response = response.header("Retry-After", header);
        }
        let response = response.build();
        operation
            .responses
            .responses
            .insert(status.to_string(), response.into());
    }
    Ok(())
}

/// OpenAPI requires a description of every response. Where a handler has nothing to add, it is the meaning of the status.
fn describe_responses(operation: &mut Operation) -> Result<(), String> {
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            let status = status.parse::<StatusCode>().map_err(|error| error.to_string())?;
            status
                .canonical_reason()
                .unwrap_or("Other")
                .clone_into(&mut response.description);
        }
    }
    Ok(())
}

/// `/openapi.json`, made and serialized at its first request, and Swagger UI at `/swagger` from the binary's own files.
pub fn swagger(document: impl Fn() -> Result<OpenApi, String> + Clone + Send + Sync + 'static) -> axum::Router {
    let config = utoipa_swagger_ui::Config::from("/openapi.json")
        // A token must not outlive the page in the browser.
        .persist_authorization(false)
        .try_it_out_enabled(true);
    let router: axum::Router = utoipa_swagger_ui::SwaggerUi::new("/swagger").config(config).into();
    let once: Arc<OnceLock<Result<Bytes, String>>> = Arc::default();
    let answer = async move || {
        let json = || {
            document()?
                .to_json()
                .map(Bytes::from)
                .map_err(|error| error.to_string())
        };
        match once.get_or_init(json) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes.clone()).into_response(),
            Err(error) => Problem::internal(error).into_response(),
        }
    };
    router.route("/openapi.json", get(answer))
}
