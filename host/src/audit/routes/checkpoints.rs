//! `/audit/checkpoints`: what others hold this server to. A checkpoint says only how many leaves there are, so every principal
//! may read it.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Principal;
use crate::http::{Code, Page, PageParams, Params, Path, Problem};
use crate::problem::INVALID_PARAMETER;
use crate::transparency::{ConsistencyProof, Log, LogError, StoredCheckpoint};

const NO_SUCH_CHECKPOINT: Code = Code::new("no-such-checkpoint", 404, "There is no such checkpoint");
const NOT_LOGGED: Code = Code::new(
    "not-logged-yet",
    409,
    "Not under a checkpoint of the transparency log yet",
);

pub const CODES: &[Code] = &[NO_SUCH_CHECKPOINT, NOT_LOGGED];

pub(super) fn router(log: Log) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(consistency))
        .with_state(log)
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        let code = match error {
            LogError::NoCheckpoint(_) => NO_SUCH_CHECKPOINT,
            LogError::NotSmaller { .. } => INVALID_PARAMETER,
            LogError::NotYet(_) => NOT_LOGGED,
            LogError::Damaged(_) => return Problem::internal(&error),
            LogError::Db(error) => return error.into(),
        };
        Problem::new(code, error.to_string())
    }
}

/// List the checkpoints of the transparency log, newest first.
#[utoipa::path(
    get, path = "/audit/checkpoints", tag = "audit", security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, body = Page<StoredCheckpoint>)),
)]
async fn list(
    State(log): State<Log>,
    _: Principal,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<StoredCheckpoint>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let checkpoints = log.checkpoints(before, size).await?;
    Ok(axum::Json(Page::new(
        checkpoints,
        size,
        |checkpoint| checkpoint.size,
        |checkpoint| checkpoint,
    )))
}

/// Get the checkpoint of a size. Its note is in the format of C2SP `tlog-checkpoint`.
#[utoipa::path(
    get, path = "/audit/checkpoints/{size}", tag = "audit", security(("bearer" = [])),
    params(("size" = u64, Path)),
    responses((status = 200, body = StoredCheckpoint)),
    extensions(("x-problems" = json!(["no-such-checkpoint"]))),
)]
async fn get(
    State(log): State<Log>,
    _: Principal,
    Path(size): Path<u64>,
) -> Result<axum::Json<StoredCheckpoint>, Problem> {
    Ok(axum::Json(log.checkpoint(size).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ConsistencyParams {
    /// The size of an earlier checkpoint
    #[param(minimum = 1)]
    from: u64,
}

/// Get the proof that an earlier checkpoint is the beginning of this one, so that no history was rewritten between them.
///
/// Save it and run `meed audit check proof.json --checkpoint earlier.txt --keys receipt-keys.json`.
#[utoipa::path(
    get, path = "/audit/checkpoints/{size}/consistency", tag = "audit", security(("bearer" = [])),
    params(("size" = u64, Path), ConsistencyParams),
    responses((status = 200, body = ConsistencyProof)),
    extensions(("x-problems" = json!(["no-such-checkpoint"]))),
)]
async fn consistency(
    State(log): State<Log>,
    _: Principal,
    Path(size): Path<u64>,
    Params(params): Params<ConsistencyParams>,
) -> Result<axum::Json<ConsistencyProof>, Problem> {
    Ok(axum::Json(log.consistency(params.from, size).await?))
}
