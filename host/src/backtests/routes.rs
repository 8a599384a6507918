//! `/backtests` over HTTP.

use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::error::BacktestError;
use super::model::{Backtest, NewBacktest};
use super::report::{SignedReport, csv, html};
use super::service::BacktestService;
use super::state::State;
use super::store::Filter;
use crate::auth::{BacktestsRead, BacktestsWrite};
use crate::canonical;
use crate::contract::Issue;
use crate::http::{Body, Code, FieldError, Page, PageParams, Params, Path, Problem};

const NO_SUCH_BACKTEST: Code = Code::new("no-such-backtest", 404, "There is no such backtest");
const TOO_MANY_BACKTESTS: Code = Code::new("too-many-backtests", 409, "Too many backtests are not over");
const BACKTEST_STATE: Code = Code::new("backtest-state", 409, "The state of the backtest does not permit it");
const BACKTEST_NOT_DONE: Code = Code::new("backtest-not-done", 409, "The backtest has no report");
const NOT_ACCEPTABLE: Code = Code::new("not-acceptable", 406, "The report has no such form");

pub const CODES: &[Code] = &[
    NO_SUCH_BACKTEST,
    TOO_MANY_BACKTESTS,
    BACKTEST_STATE,
    BACKTEST_NOT_DONE,
    NOT_ACCEPTABLE,
];

pub fn router(service: BacktestService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
        .routes(routes!(report))
        .with_state(service)
}

/// Run a backtest: what would a condition have decided in the past?
///
/// The backtest runs in the background. The terms of the event, the conditions and the period are those of now.
#[utoipa::path(
    post, path = "/backtests", tag = "backtests", security(("bearer" = ["backtests:write"])),
    request_body = NewBacktest,
    responses((status = 202, body = Backtest, headers(("Location" = String)))),
    extensions(("x-problems" = json!(["no-such-event", "plugin-failed", "too-many-backtests"]))),
)]
async fn create(
    Extracted(service): Extracted<BacktestService>,
    BacktestsWrite(principal): BacktestsWrite,
    Body(new): Body<NewBacktest>,
) -> Result<impl IntoResponse, Problem> {
    let backtest = service.create(new, principal.id()).await?;
    let location = [(header::LOCATION, format!("/backtests/{}", backtest.id))];
    Ok((StatusCode::ACCEPTED, location, axum::Json(backtest)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only backtests of this event
    event_id: Option<Uuid>,
    /// Only backtests in this state
    state: Option<State>,
}

/// List backtests, newest first, without the progress of their rounds.
#[utoipa::path(
    get, path = "/backtests", tag = "backtests", security(("bearer" = ["backtests:read"])),
    params(ListParams, PageParams),
    responses((status = 200, body = Page<Backtest>)),
)]
async fn list(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsRead,
    Params(filter): Params<ListParams>,
    Params(page): Params<PageParams>,
) -> Result<axum::Json<Page<Backtest>>, Problem> {
    let (size, before) = (page.size()?, page.after()?);
    let filter = Filter {
        event_id: filter.event_id,
        state: filter.state,
    };
    let backtests = service.list(filter, before, size).await?;
    Ok(axum::Json(Page::new(
        backtests,
        size,
        |backtest| backtest.id,
        |backtest| backtest,
    )))
}

/// Get a backtest and its progress.
#[utoipa::path(
    get, path = "/backtests/{id}", tag = "backtests", security(("bearer" = ["backtests:read"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Backtest)),
    extensions(("x-problems" = json!(["no-such-backtest"]))),
)]
async fn get(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsRead,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Backtest>, Problem> {
    Ok(axum::Json(service.get(id).await?))
}

/// Pause a backtest. What is replayed stays.
#[utoipa::path(
    post, path = "/backtests/{id}/pause", tag = "backtests", security(("bearer" = ["backtests:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Backtest)),
    extensions(("x-problems" = json!(["no-such-backtest", "backtest-state"]))),
)]
async fn pause(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Backtest>, Problem> {
    Ok(axum::Json(service.pause(id).await?))
}

/// Go on with a paused backtest.
#[utoipa::path(
    post, path = "/backtests/{id}/resume", tag = "backtests", security(("bearer" = ["backtests:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Backtest)),
    extensions(("x-problems" = json!(["no-such-backtest", "backtest-state"]))),
)]
async fn resume(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Backtest>, Problem> {
    Ok(axum::Json(service.resume(id).await?))
}

/// Cancel a backtest. It stays in the list for a week.
#[utoipa::path(
    post, path = "/backtests/{id}/cancellation", tag = "backtests", security(("bearer" = ["backtests:write"])),
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Backtest)),
    extensions(("x-problems" = json!(["no-such-backtest", "backtest-state"]))),
)]
async fn cancel(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsWrite,
    Path(id): Path<Uuid>,
) -> Result<axum::Json<Backtest>, Problem> {
    Ok(axum::Json(service.cancel(id).await?))
}

/// Get the signed report of a backtest that is DONE.
///
/// The JSON is canonical (RFC 8785); save it and run `meed verify report`. With `Accept: text/csv` the response has the
/// numbers, with `Accept: text/html` one page with charts.
#[utoipa::path(
    get, path = "/backtests/{id}/report", tag = "backtests", security(("bearer" = ["backtests:read"])),
    params(("id" = Uuid, Path), ("Accept" = Option<String>, Header, description = "application/json, text/csv or text/html")),
    responses((status = 200, content((SignedReport = "application/json"), (String = "text/csv"), (String = "text/html")))),
    extensions(("x-problems" = json!(["no-such-backtest", "backtest-not-done", "not-acceptable"]))),
)]
async fn report(
    Extracted(service): Extracted<BacktestService>,
    _: BacktestsRead,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = Form::of(&headers)?;
    let signed = service.report(id).await?;
    let (content_type, body) = match form {
        Form::Json => {
            let body = canonical::to_string(&signed).map_err(|error| Problem::internal(BacktestError::from(error)))?;
            ("application/json", body)
        }
        Form::Csv => ("text/csv; charset=utf-8", csv(&signed)),
        Form::Html => ("text/html; charset=utf-8", html(&signed)),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, "Accept"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        ),
    ];
    Ok((headers, body).into_response())
}

enum Form {
    Json,
    Csv,
    Html,
}

impl Form {
    /// The first form that the client accepts.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(accept) = headers.get(header::ACCEPT) else {
            return Ok(Self::Json);
        };
        let accept = accept.to_str().unwrap_or_default();
        let types = accept
            .split(',')
            .map(|part| part.split(';').next().unwrap_or_default().trim());
        let known = types.filter_map(|name| match name.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "text/csv" => Some(Self::Csv),
            "text/html" | "text/*" => Some(Self::Html),
            _ => None,
        });
        let mut known = known;
        known
            .next()
            .ok_or_else(|| BacktestError::NotAcceptable(accept.to_owned()).into())
    }
}

impl From<BacktestError> for Problem {
    fn from(error: BacktestError) -> Self {
        let detail = error.to_string();
        match error {
            BacktestError::NotFound(_) => Self::new(NO_SUCH_BACKTEST, detail),
            BacktestError::Field { pointer, message } => Self::field(pointer, message),
            BacktestError::TooMany(_) | BacktestError::TooManyOfAll(_) => Self::new(TOO_MANY_BACKTESTS, detail),
            BacktestError::State { .. } => Self::new(BACKTEST_STATE, detail),
            BacktestError::NoReport(_) => Self::new(BACKTEST_NOT_DONE, detail),
            BacktestError::NotAcceptable(_) => Self::new(NOT_ACCEPTABLE, detail),
            BacktestError::Params { pointer, issues } => {
                let field = |issue: Issue| FieldError {
                    pointer: format!("{pointer}{}", issue.path),
                    message: issue.message,
                };
                Self::fields(issues.into_iter().map(field).collect())
            }
            BacktestError::Plugin(error) => error.into(),
            BacktestError::Event(error) => error.into(),
            BacktestError::Db(error) => error.into(),
            error => Self::internal(error),
        }
    }
}
