//! Export and erasure of users over HTTP.

use std::sync::Arc;

use axum::body::{Body as Stream, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::{LongLived, Principal, Scope, SteppedUpOrKey, UsersWrite};
use crate::directory::UserRef;
use crate::http::{Path, Problem};
use crate::users::erasure::line;
use crate::users::{Erasure, Erasures, UserError};

const NDJSON: &str = "application/x-ndjson";

pub fn router(service: Erasures) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(export))
        .routes(routes!(request))
        .routes(routes!(state, cancel))
        .with_state(service)
}

/// The id of the user, if the principal is this user or has the scope; for all others there is no such user.
async fn reachable(service: &Erasures, principal: &Principal, user: UserRef, scope: Scope) -> Result<Uuid, Problem> {
    let id = service.users().id_of(user.clone()).await?;
    if !principal.is_or_has(id, scope) || service.users().find(id).await?.is_none() {
        return Err(UserError::NotFound(user).into());
    }
    Ok(id)
}

/// Export everything that the server holds about a user, as one JSON object per line: users their own, an ADMIN everyone's.
///
/// Each line has a `type` (`account`, `attribute`, `session`, `activity`, `rewardRequest`) and `data`.
#[utoipa::path(
    get, path = "/users/{id}/export", tag = "users", security(("bearer" = []), ("bearer" = ["users:read"])),
    operation_id = "export_user",
    params(("id" = UserRef, Path)),
    responses((status = 200, content((String = "application/x-ndjson")))),
    extensions(("x-problems" = json!(["no-such-user"]))),
)]
async fn export(
    State(service): State<Erasures>,
    principal: Principal,
    long_lived: LongLived,
    Path(user): Path<UserRef>,
) -> Result<Response, Problem> {
    let id = reachable(&service, &principal, user, Scope::UsersRead).await?;
    let pass = Arc::new(long_lived.own_pass());
    // Reads the next items only when the client has taken the previous ones. An error ends the response in the middle, so the
    // client notices it.
    let chunks = stream::try_unfold((0, None), move |position| {
        let (service, pass) = (service.clone(), Arc::clone(&pass));
        async move {
            pass.require()?;
            let read = service.export(id, position).await.inspect_err(|error| {
                tracing::error!(%error, "export of a user broken off");
            })?;
            let Some((items, next)) = read else { return Ok(None) };
            let mut lines = Vec::new();
            for item in &items {
                serde_json::to_writer(&mut lines, &line(item)).map_err(std::io::Error::other)?;
                lines.push(b'\n');
            }
            Ok::<_, axum::BoxError>(Some((Bytes::from(lines), next)))
        }
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Stream::from_stream(chunks)).into_response())
}

/// Ask for the erasure of a user: users their own, an ADMIN everyone's.
///
/// The account is disabled and its sessions end at once. After the grace period (`users.erasure_grace_days`) the server erases
/// everything but the user's id, the statuses of requests, the grants, and the digests and signatures of receipts. The same
/// call again changes nothing. A service key can only name users with the role USER.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "users", security(("bearer" = []), ("bearer" = ["users:write"])),
    operation_id = "erase_user",
    params(("id" = UserRef, Path)),
    responses((status = 202, body = Erasure)),
    extensions(("x-problems" = json!(["step-up-required", "no-such-user", "last-admin", "staff-account"]))),
)]
async fn request(
    State(service): State<Erasures>,
    principal: Principal,
    _: SteppedUpOrKey,
    Path(user): Path<UserRef>,
) -> Result<(StatusCode, axum::Json<Erasure>), Problem> {
    let id = reachable(&service, &principal, user, Scope::UsersWrite).await?;
    let erasure = service.request(id, &principal).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(erasure)))
}

/// Get the erasure of a user: when it was asked for, when it is due, and when it was complete.
#[utoipa::path(
    get, path = "/users/{id}/erasure", tag = "users", security(("bearer" = []), ("bearer" = ["users:read"])),
    operation_id = "get_erasure",
    params(("id" = UserRef, Path)),
    responses((status = 200, body = Erasure)),
    extensions(("x-problems" = json!(["no-such-user", "no-erasure"]))),
)]
async fn state(
    State(service): State<Erasures>,
    principal: Principal,
    Path(user): Path<UserRef>,
) -> Result<axum::Json<Erasure>, Problem> {
    let id = reachable(&service, &principal, user, Scope::UsersRead).await?;
    Ok(axum::Json(service.state(id).await?))
}

/// Cancel an erasure that has not begun. The account is enabled again, if it was before.
///
/// A service key can only name users with the role USER.
#[utoipa::path(
    delete, path = "/users/{id}/erasure", tag = "users", security(("bearer" = ["users:write"])),
    operation_id = "cancel_erasure",
    params(("id" = UserRef, Path)),
    responses((status = 204)),
    extensions(("x-problems" = json!([
        "step-up-required", "no-such-user", "no-erasure", "erasure-begun", "staff-account",
    ]))),
)]
async fn cancel(
    State(service): State<Erasures>,
    UsersWrite(principal): UsersWrite,
    _: SteppedUpOrKey,
    Path(user): Path<UserRef>,
) -> Result<StatusCode, Problem> {
    let id = service.users().id_of(user).await?;
    service.cancel(id, &principal).await?;
    Ok(StatusCode::NO_CONTENT)
}
