//! `GET /audit` over HTTP, and the checkpoints of the transparency log (`checkpoints`). The layer that records refusals and the actions of staff is in `layer`.

mod checkpoints;
mod layer;

use axum::body::{Body as Stream, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::entry::Outcome;
use super::service::{AuditRecord, AuditService};
use super::store::Filter;
use crate::auth::AuditLogRead;
use crate::clock::Timestamp;
use crate::http::{Page, PageParams, Params, Problem};
use crate::transparency::Log;

pub use checkpoints::CODES;
pub use layer::{ReadOnly, Recorder, layer};

const NDJSON: &str = "application/x-ndjson";

/// Entries that an export reads at once.
const CHUNK: u32 = 500;

pub fn router(service: AuditService, log: Log) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .with_state(service)
        .merge(checkpoints::router(log))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only entries of this user or service key
    actor: Option<Uuid>,
    /// Only this action
    #[param(example = "PUT /events/{id}")]
    action: Option<String>,
    /// Only entries about the target with this id
    target: Option<String>,
    /// Only this outcome
    outcome: Option<Outcome>,
    /// Only entries at or after this time
    from: Option<Timestamp>,
    /// Only entries before this time
    to: Option<Timestamp>,
}

/// List the audit log, newest first.
///
/// With `Accept: application/x-ndjson` the response contains all entries that match, one per line, without pages.
#[utoipa::path(
    get, path = "/audit", tag = "audit", security(("bearer" = ["audit-log:read"])),
    params(PageParams, ListParams),
    responses((status = 200, content(
        (Page<AuditRecord> = "application/json"),
        (String = "application/x-ndjson"),
    ))),
)]
async fn list(
    State(service): State<AuditService>,
    _: AuditLogRead,
    headers: HeaderMap,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<Response, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        actor: params.actor,
        action: params.action,
        target: params.target,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
    };
    let accepts = |value: &str| value.split(',').any(|range| range.trim().starts_with(NDJSON));
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(accepts) {
        return Ok(export(service, filter, after));
    }
    let records = service.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(records, size, |record| record.id, |record| record)).into_response())
}

/// Reads the next entries only when the client has taken the previous ones. An error ends the response in the middle,
/// so the client notices it.
fn export(service: AuditService, filter: Filter, after: Option<Uuid>) -> Response {
    let chunks = stream::try_unfold(Some(after), move |position| {
        let (service, filter) = (service.clone(), filter.clone());
        async move {
            let Some(after) = position else { return Ok(None) };
            let mut records = service.list(filter, after, CHUNK).await.inspect_err(|error| {
                tracing::error!(%error, "audit export broken off");
            })?;
            let is_last = records.len() <= CHUNK as usize;
            records.truncate(CHUNK as usize);
            let next = records.last().filter(|_| !is_last).map(|record| Some(record.id));
            let mut lines = Vec::new();
            for record in records {
                serde_json::to_writer(&mut lines, &record).map_err(std::io::Error::other)?;
                lines.push(b'\n');
            }
            Ok::<_, axum::BoxError>(Some((Bytes::from(lines), next)))
        }
    });
    ([(header::CONTENT_TYPE, NDJSON)], Stream::from_stream(chunks)).into_response()
}
