//! The composition root: the only place that wires things together.

use axum::{Router, middleware};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::activities::ActivityService;
use crate::auth::{AuthService, Sessions};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::http::{Code, FieldError, layers, openapi, problem};
use crate::keys::{self, Keys};
use crate::rewards::RewardService;
use crate::users::{self, Passwords, UserService};
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
    [
        problem::CODES,
        auth::CODES,
        users::CODES,
        activities::CODES,
        rewards::CODES,
    ]
    .concat()
}

/// The services, wired.
#[derive(Clone, Debug)]
pub struct App {
    pub db: Db,
    pub clock: Clock,
    pub activities: ActivityService,
    pub keys: Keys,
    pub users: UserService,
    pub auth: AuthService,
    pub rewards: RewardService,
    timeout: std::time::Duration,
}

impl App {
    pub async fn new(config: &Config, db: Db, clock: Clock) -> anyhow::Result<Self> {
        let keys = Keys::load(&config.keys.directory)?;
        let activities = ActivityService::new(db.clone(), clock.clone());
        let sessions = Sessions::new(db.clone(), clock.clone(), config.auth.session_cache);
        let passwords = Passwords::new(
            config.auth.password_concurrency,
            config.auth.password_queue,
            clock.clone(),
        )?;
        let users = UserService::new(
            db.clone(),
            clock.clone(),
            passwords,
            sessions.clone(),
            activities.clone(),
        );
        let auth = AuthService::new(
            &config.auth,
            &keys.access,
            (db.clone(), clock.clone()),
            sessions,
            users.clone(),
            activities.clone(),
        )?;
        let rewards = RewardService::new(db.clone(), clock.clone());
        Ok(Self {
            db,
            clock,
            activities,
            keys,
            users,
            auth,
            rewards,
            timeout: config.http.timeout,
        })
    }

    fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::with_openapi(Document::openapi())
            .merge(activities::router(self.activities.clone()))
            .merge(keys::router(self.keys.clone()))
            .merge(auth::router(self.auth.clone()))
            .merge(users::router(self.users.clone()))
            .merge(rewards::router(self.rewards.clone()))
    }

    /// The OpenAPI document, the same for every configuration.
    pub fn openapi(&self) -> Result<OpenApi, String> {
        openapi::finish(self.routes().into_openapi(), &codes(), auth::SECURED)
    }

    /// The whole API, ready to serve.
    pub fn router(&self) -> Router {
        let (router, _) = self.routes().split_for_parts();
        let router = router.layer(middleware::from_fn_with_state(self.auth.clone(), auth::authenticate));
        layers::around(router, self.clock.clone(), self.timeout)
    }
}
