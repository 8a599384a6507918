//! Users by external id over HTTP: `/users/external`.

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::attributes::Attributes;
use crate::auth::{UsersRead, UsersWrite};
use crate::body::many;
use crate::directory::ExternalId;
use crate::http::extract::{Many, read_many};
use crate::http::{Body, Path, Problem};
use crate::users::{
    ExternalUser, MAX_UPSERTS, UpsertOutcome, Upserted, Upserts, UserDetails, UserService, require_distinct,
};

pub(super) fn router() -> OpenApiRouter<UserService> {
    OpenApiRouter::new()
        .routes(routes!(get, upsert))
        .routes(routes!(upsert_many))
}

/// Get the user with an external id.
#[utoipa::path(
    get, path = "/users/external/{externalId}", tag = "users", security(("bearer" = ["users:read"])),
    operation_id = "get_external",
    params(("externalId" = String, Path, description = "Percent-encoded", example = "customer-1047")),
    responses((status = 200, body = UserDetails)),
    extensions(("x-problems" = json!(["no-such-user"]))),
)]
async fn get(
    State(service): State<UserService>,
    _: UsersRead,
    Path(external): Path<ExternalId>,
) -> Result<axum::Json<UserDetails>, Problem> {
    Ok(axum::Json(service.get_external(external).await?))
}

/// What to set.
#[derive(Debug, Default, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"attributes": {"level": 42, "region": "KR"}}))]
struct ExternalUserChange {
    /// Replaces all attributes of the user; left out: they stay as they are
    #[garde(skip)]
    #[schema(nullable = false)]
    attributes: Option<Attributes>,
}

/// Create a USER with an external id, or leave the user that has it; and replace its attributes, if you send some.
///
/// The body may be left out. The same call again changes nothing.
#[utoipa::path(
    put, path = "/users/external/{externalId}", tag = "users", security(("bearer" = ["users:write"])),
    params(("externalId" = String, Path, description = "Percent-encoded", example = "customer-1047")),
    request_body = Option<ExternalUserChange>,
    responses(
        (status = 200, description = "The user existed", body = UserDetails),
        (status = 201, description = "The user is new", body = UserDetails),
    ),
)]
async fn upsert(
    State(service): State<UserService>,
    UsersWrite(principal): UsersWrite,
    Path(external_id): Path<ExternalId>,
    change: Option<Body<ExternalUserChange>>,
) -> Result<(StatusCode, axum::Json<UserDetails>), Problem> {
    let attributes = change.and_then(|Body(change)| change.attributes);
    let user = ExternalUser {
        external_id,
        attributes,
    };
    let (outcome, user) = service.upsert(user, Some(principal.id())).await?;
    let status = match outcome {
        UpsertOutcome::Created => StatusCode::CREATED,
        UpsertOutcome::Updated | UpsertOutcome::Unchanged => StatusCode::OK,
    };
    Ok((status, axum::Json(user)))
}

/// Create users with external ids, or leave those that exist, and replace their attributes: an array of up to 1000, or NDJSON
/// (one user per line).
///
/// The server applies all users of a call or none. The same call again changes nothing. A problem has at most 20 errors with
/// JSON pointers: `/3/externalId` is the external id of the fourth user in the array, or on the fourth non-blank line.
#[utoipa::path(
    post, path = "/users/external", tag = "users", security(("bearer" = ["users:write"])),
    request_body(content(
        (Vec<ExternalUser> = "application/json", example = json!([
            {"externalId": "customer-1047", "attributes": {"level": 42, "region": "KR"}},
            {"externalId": "customer-1048"},
        ])),
        (String = "application/x-ndjson", example = "{\"externalId\":\"customer-1047\",\"attributes\":{\"level\":42}}\n"),
    )),
    responses(
        (status = 200, description = "All users existed", body = Upserts, example = json!({
            "created": 0, "updated": 0, "unchanged": 1,
            "items": [{
                "externalId": "customer-1047", "id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "outcome": "UNCHANGED",
            }],
        })),
        (status = 201, description = "At least one user is new", body = Upserts, example = json!({
            "created": 1, "updated": 0, "unchanged": 0,
            "items": [{
                "externalId": "customer-1047", "id": "0199a3b0-5c1e-7a51-8f5e-0d6f2c1b9e77", "outcome": "CREATED",
            }],
        })),
    ),
)]
async fn upsert_many(
    State(service): State<UserService>,
    UsersWrite(principal): UsersWrite,
    UserBatch(users): UserBatch,
) -> Result<(StatusCode, axum::Json<Upserts>), Problem> {
    let upserts = service.upsert_all(users, Some(principal.id())).await?;
    let is_new = |item: &Upserted| item.outcome == UpsertOutcome::Created;
    let status = if upserts.items.iter().any(is_new) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(upserts)))
}

/// The users of one call. Each is valid on its own, and their external ids differ.
struct UserBatch(Vec<ExternalUser>);

impl<S: Send + Sync> FromRequest<S> for UserBatch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = read_many(request, state).await?;
        let items = match &body {
            Many::Json(bytes) => many::array(bytes)?,
            Many::Lines(bytes) => many::lines(bytes)?,
        };
        let users = many::parse_each(&items, MAX_UPSERTS, "users")?;
        many::validate_each(&users, |_| Ok(()))?;
        require_distinct(&users).map_err(many::faults)?;
        Ok(Self(users))
    }
}
