//! `/releases` over HTTP.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use garde::Validate;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::activation::Cause;
use super::error::ReleaseError;
use super::model::{NewRelease, Release, ReleaseEntry};
use super::service::ReleaseService;
use super::state::State;
use super::store::Filter;
use crate::auth::{FORBIDDEN, ReleasesApprove, ReleasesRead, ReleasesWaive, ReleasesWrite, SteppedUp};
use crate::http::extract::with_etag;
use crate::http::{Body, Code, IfMatch, Page, PageParams, Params, Path, Problem};
use crate::text::legible;

const NO_SUCH_RELEASE: Code = Code::new("no-such-release", 404, "There is no such release");
const RELEASE_CHANGED: Code = Code::new("release-changed", 412, "The release changed since you read it");
const RELEASE_STATE: Code =
    Code::new("release-state", 409, "The release is in another state").with_members(r#"{"state": "DRAFT"}"#);
const RELEASE_OUTDATED: Code = Code::new("release-outdated", 409, "The event changed since the release was made")
    .with_members(r#"{"eventRevision": 4}"#);
const RELEASE_HASH: Code = Code::new("release-hash", 409, "The release is not what you approve")
    .with_members(r#"{"hash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#);
pub const SECOND_PERSON_REQUIRED: Code = Code::new("second-person-required", 403, "Another person must do this");
const BACKTEST_REQUIRED: Code = Code::new("backtest-required", 409, "The release needs a backtest");
const RELEASE_RUNNING: Code = Code::new("release-running", 409, "Another release of the event runs")
    .with_members(r#"{"releaseId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const RELEASE_SUPERSEDED: Code = Code::new("release-superseded", 409, "A later release of the event is live")
    .with_members(r#"{"releaseId": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77"}"#);
const TOO_MANY_RELEASES: Code = Code::new("too-many-releases", 409, "There are too many releases or comments");
const RELEASE_OVER: Code = Code::new("release-over", 409, "The event of the release has ended");

pub const CODES: &[Code] = &[
    NO_SUCH_RELEASE,
    RELEASE_CHANGED,
    RELEASE_STATE,
    RELEASE_OUTDATED,
    RELEASE_HASH,
    SECOND_PERSON_REQUIRED,
    BACKTEST_REQUIRED,
    RELEASE_RUNNING,
    RELEASE_SUPERSEDED,
    TOO_MANY_RELEASES,
    RELEASE_OVER,
];

pub fn router(service: ReleaseService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, edit))
        .routes(routes!(entries))
        .routes(routes!(submit))
        .routes(routes!(comment))
        .routes(routes!(waive))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(activate))
        .routes(routes!(hold))
        .routes(routes!(resume))
        .routes(routes!(roll_back))
        .routes(routes!(withdraw))
        .with_state(service)
}

/// A text that says why, for the history of the release.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleaseReason)]
struct Reason {
    #[garde(length(chars, min = 1, max = 2000), custom(legible))]
    #[schema(example = "Grants are three times the forecast", min_length = 1, max_length = 2000)]
    reason: String,
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleaseComment)]
struct Comment {
    #[garde(length(chars, min = 1, max = 2000), custom(legible))]
    #[schema(example = "Why five days?", min_length = 1, max_length = 2000)]
    text: String,
}

#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ReleaseApproval)]
struct Approval {
    /// The `hash` of the release that you looked at
    #[garde(length(bytes, min = 1, max = 100))]
    #[schema(example = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    hash: String,
}

/// Propose a change of an event.
///
/// It waits for the approval of another person, unless it is a draft. The server checks it as if it became live now.
#[utoipa::path(
    post, path = "/releases", tag = "releases", security(("bearer" = ["releases:write"])),
    request_body = NewRelease,
    responses((status = 201, body = Release, headers(("Location" = String), ("ETag" = String)))),
    extensions(("x-problems" = json!([
        "no-such-event", "event-changed", "event-started", "event-over", "event-name-taken", "plugin-failed",
        "sealing-key-missing", "too-many-releases",
    ]))),
)]
async fn create(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Body(new): Body<NewRelease>,
) -> Result<impl IntoResponse, Problem> {
    let actor = service.actor(&principal).await?;
    let release = service.create(new, actor).await?;
    let location = [(header::LOCATION, format!("/releases/{}", release.id))];
    Ok((StatusCode::CREATED, location, with_etag(release.revision, release)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only releases of this event
    event_id: Option<Uuid>,
    /// Only releases in this state
    state: Option<State>,
}

/// List releases, newest first.
#[utoipa::path(
    get, path = "/releases", tag = "releases", security(("bearer" = ["releases:read"])),
    params(PageParams, ListParams),
    responses((status = 200, body = Page<Release>)),
)]
async fn list(
    Shared(service): Shared<ReleaseService>,
    _: ReleasesRead,
    Params(page): Params<PageParams>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<Release>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let filter = Filter {
        event_id: params.event_id,
        state: params.state,
    };
    let releases = service.list(filter, after, size).await?;
    Ok(axum::Json(Page::new(
        releases,
        size,
        |release| release.id,
        |release| release,
    )))
}

/// Get a release.
#[utoipa::path(
    get, path = "/releases/{id}", tag = "releases", security(("bearer" = ["releases:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Release, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-release"]))),
)]
async fn get(
    Shared(service): Shared<ReleaseService>,
    _: ReleasesRead,
    Path(id): Path<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let release = service.get(id).await?;
    Ok(with_etag(release.revision, release))
}

/// Replace the content of a release that does not run. An approval is void then.
#[utoipa::path(
    put, path = "/releases/{id}", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path), ("If-Match" = String, Header, description = "The ETag of the version you read")),
    request_body = NewRelease,
    responses((status = 200, body = Release, headers(("ETag" = String)))),
    extensions(("x-problems" = json!([
        "no-such-release", "release-changed", "release-state", "revision-required", "no-such-event", "event-changed",
        "event-started", "event-over", "event-name-taken", "plugin-failed", "sealing-key-missing",
    ]))),
)]
async fn edit(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
    IfMatch(revision): IfMatch,
    Body(new): Body<NewRelease>,
) -> Result<impl IntoResponse, Problem> {
    let actor = service.actor(&principal).await?;
    let release = service.edit(id, revision, new, actor).await?;
    Ok(with_etag(release.revision, release))
}

/// List the comments of a release and what happened to it, newest first.
#[utoipa::path(
    get, path = "/releases/{id}/entries", tag = "releases", security(("bearer" = ["releases:read"])),
    params(("id" = Uuid, Path), PageParams),
    responses((status = 200, body = Page<ReleaseEntry>)),
    extensions(("x-problems" = json!(["no-such-release"]))),
)]
async fn entries(
    Shared(service): Shared<ReleaseService>,
    _: ReleasesRead,
    Path(id): Path<Uuid>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<ReleaseEntry>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let entries = service.entries(id, before, size).await?;
    Ok(axum::Json(Page::new(
        entries,
        size,
        |entry| entry.number,
        |entry| entry,
    )))
}

/// Submit a draft for review.
#[utoipa::path(
    post, path = "/releases/{id}/submission", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!(["no-such-release", "release-state"]))),
)]
async fn submit(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.submit(id, actor).await?))
}

/// Comment on a release.
#[utoipa::path(
    post, path = "/releases/{id}/comments", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    request_body = Comment,
    responses((status = 204)),
    extensions(("x-problems" = json!(["no-such-release", "too-many-releases"]))),
)]
async fn comment(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
    Body(comment): Body<Comment>,
) -> Result<StatusCode, Problem> {
    let actor = service.actor(&principal).await?;
    service.comment(id, comment.text, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a release be approved without a backtest. The reason is part of what is approved, so an approval before it is void.
#[utoipa::path(
    post, path = "/releases/{id}/waiver", tag = "releases", security(("bearer" = ["releases:waive"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!(["no-such-release", "release-state", "step-up-required"]))),
)]
async fn waive(
    Shared(service): Shared<ReleaseService>,
    ReleasesWaive(principal): ReleasesWaive,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.waive(id, reason, actor).await?))
}

/// Approve exactly what has this hash. Its authors cannot, and neither can a service key.
#[utoipa::path(
    post, path = "/releases/{id}/approval", tag = "releases", security(("bearer" = ["releases:approve"])),
    params(("id" = Uuid, Path)),
    request_body = Approval,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!([
        "no-such-release", "release-state", "release-hash", "release-outdated", "second-person-required", "backtest-required",
        "step-up-required", "no-such-event", "event-started", "event-over", "plugin-failed", "sealing-key-missing",
    ]))),
)]
async fn approve(
    Shared(service): Shared<ReleaseService>,
    ReleasesApprove(principal): ReleasesApprove,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    Body(Approval { hash }): Body<Approval>,
) -> Result<axum::Json<Release>, Problem> {
    Ok(axum::Json(service.approve(id, hash, &principal).await?))
}

/// Reject a release: it is a draft again.
#[utoipa::path(
    post, path = "/releases/{id}/rejection", tag = "releases", security(("bearer" = ["releases:approve"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!(["no-such-release", "release-state"]))),
)]
async fn reject(
    Shared(service): Shared<ReleaseService>,
    ReleasesApprove(principal): ReleasesApprove,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.reject(id, reason, actor).await?))
}

/// Activate an approved release: its ramp begins, or the event has its content.
#[utoipa::path(
    post, path = "/releases/{id}/activation", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!([
        "no-such-release", "release-state", "release-hash", "release-outdated", "release-running", "no-such-event",
        "event-started", "event-over", "event-name-taken", "facts-not-ready", "candidate-too-large", "plugin-failed",
        "sealing-key-missing",
    ]))),
)]
async fn activate(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.activate(id, Cause::Person(actor)).await?))
}

/// Hold a ramp: the event decides as before for everyone.
#[utoipa::path(
    post, path = "/releases/{id}/hold", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!(["no-such-release", "release-state", "sealing-key-missing"]))),
)]
async fn hold(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.hold(id, reason, actor).await?))
}

/// Continue a held ramp from its first step. That overrules the guard, so none of the authors can.
#[utoipa::path(
    post, path = "/releases/{id}/resumption", tag = "releases", security(("bearer" = ["releases:approve"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!([
        "no-such-release", "release-state", "release-hash", "release-running", "second-person-required", "step-up-required",
        "no-such-event", "event-changed", "facts-not-ready", "candidate-too-large", "plugin-failed", "sealing-key-missing",
    ]))),
)]
async fn resume(
    Shared(service): Shared<ReleaseService>,
    ReleasesApprove(principal): ReleasesApprove,
    _: SteppedUp,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    Ok(axum::Json(service.resume(id, reason, &principal).await?))
}

/// Roll back: the event decides as it did before the release. It needs no second person.
#[utoipa::path(
    post, path = "/releases/{id}/rollback", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!([
        "no-such-release", "release-state", "release-superseded", "release-over", "no-such-event", "event-changed", "never-live",
        "plugin-failed", "sealing-key-missing",
    ]))),
)]
async fn roll_back(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.roll_back(id, reason, actor).await?))
}

/// Withdraw a release that does not run.
#[utoipa::path(
    post, path = "/releases/{id}/withdrawal", tag = "releases", security(("bearer" = ["releases:write"])),
    params(("id" = Uuid, Path)),
    request_body = Reason,
    responses((status = 200, body = Release)),
    extensions(("x-problems" = json!(["no-such-release", "release-state"]))),
)]
async fn withdraw(
    Shared(service): Shared<ReleaseService>,
    ReleasesWrite(principal): ReleasesWrite,
    Path(id): Path<Uuid>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<axum::Json<Release>, Problem> {
    let actor = service.actor(&principal).await?;
    Ok(axum::Json(service.withdraw(id, reason, actor).await?))
}

impl From<ReleaseError> for Problem {
    fn from(error: ReleaseError) -> Self {
        let detail = error.to_string();
        match error {
            ReleaseError::NotFound(_) => Self::new(NO_SUCH_RELEASE, detail),
            ReleaseError::Changed { .. } => Self::new(RELEASE_CHANGED, detail),
            ReleaseError::Field { pointer, message } => Self::field(pointer, message),
            ReleaseError::WrongState { state, .. } => Self::new(RELEASE_STATE, detail).with("state", state),
            ReleaseError::TooMany { .. } | ReleaseError::TooManyComments(_) => Self::new(TOO_MANY_RELEASES, detail),
            ReleaseError::Outdated { is, .. } => Self::new(RELEASE_OUTDATED, detail).with("eventRevision", is),
            ReleaseError::OtherHash { is, .. } => Self::new(RELEASE_HASH, detail).with("hash", is),
            ReleaseError::KeyCannotApprove => Self::new(FORBIDDEN, detail),
            ReleaseError::OwnRelease | ReleaseError::OwnPlugin => Self::new(SECOND_PERSON_REQUIRED, detail),
            ReleaseError::NoBacktest(_) => Self::new(BACKTEST_REQUIRED, detail),
            ReleaseError::OtherRunning { other, .. } => Self::new(RELEASE_RUNNING, detail).with("releaseId", other),
            ReleaseError::Superseded { other } => Self::new(RELEASE_SUPERSEDED, detail).with("releaseId", other),
            ReleaseError::Over(_) => Self::new(RELEASE_OVER, detail),
            ReleaseError::Content(..) => Self::internal(error),
            ReleaseError::Event(error) => error.into(),
            ReleaseError::Plugin(error) => error.into(),
            ReleaseError::Key(error) => error.into(),
            ReleaseError::Backtest(error) => error.into(),
            ReleaseError::Db(error) => error.into(),
        }
    }
}
