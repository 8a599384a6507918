//! Event groups over HTTP: `/event-groups`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{EventsRead, EventsWrite};
use crate::events::groups::{EventGroup, NewEventGroup};
use crate::events::model::group_name;
use crate::events::service::EventService;
use crate::http::extract::with_etag;
use crate::http::{Body, IfMatch, Page, PageParams, Params, Path, Problem};
use crate::problem::INVALID_PARAMETER;

pub(super) fn router() -> OpenApiRouter<EventService> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
}

/// List the event groups in the order of their names.
#[utoipa::path(
    get, path = "/event-groups", tag = "events", security(("bearer" = ["events:read"])),
    params(PageParams),
    responses((status = 200, body = Page<EventGroup>)),
)]
async fn list(
    State(service): State<EventService>,
    _: EventsRead,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<EventGroup>>, Problem> {
    let (size, after) = (page.size()?, page.after()?);
    let groups = service.groups(after, size).await?;
    Ok(axum::Json(Page::new(
        groups,
        size,
        |group| group.name.clone(),
        |group| group,
    )))
}

/// Get an event group.
#[utoipa::path(
    get, path = "/event-groups/{name}", tag = "events", security(("bearer" = ["events:read"])),
    params(("name" = String, Path)),
    responses((status = 200, body = EventGroup, headers(("ETag" = String)))),
    extensions(("x-problems" = json!(["no-such-event-group"]))),
)]
async fn get(
    State(service): State<EventService>,
    _: EventsRead,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let group = service.group(&name).await?;
    Ok(with_etag(group.revision, group))
}

/// Create an event group, or change one.
///
/// A change needs `If-Match`. Grants that users have already stay, also beyond a lower limit.
#[utoipa::path(
    put, path = "/event-groups/{name}", tag = "events", security(("bearer" = ["events:write"])),
    params(
        ("name" = String, Path, description = "1 to 64 lower-case letters, digits and hyphens"),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version you read; omit it to create the group"),
    ),
    request_body = NewEventGroup,
    responses(
        (status = 200, body = EventGroup, headers(("ETag" = String))),
        (status = 201, body = EventGroup, headers(("Location" = String), ("ETag" = String))),
    ),
    extensions(
        ("x-problems" = json!(["no-such-event-group", "event-group-changed", "revision-required", "release-required"])),
    ),
)]
async fn put(
    State(service): State<EventService>,
    EventsWrite(principal): EventsWrite,
    Path(name): Path<String>,
    revision: Option<IfMatch>,
    Body(new): Body<NewEventGroup>,
) -> Result<impl IntoResponse, Problem> {
    group_name(&name, &()).map_err(|error| Problem::new(INVALID_PARAMETER, format!("The name {error}.")))?;
    let expected = revision.map(|IfMatch(revision)| revision);
    let (group, is_new) = service.put_group(&name, expected, new, principal.id()).await?;
    let location = is_new.then(|| [(header::LOCATION, format!("/event-groups/{name}"))]);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, location, with_etag(group.revision, group)).into_response())
}

/// Delete an event group that no event is in. Existing grants stay.
#[utoipa::path(
    delete, path = "/event-groups/{name}", tag = "events", security(("bearer" = ["events:write"])),
    params(
        ("name" = String, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version you read; omit it to delete any version"),
    ),
    responses((status = 204)),
    extensions(
        ("x-problems" = json!(["no-such-event-group", "event-group-changed", "event-group-in-use"])),
    ),
)]
async fn delete(
    State(service): State<EventService>,
    _: EventsWrite,
    Path(name): Path<String>,
    revision: Option<IfMatch>,
) -> Result<StatusCode, Problem> {
    let expected = revision.and_then(|IfMatch(revision)| revision);
    service.delete_group(&name, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}
