//! What live claims said about the condition of a release, over HTTP.

use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::counts::TrialCounts;
use super::model::{Divergence, Kind};
use super::service::TrialService;
use crate::auth::ReleasesRead;
use crate::http::{Page, PageParams, Params, Path, Problem};

pub fn router(service: TrialService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(divergences))
        .routes(routes!(counts))
        .with_state(service)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only divergences of this kind
    #[param(example = "ALLOW_TO_DENY")]
    kind: Option<Kind>,
}

/// List the claims of which the event's condition and the candidate decided differently, newest first.
///
/// They are recorded while the release is tried, some seconds after the claim, and deleted after 30 days. Of each kind and step
/// the first 10,000 are listed; all are counted.
#[utoipa::path(
    get, path = "/releases/{id}/divergences", tag = "releases", security(("bearer" = ["releases:read"])),
    params(("id" = Uuid, Path), PageParams, ListParams),
    responses((status = 200, body = Page<Divergence>)),
)]
async fn divergences(
    State(service): State<TrialService>,
    _: ReleasesRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Divergence>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let rows = service.divergences(id, params.kind, after, size).await?;
    Ok(axum::Json(Page::new(rows, size, |row| row.id, |row| row)))
}

/// Get what was counted in each step of a release, the newest first.
#[utoipa::path(
    get, path = "/releases/{id}/counts", tag = "releases", security(("bearer" = ["releases:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = TrialCounts)),
)]
async fn counts(
    State(service): State<TrialService>,
    _: ReleasesRead,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<TrialCounts>, Problem> {
    let items = service.steps(id).await?;
    Ok(axum::Json(TrialCounts { items }))
}
