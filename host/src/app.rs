//! The composition root: the only place that wires things together.

use axum::Router;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::activities::ActivityService;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::http::{Code, FieldError, layers, openapi, problem};
use crate::rewards::RewardService;
use crate::{activities, auth, rewards};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Meed",
        description = "Rewards decided by sandboxed WebAssembly conditions. Every decision is a receipt that anyone can re-run.",
        license(name = "MIT OR Apache-2.0"),
    ),
    components(schemas(problem::ProblemBody<'_>, FieldError)),
    tags(
        (name = "auth", description = "Accounts and sessions"),
        (name = "users", description = "Accounts and their attributes"),
        (name = "activities", description = "What users did"),
        (name = "plugins", description = "Uploaded conditions"),
        (name = "rewards", description = "What is given"),
        (name = "events", description = "Offers with dates, a condition and rewards"),
        (name = "reward-requests", description = "Claims, decisions and receipts"),
        (name = "service", description = "Health"),
    ),
)]
struct Document;

/// Every problem code of the API.
fn codes() -> Vec<Code> {
    [problem::CODES, auth::CODES, activities::CODES, rewards::CODES].concat()
}

/// The services, wired.
#[derive(Clone, Debug)]
pub struct App {
    pub db: Db,
    pub clock: Clock,
    pub activities: ActivityService,
    pub rewards: RewardService,
    timeout: std::time::Duration,
}

impl App {
    pub async fn new(config: &Config, db: Db, clock: Clock) -> anyhow::Result<Self> {
        let activities = ActivityService::new(db.clone(), clock.clone());
        let rewards = RewardService::new(db.clone(), clock.clone());
        Ok(Self {
            db,
            clock,
            activities,
            rewards,
            timeout: config.http.timeout,
        })
    }

    fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::with_openapi(Document::openapi())
            .merge(activities::router(self.activities.clone()))
            .merge(rewards::router(self.rewards.clone()))
    }

    /// The OpenAPI document, the same for every configuration.
    pub fn openapi(&self) -> Result<OpenApi, String> {
        openapi::finish(self.routes().into_openapi(), &codes(), auth::SECURED)
    }

    /// The whole API, ready to serve.
    pub fn router(&self) -> Router {
        let (router, _) = self.routes().split_for_parts();
        layers::around(router, self.clock.clone(), self.timeout)
    }
}
