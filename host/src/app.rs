//! The composition root: the only place that wires things together.

mod background;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::{Router, middleware};
use tower::ServiceBuilder;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::activities::ActivityService;
use crate::audit::{AuditService, Entry, LoggedEntries, Recorder};
use crate::auth::{AuthService, Role, Sessions};
use crate::backtests::{BacktestService, LoggedReports};
use crate::cache::{Cache, Invalidation};
use crate::claims::{Claims, LoggedRequests, LoggedReversals};
use crate::clock::Clock;
use crate::config::{Config, ConsoleAt, Limit};
use crate::console::{self, Console};
use crate::db::Db;
use crate::directory::{Directory, UserRef};
use crate::events::EventService;
use crate::facts::{Compactor, FactBuilder, FactReader};
use crate::fulfilments::FulfilmentService;
use crate::http::problem::ProblemBody;
use crate::http::{health, layers, limit, openapi, overload, receive};
use crate::keys::{Keyring, Keys, PublicKey, Purpose, Sealing};
use crate::mail::Mailer;
use crate::make_goods::MakeGoodService;
use crate::personal_data::PersonalData;
use crate::plugins::{PluginService, Simulator};
use crate::problem::{self, Code, FieldError};
use crate::releases::{LoggedReleases, ReleaseService};
use crate::rewards::{Codes, RewardService};
use crate::sandbox::{Class, CodeCache, Sandbox, Settings};
use crate::service_keys::{Authenticator, ServiceKeyService};
use crate::transparency::{Log, Removals, Sequencer, Source, Sources, Verifier};
use crate::trials::TrialService;
use crate::users::{
    Devices, Erasures, Issuers, LoggedErasures, LoginService, Mailing, OidcLogins, Passwords, SecondFactors, Standings,
    UserService,
};
use crate::watch::Watch;
use crate::webhooks::WebhookService;
use crate::{
    activities, audit, auth, backtests, claims, events, keys, make_goods, plugins, releases, rewards, service_keys,
    transparency, trials, users, webhooks,
};

pub use background::{supervise_delivery, supervise_metrics};

/// The limit on time codes: of one account at logins, and of one session at proofs within it. Of a million codes, three are
/// right at a time.
const CODE_LIMIT: Limit = Limit {
    burst: 5,
    per_minute: 1,
};

/// Requests that may wait for each concurrent password hash.
const WAITING_PER_HASH: usize = 32;

/// The route that takes longer than others, and reads a larger body.
const UPLOAD: (&str, &str) = ("POST", "/plugins");

/// Whether a route reads the body of this request itself, as it arrives.
fn is_streamed(parts: &Parts) -> bool {
    let (method, path) = UPLOAD;
    #[cfg(feature = "grpc")]
    if crate::rpc::is_streamed(parts) {
        return true;
    }
    (parts.method == method && parts.uri.path() == path) || activities::is_streamed(parts)
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Meed",
        description = "Rewards decided by sandboxed WebAssembly conditions. Every decision is a receipt that anyone can re-run.",
        license(name = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemBody<'_>, FieldError, UserRef)),
    tags(
        (name = "auth", description = "Accounts and sessions"),
        (name = "users", description = "Accounts and their attributes"),
        (name = "activities", description = "Reported user activities"),
        (name = "plugins", description = "Plugin versions"),
        (name = "rewards", description = "Rewards and stock"),
        (name = "events", description = "Offers with dates, a condition and rewards"),
        (name = "releases", description = "Approved changes of live events"),
        (name = "reward-requests", description = "Claims, decisions and receipts"),
        (name = "backtests", description = "What a condition would have decided in the past"),
        (name = "make-goods", description = "What a wrong rule did to users is put right"),
        (name = "grants", description = "Grants and their fulfilment"),
        (name = "webhook-endpoints", description = "Webhook endpoints and deliveries"),
        (name = "service-keys", description = "Keys of programs"),
        (name = "audit", description = "The audit log"),
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
        service_keys::CODES,
        activities::CODES,
        plugins::CODES,
        rewards::CODES,
        events::CODES,
        releases::CODES,
        claims::CODES,
        backtests::CODES,
        make_goods::CODES,
        webhooks::CODES,
        audit::CODES,
    ]
    .concat()
}

/// The service of accounts alone, for the command line: the first ADMIN is created before there are keys or plugins.
pub fn users(config: &Config, db: &Db, clock: &Clock) -> anyhow::Result<UserService> {
    let directory = Directory::new(db.clone(), clock.clone());
    let activities = activity_service(
        config,
        (db, clock),
        &directory,
        (watch(config, db, clock), FactReader::new(db.clone())),
    );
    let cache = Cache::in_process(&clock.random());
    let sessions = Sessions::new(db.clone(), clock.clone(), cache.clone(), config.auth.session_cache);
    let standings = Standings::new(directory.clone(), clock.clone(), cache, config.auth.session_cache);
    user_service(config, db, clock, (sessions, standings), (directory, activities))
}

/// The service of activities alone, for the command line.
pub fn activities(config: &Config, db: &Db, clock: &Clock) -> ActivityService {
    let directory = Directory::new(db.clone(), clock.clone());
    activity_service(
        config,
        (db, clock),
        &directory,
        (watch(config, db, clock), FactReader::new(db.clone())),
    )
}

/// The service of rewards alone, for the command line. Servers that run notice its changes within two seconds.
pub fn rewards(config: &Config, db: &Db, clock: &Clock) -> anyhow::Result<RewardService> {
    let sealing = Sealing::load(&config.keys.directory, clock.clone())?;
    let codes = Codes::new(db.clone(), clock.clone(), sealing);
    let cache = Cache::in_process(&clock.random());
    Ok(RewardService::new(
        (db.clone(), clock.clone()),
        cache,
        codes,
        config.releases,
    ))
}

fn activity_service(
    config: &Config,
    (db, clock): (&Db, &Clock),
    directory: &Directory,
    (watch, facts): (Watch, FactReader),
) -> ActivityService {
    let creates_users = config.activities.create_unknown_users;
    let stores = (db.clone(), clock.clone());
    ActivityService::new(stores, directory.clone(), creates_users, (watch, facts))
}

fn watch(config: &Config, db: &Db, clock: &Clock) -> Watch {
    Watch::new(&config.streams, config.outbox.retention, db.clone(), clock.clone())
}

fn user_service(
    config: &Config,
    db: &Db,
    clock: &Clock,
    caches: (Sessions, Standings),
    below: (Directory, ActivityService),
) -> anyhow::Result<UserService> {
    let passwords = Passwords::new(
        config.auth.password_concurrency,
        config.auth.password_concurrency * WAITING_PER_HASH,
        clock.clone(),
    )?;
    Ok(UserService::new(
        (db.clone(), clock.clone()),
        passwords,
        caches,
        below,
        config.auth.invitations_count_after,
    ))
}

/// The service of service keys alone, for the command line: the first key is created without a server.
pub fn service_keys(config: &Config, db: &Db, clock: &Clock) -> ServiceKeyService {
    service_key_service(config, db, clock, Cache::in_process(&clock.random()))
}

fn service_key_service(config: &Config, db: &Db, clock: &Clock, cache: Cache) -> ServiceKeyService {
    ServiceKeyService::new(
        (db.clone(), clock.clone()),
        cache,
        config.auth.session_cache,
        limit::policy("service-key", config.limits.service_key),
    )
}

/// With every feature that holds personal data.
fn erasures(
    config: &Config,
    users: &UserService,
    auth: &AuthService,
    activities: &ActivityService,
    (claims, fulfilments, trials, make_goods): (&Claims, FulfilmentService, &TrialService, &MakeGoodService),
) -> Erasures {
    let holders: [Arc<dyn PersonalData>; 7] = [
        Arc::new(users.clone()),
        Arc::new(auth.clone()),
        Arc::new(activities.clone()),
        Arc::new(claims.clone()),
        Arc::new(fulfilments),
        Arc::new(trials.clone()),
        Arc::new(make_goods.clone()),
    ];
    Erasures::new(users.clone(), holders.into(), config.users.erasure_grace())
}

fn mailing(config: &Config, db: &Db, clock: &Clock, users: &UserService) -> anyhow::Result<Mailing> {
    Ok(Mailing::new(
        &config.mail,
        config.auth.issuer.clone(),
        users.clone(),
        Mailer::new(&config.mail)?,
        (db.clone(), clock.clone()),
    ))
}

/// Sets the gauges of a database's connections.
#[expect(clippy::cast_precision_loss, reason = "pools are small")]
pub fn pool_gauges(db: &Db) {
    let (busy, open) = db.pool_use();
    metrics::gauge!("meed_db_connections", "state" => "busy").set(busy as f64);
    metrics::gauge!("meed_db_connections", "state" => "open").set(open as f64);
    metrics::gauge!("meed_db_reads_waiting").set(db.reads_waiting() as f64);
}

/// The service of webhooks alone, for the command line: it needs no plugins.
pub fn webhooks(config: &Config, db: &Db, clock: &Clock) -> anyhow::Result<WebhookService> {
    let sealing = Sealing::load(&config.keys.directory, clock.clone())?;
    Ok(webhook_service(config, db, clock, sealing))
}

/// Seals every secret in the database with the newest key, and returns how many were sealed with an older one, and the id of
/// the newest key. Servers may run meanwhile.
pub async fn reseal(config: &Config, db: &Db, clock: &Clock) -> anyhow::Result<(u64, String)> {
    let sealing = Sealing::load(&config.keys.directory, clock.clone())?;
    let resealed = events::reseal(db, &sealing).await?
        + webhooks::reseal(db, &sealing).await?
        + users::reseal(db, &sealing).await?
        + rewards::reseal(db, &sealing).await?;
    let entry = Entry::about("sealing-key", &sealing.newest()).field("sealedSecrets", 0, resealed);
    let mut tx = db.begin().await?;
    audit::record(&mut tx, clock, entry).await?;
    tx.commit().await?;
    Ok((resealed, sealing.newest()))
}

fn webhook_service(config: &Config, db: &Db, clock: &Clock, sealing: Sealing) -> WebhookService {
    WebhookService::new(
        &config.webhooks,
        config.outbox.retention,
        config.auth.issuer.clone(),
        FulfilmentService::new(db.clone(), clock.clone()),
        (sealing.clone(), Codes::new(db.clone(), clock.clone(), sealing)),
        (db.clone(), clock.clone()),
    )
}

/// Everything that the transparency log holds digests of: one line for each table. With keys, receipts and reports are
/// checked too.
fn logged(db: &Db, keys: &Arc<[PublicKey]>) -> Sources {
    let sources: [Arc<dyn Source>; 7] = [
        Arc::new(LoggedRequests::new(db.clone(), Arc::clone(keys))),
        Arc::new(LoggedReversals::new(db.clone(), Arc::clone(keys))),
        Arc::new(LoggedErasures(db.clone())),
        Arc::new(LoggedReleases(db.clone())),
        Arc::new(LoggedReports::new(db.clone(), Arc::clone(keys))),
        Arc::new(LoggedEntries(db.clone())),
        Arc::new(Removals(db.clone())),
    ];
    sources.into()
}

/// Compares a database with its transparency log, for the command line. `further`: public keys that are not in the key
/// directory any more, or all of them on a machine without it.
pub fn verifier(config: &Config, db: &Db, further: &[PublicKey]) -> anyhow::Result<(Verifier, Arc<[PublicKey]>)> {
    let own = match Keyring::load(&config.keys.directory, Purpose::Receipt) {
        Ok(keys) => keys.public_keys(),
        Err(_) if !further.is_empty() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let keys: Arc<[PublicKey]> = own.into_iter().chain(further.iter().copied()).collect();
    Ok((Verifier::new(db.clone(), logged(db, &keys), keys.to_vec()), keys))
}

/// The services, wired. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub clock: Clock,
    pub cache: Cache,
    pub keys: Keys,
    pub sandbox: Sandbox,
    pub activities: ActivityService,
    pub users: UserService,
    pub auth: AuthService,
    pub logins: LoginService,
    pub issuers: Issuers,
    pub oidc_logins: OidcLogins,
    pub service_keys: ServiceKeyService,
    pub mailing: Mailing,
    pub erasures: Erasures,
    pub facts: FactBuilder,
    pub fact_reader: FactReader,
    pub compactor: Compactor,
    pub plugins: PluginService,
    pub simulator: Simulator,
    pub rewards: RewardService,
    pub events: EventService,
    pub releases: ReleaseService,
    pub trials: TrialService,
    pub claims: Claims,
    pub backtests: BacktestService,
    pub make_goods: MakeGoodService,
    pub webhooks: WebhookService,
    pub watch: Watch,
    pub audit: AuditService,
    pub sequencer: Sequencer,
    pub health: health::Health,
    pub overload: overload::Overload,
    console: (ConsoleAt, console::Files),
    limits: limit::Limits,
    recorder: Recorder,
    authenticator: Authenticator,
    bodies: receive::Bodies,
    timeout: Duration,
}

impl App {
    /// `compiler`: the `meed` executable, which compiles uploads in a separate process.
    pub fn new(config: &Config, db: Db, clock: Clock, compiler: PathBuf) -> anyhow::Result<Self> {
        Self::with_limits(config, &Settings::from(&config.sandbox), db, clock, compiler)
    }

    /// Replaces the `[sandbox]` settings by `limits`, which also contains the constants.
    #[expect(clippy::too_many_lines, reason = "the composition root makes each part once")]
    pub fn with_limits(
        config: &Config,
        limits: &Settings,
        db: Db,
        clock: Clock,
        compiler: PathBuf,
    ) -> anyhow::Result<Self> {
        let keys = Keys::load(&config.keys.directory, &clock)?;
        let code_cache = match &config.plugins.code_cache_directory {
            Some(directory) => Some(CodeCache {
                directory: directory.clone(),
                key: keys.receipt.derive("meed compiled code")?,
            }),
            None => None,
        };
        let sandbox = Sandbox::new(limits, compiler, code_cache)?;
        let directory = Directory::new(db.clone(), clock.clone());
        let watch = watch(config, &db, &clock);
        let fact_reader = FactReader::new(db.clone());
        let reading = (watch.clone(), fact_reader.clone());
        let activities = activity_service(config, (&db, &clock), &directory, reading);
        let cache = Cache::new(&config.cache.url, &keys.receipt.derive("meed cache")?)?;
        let sessions = Sessions::new(db.clone(), clock.clone(), cache.clone(), config.auth.session_cache);
        let standings = Standings::new(
            directory.clone(),
            clock.clone(),
            cache.clone(),
            config.auth.session_cache,
        );
        let caches = (sessions.clone(), standings.clone());
        let users = user_service(config, &db, &clock, caches, (directory.clone(), activities.clone()))?;
        let issuers = Issuers::new(&config.auth, users.clone(), standings, clock.clone())?;
        let auth = AuthService::new(&config.auth, &keys.access, db.clone(), clock.clone(), sessions.clone())?;
        let second_factors = SecondFactors::new(
            (db.clone(), clock.clone()),
            keys.sealing.clone(),
            (cache.clone(), limit::policy("second-factor", CODE_LIMIT)),
            config.auth.issuer.clone(),
            (auth.clone(), sessions),
        );
        let mailing = mailing(config, &db, &clock, &users)?;
        let logins = LoginService::new(
            (db.clone(), clock.clone()),
            (cache.clone(), limit::policy("account", config.limits.account)),
            config.auth.hide_registered_emails,
            (auth.clone(), Devices::new(&keys.access, clock.clone())?),
            (users.clone(), second_factors),
            mailing.clone(),
            activities.clone(),
        );
        let oidc_logins = OidcLogins::new(&config.auth, &keys.access, users.clone(), logins.clone(), clock.clone())?;
        let plugins = PluginService::new(
            &config.plugins,
            db.clone(),
            clock.clone(),
            sandbox.clone(),
            cache.clone(),
        );
        let simulator = Simulator::new((fact_reader.clone(), clock.clone()), directory.clone(), plugins.clone());
        let codes = Codes::new(db.clone(), clock.clone(), keys.sealing.clone());
        let rewards = RewardService::new(
            (db.clone(), clock.clone()),
            cache.clone(),
            codes.clone(),
            config.releases,
        );
        let events = EventService::new(
            (db.clone(), clock.clone()),
            keys.sealing.clone(),
            plugins.clone(),
            rewards.clone(),
            cache.clone(),
            config.releases,
        );
        let trials = TrialService::new(db.clone(), clock.clone());
        let claims = Claims::new(
            (db.clone(), fact_reader.clone()),
            clock.clone(),
            &sandbox,
            plugins.clone(),
            events.clone(),
            (rewards.clone(), codes),
            FulfilmentService::new(db.clone(), clock.clone()),
            keys.receipt.clone(),
            &config.claims,
            cache.clone(),
            directory,
            (watch.clone(), &config.streams),
            trials.clone(),
        );
        let backtests = BacktestService::new(
            (db.clone(), clock.clone()),
            sandbox.clone(),
            plugins.clone(),
            events.clone(),
            keys.receipt.clone(),
        );
        let service_keys = service_key_service(config, &db, &clock, cache.clone());
        let make_goods = MakeGoodService::new(
            (db.clone(), clock.clone()),
            events.clone(),
            claims.clone(),
            service_keys.clone(),
        );
        let fulfilments = FulfilmentService::new(db.clone(), clock.clone());
        let holders = (&claims, fulfilments, &trials, &make_goods);
        let erasures = erasures(config, &users, &auth, &activities, holders);
        let webhooks = webhook_service(config, &db, &clock, keys.sealing.clone());
        let audit = AuditService::new(db.clone(), clock.clone(), config.audit.retention());
        let sequencer = Sequencer::new(
            (db.clone(), clock.clone()),
            keys.receipt.clone(),
            transparency::origin(&config.auth.issuer),
            logged(&db, &Arc::default()),
        );
        let releases = ReleaseService::new(
            (db.clone(), clock.clone()),
            events.clone(),
            plugins.clone(),
            service_keys.clone(),
            (trials.clone(), backtests.clone()),
        );
        let authenticator = Authenticator::new(service_keys.clone(), config.http.trusted_proxies.clone());
        let recorder = Recorder::new(audit.clone(), config.http.trusted_proxies.clone());
        let limits = limit::Limits::new(
            &config.limits,
            config.http.trusted_proxies.clone(),
            users::CREDENTIALS_PATHS,
            cache.clone(),
            clock.clone(),
        );
        let facts = FactBuilder::new(db.clone(), clock.clone());
        let compactor = Compactor::new(db.clone(), clock.clone(), config.activities.kept());
        let health = health::Health::new(db.clone(), clock.clone());
        Ok(Self {
            db,
            clock,
            cache,
            keys,
            sandbox,
            activities,
            users,
            auth,
            logins,
            issuers,
            oidc_logins,
            service_keys,
            mailing,
            erasures,
            facts,
            fact_reader,
            compactor,
            plugins,
            simulator,
            rewards,
            events,
            releases,
            trials,
            claims,
            backtests,
            make_goods,
            webhooks,
            watch,
            audit,
            sequencer,
            health,
            overload: overload::Overload::new(config.http.max_in_flight),
            console: (config.http.console, console::Files::default()),
            limits,
            recorder,
            authenticator,
            bodies: receive::Bodies::new(
                config.http.client_timeout,
                config.http.trusted_proxies.clone(),
                is_streamed,
            ),
            timeout: config.http.timeout,
        })
    }

    /// Applies an invalidation of another process to the copies that this process keeps.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.auth.on_invalidation(invalidation).await;
        self.users.on_invalidation(invalidation).await;
        self.service_keys.on_invalidation(invalidation).await;
        self.plugins.on_invalidation(invalidation).await;
        self.rewards.on_invalidation(invalidation);
        self.events.on_invalidation(invalidation).await;
        self.claims.on_invalidation(invalidation).await;
    }

    fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::with_openapi(Document::openapi())
            .merge(auth::router(self.auth.clone()))
            .merge(keys::router(self.keys.clone()))
            .merge(users::login_router(self.logins.clone()))
            .merge(users::oidc_router(self.oidc_logins.clone(), self.auth.clone()))
            .merge(users::router(self.users.clone()))
            .merge(service_keys::router(self.service_keys.clone()))
            .merge(users::erasure_router(self.erasures.clone()))
            .merge(activities::router(self.activities.clone()))
            .merge(plugins::router(self.plugins.clone(), self.simulator.clone()))
            .merge(rewards::router(self.rewards.clone()))
            .merge(events::router(self.events.clone()))
            .merge(releases::router(self.releases.clone()))
            .merge(trials::router(self.trials.clone()))
            .merge(claims::router(self.claims.clone()))
            .merge(backtests::router(self.backtests.clone()))
            .merge(make_goods::router(self.make_goods.clone()))
            .merge(webhooks::router(self.webhooks.clone()))
            .merge(audit::router(self.audit.clone(), Log::new(self.db.clone())))
            .merge(health::router(self.health.clone()))
    }

    /// Sets the gauges that are computed at each scrape.
    #[expect(clippy::cast_precision_loss, reason = "pools are small")]
    pub fn gauges(&self) {
        metrics::gauge!("meed_requests_in_flight").set(self.overload.in_flight() as f64);
        metrics::gauge!("meed_commit_waiting").set(self.claims.commits_waiting() as f64);
        pool_gauges(&self.db);
        for (class, label) in [(Class::Standard, "standard"), (Class::Runtime, "runtime")] {
            let (busy, all) = self.sandbox.slots(class);
            metrics::gauge!("meed_sandbox_slots", "class" => label, "state" => "busy").set(busy as f64);
            metrics::gauge!("meed_sandbox_slots", "class" => label, "state" => "all").set(all as f64);
        }
    }

    /// The OpenAPI document, the same for every configuration.
    pub fn openapi(&self) -> Result<OpenApi, String> {
        openapi::finish(self.routes().into_openapi(), &codes(), auth::SECURED, Role::with_scopes)
    }

    /// The methods of the RPC face.
    #[cfg(feature = "grpc")]
    fn rpc(&self) -> Router {
        crate::rpc::router(crate::rpc::Services {
            activities: self.activities.clone(),
            claims: self.claims.clone(),
            events: self.events.clone(),
            receipt_keys: self.keys.receipt.clone(),
            health: self.health.clone(),
        })
    }

    /// The same with the files of the console.
    #[must_use]
    pub fn with_console(mut self, files: console::Files) -> Self {
        self.console.1 = files;
        self
    }

    /// The whole API, ready to serve.
    pub fn router(&self) -> Router {
        self.site(self.console.0 == ConsoleAt::On)
    }

    /// What the admin listener serves besides its own routes.
    pub fn admin_router(&self) -> Option<Router> {
        (self.console.0 == ConsoleAt::Admin).then(|| self.site(true))
    }

    fn console(&self) -> Router {
        console::router(Console {
            auth: self.auth.clone(),
            logins: self.logins.clone(),
            oidc: self.oidc_logins.clone(),
            files: self.console.1.clone(),
        })
    }

    fn site(&self, has_console: bool) -> Router {
        let (router, _) = self.routes().split_for_parts();
        #[cfg(feature = "grpc")]
        let router = router.merge(self.rpc());
        // Inside the limits, because they cost as much as other routes.
        let app = self.clone();
        let router = router.merge(openapi::swagger(move || app.openapi()));
        let router = if has_console {
            router.merge(self.console())
        } else {
            router
        };
        let cookies = has_console.then(|| middleware::from_fn_with_state(self.auth.clone(), auth::authenticate_cookie));
        let router = layers::fallbacks(router).layer(
            ServiceBuilder::new()
                // Outermost, because authentication may need the database.
                .layer(middleware::from_fn_with_state(self.overload.clone(), overload::layer))
                // Each finds the principals of its own tokens; the last one refuses what none of them knows.
                .layer(middleware::from_fn_with_state(
                    self.authenticator.clone(),
                    service_keys::authenticate,
                ))
                .layer(middleware::from_fn_with_state(
                    self.issuers.clone(),
                    users::authenticate,
                ))
                .option_layer(cookies)
                .layer(middleware::from_fn_with_state(self.auth.clone(), auth::authenticate))
                .layer(middleware::from_fn_with_state(self.limits.clone(), limit::layer))
                // Innermost: what the rate limit refuses is counted, not recorded.
                .layer(middleware::from_fn_with_state(self.recorder.clone(), audit::layer)),
        );
        let timeouts = layers::Timeouts {
            any: self.timeout,
            slow: (UPLOAD, self.timeout + self.sandbox.settings().longest_admission()),
        };
        let router = layers::around(
            router,
            self.clock.clone(),
            self.health.clone(),
            timeouts,
            self.bodies.clone(),
        );
        #[cfg(feature = "grpc")]
        let router = router.layer(middleware::from_fn(crate::rpc::errors));
        router
    }
}
