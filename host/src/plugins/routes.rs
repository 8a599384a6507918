//! `/plugins` over HTTP.

use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use super::service::{PluginError, PluginService, PluginState, PluginVersion, Uploaded};
use super::simulate::{Simulation, SimulationError, SimulationRequest, Simulator};
use crate::auth::Operator;
use crate::contract::Issue;
use crate::http::extract::read_bytes;
use crate::http::problem::{BODY_TOO_LARGE, INVALID_BODY, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE};
use crate::http::{Body, Code, FieldError, Page, PageParams, Params, Path, Problem};
use crate::sandbox::Refusal;

const NO_SUCH_PLUGIN: Code = Code::new("no-such-plugin", 404, "There is no such plugin or version");
const PLUGIN_REFUSED: Code = Code::new("plugin-refused", 422, "The upload is not a condition");
const PLUGIN_VERSION_TAKEN: Code = Code::new("plugin-version-taken", 409, "The version exists with other bytes");
const PLUGIN_IN_USE: Code = Code::new("plugin-in-use", 409, "The version is in use");
const PLUGIN_DISABLED: Code = Code::new("plugin-disabled", 409, "The version is disabled");
const PLUGIN_FAILED: Code = Code::new("plugin-failed", 422, "The plugin failed");

pub const CODES: &[Code] = &[
    NO_SUCH_PLUGIN,
    PLUGIN_REFUSED,
    PLUGIN_VERSION_TAKEN,
    PLUGIN_IN_USE,
    PLUGIN_DISABLED,
    PLUGIN_FAILED,
];

/// Room for the multipart frame around a module of the largest size.
const FRAME_BYTES: usize = 16 << 10;

pub fn router(service: PluginService, simulator: Simulator) -> OpenApiRouter {
    let largest = service.sandbox().settings().largest_upload() + FRAME_BYTES;
    OpenApiRouter::new()
        .routes(routes!(upload).layer(DefaultBodyLimit::max(largest)))
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(version, change, delete))
        .routes(routes!(module))
        .with_state(service)
        .merge(OpenApiRouter::new().routes(routes!(simulate)).with_state(simulator))
}

/// Upload a plugin version.
///
/// The body is a WebAssembly component of the world `meed:condition/condition@1.0.0`, or a core module with that
/// component's metadata embedded (what `cargo build --target wasm32-unknown-unknown` makes with the SDK); or a
/// multipart form with one file field `module`. Name and version come from the plugin itself. The same bytes again
/// answer 200 with the version that is there.
#[utoipa::path(
    post, path = "/plugins", tag = "plugins", security(("bearer" = [])),
    request_body(content((Binary = "application/wasm"), (UploadForm = "multipart/form-data"))),
    responses(
        (status = 201, body = PluginVersion, headers(("Location" = String))),
        (status = 200, body = PluginVersion, description = "These bytes were uploaded before"),
    ),
    extensions(
        ("x-roles" = json!(["OPERATOR", "ADMIN"])),
        ("x-problems" = json!([
            "plugin-refused", "plugin-version-taken", "body-too-large", "unsupported-media-type", "invalid-body"
        ])),
    ),
)]
async fn upload(
    State(service): State<PluginService>,
    Operator(caller): Operator,
    request: Request,
) -> Result<Response, Problem> {
    let limit = service.sandbox().settings().largest_upload();
    let module = read_module(request, limit).await?;
    Ok(match service.upload(module, Some(caller.user_id)).await? {
        Uploaded::New(version) => {
            let location = format!("/plugins/{}/versions/{}", version.name, version.version);
            (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(version)).into_response()
        }
        Uploaded::Known(version) => axum::Json(version).into_response(),
    })
}

/// The bytes of a module.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only describes the body")]
struct Binary(Vec<u8>);

/// A form with the module as its only file.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes the form")]
struct UploadForm {
    #[schema(value_type = String, format = Binary)]
    module: Vec<u8>,
}

async fn read_module(request: Request, limit: usize) -> Result<Vec<u8>, Problem> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let module = match essence.as_str() {
        "application/wasm" => read_bytes(request, &()).await?.to_vec(),
        "multipart/form-data" => read_form(request).await?,
        other => {
            return Err(Problem::new(
                UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "Content-Type is {other:?}; send application/wasm, or multipart/form-data with a file field module."
                ),
            ));
        }
    };
    if module.len() > limit {
        return Err(Problem::new(
            BODY_TOO_LARGE,
            format!("The module has {} bytes; at most {limit} are accepted.", module.len()),
        ));
    }
    Ok(module)
}

async fn read_form(request: Request) -> Result<Vec<u8>, Problem> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|rejection| {
        Problem::new(
            INVALID_BODY,
            format!("The form cannot be read: {}.", rejection.body_text()),
        )
    })?;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        if field.name() == Some("module") {
            return Ok(field.bytes().await.map_err(|error| unreadable(&error))?.to_vec());
        }
    }
    Err(Problem::new(INVALID_BODY, "The form has no file field named module."))
}

fn unreadable(error: &MultipartError) -> Problem {
    let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        BODY_TOO_LARGE
    } else {
        INVALID_BODY
    };
    Problem::new(code, format!("The form cannot be read: {}.", error.body_text()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only versions of this plugin
    #[param(example = "login-streak")]
    name: Option<String>,
    /// Only versions in this state
    state: Option<PluginState>,
}

/// List plugin versions, newest upload first.
#[utoipa::path(
    get, path = "/plugins", tag = "plugins", security(("bearer" = [])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<PluginVersion>)),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"]))),
)]
async fn list(
    State(service): State<PluginService>,
    _: Operator,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<PluginVersion>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let versions = service.list(params.name, params.state, after, size).await?;
    Ok(axum::Json(Page::new(
        versions,
        size,
        |version| version.id,
        |version| version,
    )))
}

/// A plugin with all its versions.
#[derive(Serialize, ToSchema)]
struct Plugin {
    #[schema(example = "login-streak")]
    name: String,
    /// Newest upload first
    versions: Vec<PluginVersion>,
}

/// Get a plugin with all its versions.
#[utoipa::path(
    get, path = "/plugins/{name}", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path)),
    responses((status = 200, body = Plugin)),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-plugin"]))),
)]
async fn get(
    State(service): State<PluginService>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<axum::Json<Plugin>, Problem> {
    let versions = service.versions(&name).await?;
    Ok(axum::Json(Plugin { name, versions }))
}

/// Get one version.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = PluginVersion)),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-plugin"]))),
)]
async fn version(
    State(service): State<PluginService>,
    _: Operator,
    Path((name, version)): Path<(String, String)>,
) -> Result<axum::Json<PluginVersion>, Problem> {
    Ok(axum::Json(service.version(&name, &version).await?))
}

/// Download a version's bytes, as they were uploaded.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}/module", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Binary, content_type = "application/wasm")),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-plugin"]))),
)]
async fn module(
    State(service): State<PluginService>,
    _: Operator,
    Path((name, version)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let found = service.version(&name, &version).await?;
    let module = service.module(found.digest).await?;
    let disposition = format!("attachment; filename=\"{name}-{version}.wasm\"");
    Ok((
        [
            (header::CONTENT_TYPE, "application/wasm".to_owned()),
            (header::CONTENT_DISPOSITION, disposition),
        ],
        module,
    ))
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct PluginChange {
    /// While a version is DISABLED, claims on its events are FAILED and may be repeated
    #[garde(skip)]
    state: PluginState,
}

/// Disable or enable a version.
#[utoipa::path(
    patch, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path), ("version" = String, Path)),
    request_body = PluginChange,
    responses((status = 200, body = PluginVersion)),
    extensions(("x-roles" = json!(["OPERATOR", "ADMIN"])), ("x-problems" = json!(["no-such-plugin"]))),
)]
async fn change(
    State(service): State<PluginService>,
    _: Operator,
    Path((name, version)): Path<(String, String)>,
    Body(change): Body<PluginChange>,
) -> Result<axum::Json<PluginVersion>, Problem> {
    Ok(axum::Json(service.set_state(&name, &version, change.state).await?))
}

/// Delete a version that no event and no receipt refers to.
#[utoipa::path(
    delete, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 204)),
    extensions(
        ("x-roles" = json!(["OPERATOR", "ADMIN"])),
        ("x-problems" = json!(["no-such-plugin", "plugin-in-use"])),
    ),
)]
async fn delete(
    State(service): State<PluginService>,
    _: Operator,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    service.delete(&name, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run a version without any effect.
///
/// With a real user (`userId`), facts are gathered as of `asOf`; or write the `facts` by hand, in the order of the
/// plan's queries. Nothing is stored.
#[utoipa::path(
    post, path = "/plugins/{name}/versions/{version}/simulate", tag = "plugins", security(("bearer" = [])),
    params(("name" = String, Path), ("version" = String, Path)),
    request_body = SimulationRequest,
    responses((status = 200, body = Simulation)),
    extensions(
        ("x-roles" = json!(["OPERATOR", "ADMIN"])),
        ("x-problems" = json!(["no-such-plugin", "plugin-disabled", "plugin-failed"])),
    ),
)]
async fn simulate(
    State(simulator): State<Simulator>,
    _: Operator,
    Path((name, version)): Path<(String, String)>,
    Body(request): Body<SimulationRequest>,
) -> Result<axum::Json<Simulation>, Problem> {
    Ok(axum::Json(simulator.simulate(&name, &version, request).await?))
}

/// Faults in the params, as faults in the body that holds them at `pointer`.
pub fn field_errors(pointer: &str, issues: Vec<Issue>) -> Vec<FieldError> {
    issues
        .into_iter()
        .map(|issue| FieldError {
            pointer: format!("{pointer}{}", issue.path),
            message: issue.message,
        })
        .collect()
}

impl From<PluginError> for Problem {
    fn from(error: PluginError) -> Self {
        let detail = error.to_string();
        match error {
            PluginError::NoSuchPlugin { .. } | PluginError::NoSuchVersion { .. } => Self::new(NO_SUCH_PLUGIN, detail),
            PluginError::Refused(Refusal::TooLarge { .. }) => Self::new(BODY_TOO_LARGE, detail),
            PluginError::Refused(refusal) if refusal.is_temporary() => Self::new(UNAVAILABLE, detail).retry_after(5),
            PluginError::Refused(refusal) => Self::new(PLUGIN_REFUSED, detail).with("refusal", refusal.code()),
            PluginError::VersionTaken { digest, .. } => Self::new(PLUGIN_VERSION_TAKEN, detail).with("digest", digest),
            PluginError::InUse { .. } => Self::new(PLUGIN_IN_USE, detail),
            PluginError::Disabled { .. } => Self::new(PLUGIN_DISABLED, detail),
            PluginError::Params(issues) => Self::fields(field_errors("/params", issues)),
            PluginError::BindFailed(failure) => Self::new(PLUGIN_FAILED, detail).with("failure", failure.code()),
            PluginError::Plan(_) => Self::new(PLUGIN_FAILED, detail).with("failure", "invalid-plan"),
            PluginError::Db(error) => error.into(),
            PluginError::Load(_)
            | PluginError::ModuleMissing(_)
            | PluginError::Canonical(_)
            | PluginError::Bundled { .. } => Self::internal(error),
        }
    }
}

impl From<SimulationError> for Problem {
    fn from(error: SimulationError) -> Self {
        match error {
            SimulationError::Plugin(error) => error.into(),
            SimulationError::Facts(crate::facts::FactError::Db(error)) => error.into(),
            SimulationError::Facts(error) => Self::internal(error),
            SimulationError::Field { pointer, message } => Self::field(pointer, message),
        }
    }
}
