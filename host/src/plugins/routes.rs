//! `/plugins` and, in `keys`, `/plugin-keys` over HTTP.

mod keys;

use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;
use uuid::Uuid;

use super::lifecycle::{HistoryEntry, PluginState};
use super::names::PluginName;
use super::service::{PluginError, PluginService, PluginVersion, Uploaded};
use super::signatures::SignatureError;
use super::simulate::{Simulation, SimulationError, SimulationRequest, Simulator};
use crate::auth::{OwnershipWrite, PluginsRead, PluginsWrite};
use crate::contract::Issue;
use crate::http::extract::read_bytes;
use crate::http::{Body, Code, FieldError, Page, PageParams, Params, Path, Problem};
use crate::problem::{BODY_TOO_LARGE, FACTS_COMPACTED, INVALID_BODY, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE};
use crate::sandbox::{LoadError, UploadRefusal};

const NO_SUCH_PLUGIN: Code = Code::new("no-such-plugin", 404, "There is no such plugin or version");
const PLUGIN_REFUSED: Code = Code::new("plugin-refused", 422, "The upload is not a valid plugin");
const UPLOAD_BUSY: Code = Code::new("upload-busy", 429, "Another upload of yours is in progress");
const UPLOAD_QUOTA: Code = Code::new("upload-quota", 429, "Your upload time of this hour is used up");
const UPLOAD_STORAGE_LIMIT: Code = Code::new(
    "upload-storage-limit",
    409,
    "Your storage quota for plugin versions is used up",
);
const PLUGIN_VERSION_TAKEN: Code = Code::new("plugin-version-taken", 409, "The version exists with different bytes");
const PLUGIN_NAME_TAKEN: Code = Code::new("plugin-name-taken", 409, "The plugin name belongs to another principal");
const PLUGIN_IN_USE: Code = Code::new("plugin-in-use", 409, "The version is in use");
const PLUGIN_DISABLED: Code = Code::new("plugin-disabled", 409, "The version is disabled");
const SIGNATURE_REQUIRED: Code = Code::new("signature-required", 422, "The upload must be signed");
const SIGNATURE_INVALID: Code = Code::new("signature-invalid", 422, "The signature is invalid");
const SIGNATURE_UNTRUSTED: Code = Code::new("signature-untrusted", 422, "The signing key is not trusted");
const NO_SUCH_PLUGIN_KEY: Code = Code::new("no-such-plugin-key", 404, "There is no such key");
const PLUGIN_KEY_TAKEN: Code = Code::new("plugin-key-taken", 409, "The key exists already");
const PLUGIN_FAILED: Code = Code::new("plugin-failed", 422, "The plugin failed");

pub const CODES: &[Code] = &[
    NO_SUCH_PLUGIN,
    PLUGIN_REFUSED,
    UPLOAD_BUSY,
    UPLOAD_QUOTA,
    UPLOAD_STORAGE_LIMIT,
    PLUGIN_VERSION_TAKEN,
    PLUGIN_NAME_TAKEN,
    PLUGIN_IN_USE,
    PLUGIN_DISABLED,
    PLUGIN_FAILED,
    SIGNATURE_REQUIRED,
    SIGNATURE_INVALID,
    SIGNATURE_UNTRUSTED,
    NO_SUCH_PLUGIN_KEY,
    PLUGIN_KEY_TAKEN,
];

/// The text of the `.minisig` file in base64, for a module that is not sent as a form.
const SIGNATURE_HEADER: &str = "meed-signature";

/// The maximum size of a form without its module.
const FORM_BYTES: usize = 16 << 10;

pub fn router(service: PluginService, simulator: Simulator) -> OpenApiRouter {
    let largest = service.sandbox().settings().largest_upload() + FORM_BYTES;
    OpenApiRouter::new()
        .routes(routes!(upload).layer(DefaultBodyLimit::max(largest)))
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(version, change, delete))
        .routes(routes!(module))
        .routes(routes!(history))
        .routes(routes!(give_name))
        .merge(keys::router())
        .with_state(service)
        .merge(OpenApiRouter::new().routes(routes!(simulate)).with_state(simulator))
}

/// Upload a plugin version.
///
/// The body is a WebAssembly component of the world `meed:condition/condition@1.0.0`, or a core module with embedded
/// component metadata (the output of `cargo build --target wasm32-unknown-unknown` with the SDK), or a multipart form
/// with a file field `module`. The plugin itself contains its name and version. Uploading the same bytes again returns
/// 200 with the existing version.
///
/// Send a minisign signature (`meed plugin sign`) as the form field `signature` or, in base64, as the header
/// `Meed-Signature`. Its trusted comment must name the plugin: `name:login-streak version:1.0.0`. The setting
/// `plugins.signatures` determines whether a signature is required. Uploading known bytes with a signature adds it to
/// the version.
#[utoipa::path(
    post, path = "/plugins", tag = "plugins", security(("bearer" = ["plugins:write"])),
    params(("Meed-Signature" = Option<String>, Header, description = "The text of the .minisig file, in Base64")),
    request_body(content((Binary = "application/wasm"), (UploadForm = "multipart/form-data"))),
    responses(
        (status = 201, body = PluginVersion, headers(("Location" = String))),
        (status = 200, body = PluginVersion, description = "The server already has these bytes"),
    ),
    extensions(
        ("x-problems" = json!([
            "plugin-refused", "upload-busy", "upload-quota", "upload-storage-limit", "plugin-version-taken",
            "plugin-name-taken",
            "body-too-large", "unsupported-media-type", "invalid-body",
            "signature-required", "signature-invalid", "signature-untrusted"
        ])),
    ),
)]
async fn upload(
    State(service): State<PluginService>,
    PluginsWrite(principal): PluginsWrite,
    request: Request,
) -> Result<Response, Problem> {
    // Acquired before the body is read, so that only one upload of an operator is in memory.
    let mut permit = service.acquire_upload(principal.id())?;
    let limit = service.sandbox().settings().largest_upload();
    let (module, signature) = read_upload(request, limit).await?;
    let signature = signature.as_deref();
    permit.start();
    Ok(
        match service.upload_signed(module, signature, Some(principal.id())).await? {
            Uploaded::New(version) => {
                let location = format!("/plugins/{}/versions/{}", version.name, version.version);
                (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(version)).into_response()
            }
            Uploaded::Existing(version) => axum::Json(version).into_response(),
        },
    )
}

/// The new owner of a name.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewOwner {
    /// A user
    #[garde(skip)]
    owner_id: Uuid,
}

/// Give a plugin's name to another user, who may then upload versions of it.
#[utoipa::path(
    put, path = "/plugins/{name}/owner", tag = "plugins", security(("bearer" = ["ownership:write"])),
    params(("name" = String, Path)),
    request_body = NewOwner,
    responses((status = 200, body = PluginName)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn give_name(
    State(service): State<PluginService>,
    _: OwnershipWrite,
    Path(name): Path<String>,
    Body(new): Body<NewOwner>,
) -> Result<axum::Json<PluginName>, Problem> {
    Ok(axum::Json(service.give_name(&name, new.owner_id).await?))
}

/// The module's bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only describes the body")]
struct Binary(Vec<u8>);

/// A form with the module and, optionally, its signature.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only describes the form")]
struct UploadForm {
    #[schema(value_type = String, format = Binary)]
    module: Vec<u8>,
    /// The `.minisig` file
    signature: Option<String>,
}

/// The module and the text of its signature.
async fn read_upload(request: Request, limit: usize) -> Result<(Vec<u8>, Option<String>), Problem> {
    let from_header = read_signature_header(&request)?;
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
    let (module, from_form) = match essence.as_str() {
        "application/wasm" => (read_bytes(request, &()).await?.to_vec(), None),
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
            format!("The module has {} bytes; the maximum is {limit}.", module.len()),
        ));
    }
    Ok((module, from_form.or(from_header)))
}

fn read_signature_header(request: &Request) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(SIGNATURE_HEADER) else {
        return Ok(None);
    };
    let text = STANDARD
        .decode(value)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| {
        let detail = "Meed-Signature is not the text of a .minisig file in base64.";
        Problem::new(SIGNATURE_INVALID, detail)
    })
}

async fn read_form(request: Request) -> Result<(Vec<u8>, Option<String>), Problem> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|rejection| {
        Problem::new(
            INVALID_BODY,
            format!("The form cannot be read: {}.", rejection.body_text()),
        )
    })?;
    let (mut module, mut signature) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        match field.name() {
            Some("module") => module = Some(field.bytes().await.map_err(|error| unreadable(&error))?.to_vec()),
            Some("signature") => signature = Some(field.text().await.map_err(|error| unreadable(&error))?),
            _ => {}
        }
    }
    let module = module.ok_or_else(|| Problem::new(INVALID_BODY, "The form has no file field named module."))?;
    Ok((module, signature))
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
    get, path = "/plugins", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<PluginVersion>)),
)]
async fn list(
    State(service): State<PluginService>,
    _: PluginsRead,
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
    get, path = "/plugins/{name}", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path)),
    responses((status = 200, body = Plugin)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn get(
    State(service): State<PluginService>,
    _: PluginsRead,
    Path(name): Path<String>,
) -> Result<axum::Json<Plugin>, Problem> {
    let versions = service.versions(&name).await?;
    Ok(axum::Json(Plugin { name, versions }))
}

/// Get one version.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = PluginVersion)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn version(
    State(service): State<PluginService>,
    _: PluginsRead,
    Path((name, version)): Path<(String, String)>,
) -> Result<axum::Json<PluginVersion>, Problem> {
    Ok(axum::Json(service.version(&name, &version).await?))
}

/// Download the uploaded bytes of a version.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}/module", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Binary, content_type = "application/wasm")),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn module(
    State(service): State<PluginService>,
    _: PluginsRead,
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
    /// ACTIVE or DISABLED. While a version is not ACTIVE, claims on its events are FAILED and can be repeated
    #[garde(skip)]
    state: PluginState,
}

/// Disable or enable a version, or release it from quarantine.
#[utoipa::path(
    patch, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = ["plugins:write"])),
    params(("name" = String, Path), ("version" = String, Path)),
    request_body = PluginChange,
    responses((status = 200, body = PluginVersion)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn change(
    State(service): State<PluginService>,
    PluginsWrite(principal): PluginsWrite,
    Path((name, version)): Path<(String, String)>,
    Body(change): Body<PluginChange>,
) -> Result<axum::Json<PluginVersion>, Problem> {
    Ok(axum::Json(
        service.set_state(&name, &version, change.state, principal.id()).await?,
    ))
}

/// Delete a version that no event, no earlier revision of an event and no receipt refers to.
#[utoipa::path(
    delete, path = "/plugins/{name}/versions/{version}", tag = "plugins", security(("bearer" = ["plugins:write"])),
    params(("name" = String, Path), ("version" = String, Path)),
    responses((status = 204)),
    extensions(
        ("x-problems" = json!(["no-such-plugin", "plugin-in-use"])),
    ),
)]
async fn delete(
    State(service): State<PluginService>,
    PluginsWrite(principal): PluginsWrite,
    Path((name, version)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    service.delete(&name, &version, principal.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the history of a version, newest first: uploads, signatures, changes of state.
#[utoipa::path(
    get, path = "/plugins/{name}/versions/{version}/history", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path), ("version" = String, Path), PageParams),
    responses((status = 200, body = Page<HistoryEntry>)),
    extensions(("x-problems" = json!(["no-such-plugin"]))),
)]
async fn history(
    State(service): State<PluginService>,
    _: PluginsRead,
    Path((name, version)): Path<(String, String)>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<HistoryEntry>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let entries = service.history(&name, &version, before, size).await?;
    Ok(axum::Json(Page::new(
        entries,
        size,
        |entry| entry.number,
        |entry| entry,
    )))
}

/// Simulate a decision.
///
/// Send `userId` or `externalUserId` to use the facts of this user as of `asOf`, or send `facts` in the order of the plan's queries.
/// Nothing is stored.
#[utoipa::path(
    post, path = "/plugins/{name}/versions/{version}/simulate", tag = "plugins", security(("bearer" = ["plugins:read"])),
    params(("name" = String, Path), ("version" = String, Path)),
    request_body = SimulationRequest,
    responses((status = 200, body = Simulation)),
    extensions(
        ("x-problems" = json!(["no-such-plugin", "plugin-disabled", "plugin-failed", "facts-compacted"])),
    ),
)]
async fn simulate(
    State(simulator): State<Simulator>,
    _: PluginsRead,
    Path((name, version)): Path<(String, String)>,
    Body(request): Body<SimulationRequest>,
) -> Result<axum::Json<Simulation>, Problem> {
    Ok(axum::Json(simulator.simulate(&name, &version, request).await?))
}

/// Converts issues of params to field errors of the body that contains the params at `pointer`.
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
            PluginError::Refused(UploadRefusal::TooLarge { .. }) => Self::new(BODY_TOO_LARGE, detail),
            PluginError::Refused(refusal) if refusal.is_temporary() => Self::new(UNAVAILABLE, detail).retry_after(5),
            PluginError::Refused(refusal) => Self::new(PLUGIN_REFUSED, detail).with("refusal", refusal.code()),
            PluginError::Gate(refusal) => Self::new(PLUGIN_REFUSED, detail).with("refusal", refusal.code()),
            PluginError::UploadBusy => Self::new(UPLOAD_BUSY, detail).retry_after(1),
            PluginError::UploadTime { retry_after, .. } => Self::new(UPLOAD_QUOTA, detail).retry_after(retry_after),
            PluginError::UploadStorage { .. } => Self::new(UPLOAD_STORAGE_LIMIT, detail),
            PluginError::VersionTaken { digest, .. } => Self::new(PLUGIN_VERSION_TAKEN, detail).with("digest", digest),
            PluginError::NameTaken { .. } => Self::new(PLUGIN_NAME_TAKEN, detail),
            PluginError::NoSuchOwner(_) => Self::field("/ownerId", detail),
            PluginError::InUse { .. } => Self::new(PLUGIN_IN_USE, detail),
            PluginError::NotActive { .. } => Self::new(PLUGIN_DISABLED, detail),
            PluginError::QuarantineByServerOnly => Self::field("/state", detail),
            PluginError::NotTrusted { .. } | PluginError::Signature(SignatureError::Untrusted(_)) => {
                Self::new(SIGNATURE_UNTRUSTED, detail)
            }
            PluginError::Signature(SignatureError::Required) => Self::new(SIGNATURE_REQUIRED, detail),
            PluginError::Signature(SignatureError::Invalid(_)) => Self::new(SIGNATURE_INVALID, detail),
            PluginError::PublicKey(message) => Self::field("/publicKey", message),
            PluginError::KeyTaken(_) => Self::new(PLUGIN_KEY_TAKEN, detail),
            PluginError::NoSuchKey(_) => Self::new(NO_SUCH_PLUGIN_KEY, detail),
            PluginError::Params(issues) => Self::fields(field_errors("/params", issues)),
            PluginError::BindFailed(failure) => Self::new(PLUGIN_FAILED, detail).with("failure", failure.code()),
            PluginError::Plan(_) => Self::new(PLUGIN_FAILED, detail).with("failure", "invalid-plan"),
            PluginError::Db(error) => error.into(),
            PluginError::Load(LoadError::Refused { refusal, .. }) if refusal.is_temporary() => {
                Self::new(UNAVAILABLE, detail).retry_after(5)
            }
            PluginError::Load(LoadError::Refused { refusal, .. }) => {
                Self::new(PLUGIN_FAILED, detail).with("failure", refusal.code())
            }
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
            SimulationError::Facts(crate::facts::FactError::Compacted(error)) => {
                Self::new(FACTS_COMPACTED, error.to_string())
            }
            SimulationError::Facts(error) => Self::internal(error),
            SimulationError::Field { pointer, message } => Self::field(pointer, message),
        }
    }
}
