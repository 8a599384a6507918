//! The codes of a reward over HTTP: `/rewards/{id}/codes`.

use std::sync::Arc;

use axum::body::{Body as Stream, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{LongLived, RewardsRead, RewardsWrite, SteppedUp};
use crate::http::extract::read_bytes;
use crate::http::{Path, Problem};
use crate::problem::UNSUPPORTED_MEDIA_TYPE;
use crate::rewards::codes::input::{self, Form};
use crate::rewards::codes::{CodeCounts, ImportedCodes, RewardCode};
use crate::rewards::service::RewardService;

const NDJSON: &str = "application/x-ndjson";
/// Codes that an export reads at once.
const CHUNK: i64 = 1_000;

pub(super) fn router() -> OpenApiRouter<RewardService> {
    OpenApiRouter::new()
        .routes(routes!(counts, import))
        .routes(routes!(export))
}

/// Count the codes of a reward.
#[utoipa::path(
    get, path = "/rewards/{id}/codes", tag = "rewards", security(("bearer" = ["rewards:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = CodeCounts)),
    extensions(("x-problems" = json!(["no-such-reward", "reward-without-codes"]))),
)]
async fn counts(
    State(service): State<RewardService>,
    _: RewardsRead,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<CodeCounts>, Problem> {
    Ok(axum::Json(service.codes(id).await?))
}

/// Parsed codes of an import.
struct Imported(Vec<RewardCode>);

impl<S: Send + Sync> FromRequest<S> for Imported {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let form = Form::ALL.iter().find(|(name, _)| essence.eq_ignore_ascii_case(name));
        let Some((_, form)) = form else {
            let detail =
                format!("Content-Type is {content_type:?}; send application/x-ndjson, text/csv or text/plain.");
            return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, detail));
        };
        let bytes = read_bytes(request, state).await?;
        input::parse(*form, &bytes).map(Self)
    }
}

/// Import codes of a reward: all of the body, or none if a line is faulty.
///
/// The body has up to 100,000 codes and 1 MiB: one `{"code": "…"}` per line (`application/x-ndjson`), CSV with a header and a
/// column `code` (`text/csv`), or one code per line (`text/plain`). A code has 1 to 128 visible characters. Codes that the
/// reward has or had are counted as duplicates and change nothing, so an import whose response was lost is safe to repeat.
#[utoipa::path(
    post, path = "/rewards/{id}/codes", tag = "rewards", security(("bearer" = ["rewards:write"])),
    params(("id" = Uuid, Path)),
    request_body(content(
        (String = "application/x-ndjson"),
        (String = "text/csv"),
        (String = "text/plain"),
    )),
    responses((status = 200, body = ImportedCodes)),
    extensions(("x-problems" = json!(["no-such-reward", "reward-without-codes", "sealing-key-missing", "release-required"]))),
)]
async fn import(
    State(service): State<RewardService>,
    _: RewardsWrite,
    Path(id): Path<Uuid>,
    Imported(codes): Imported,
) -> Result<axum::Json<ImportedCodes>, Problem> {
    Ok(axum::Json(service.import_codes(id, codes).await?))
}

/// Export the codes of a reward that are left, one `{"code": "…"}` per line. They stay in the pool. A service key cannot.
#[utoipa::path(
    get, path = "/rewards/{id}/codes/export", tag = "rewards", security(("bearer" = ["rewards:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, content((String = "application/x-ndjson")))),
    extensions(
        ("x-problems" = json!(["no-such-reward", "reward-without-codes", "sealing-key-missing", "step-up-required"])),
    ),
)]
async fn export(
    State(service): State<RewardService>,
    _: RewardsWrite,
    // A stolen service key must not empty the pool.
    _: SteppedUp,
    long_lived: LongLived,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let pass = Arc::new(long_lived.own_pass());
    let codes = service.export_codes(id).await?;
    // Before the response begins, so that a missing key is a problem.
    let first = codes.left(id, 0, CHUNK).await?;
    // Reads the next codes only when the client has taken the previous ones. An error ends the response in the middle, so the
    // client notices it.
    let chunks = stream::try_unfold(Some(first), move |chunk| {
        let (codes, pass) = (codes.clone(), Arc::clone(&pass));
        async move {
            pass.require()?;
            let Some((chunk, last)) = chunk.filter(|(chunk, _)| !chunk.is_empty()) else {
                return Ok(None);
            };
            let mut lines = Vec::new();
            for code in chunk {
                serde_json::to_writer(&mut lines, &serde_json::json!({"code": code})).map_err(std::io::Error::other)?;
                lines.push(b'\n');
            }
            let next = codes.left(id, last, CHUNK).await.inspect_err(|error| {
                tracing::error!(%error, reward.id = %id, "export of codes broken off");
            })?;
            Ok::<_, axum::BoxError>(Some((Bytes::from(lines), Some(next))))
        }
    });
    let headers = [(header::CONTENT_TYPE, NDJSON), (header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, Stream::from_stream(chunks)).into_response())
}
