//! The parts of the feature, wired.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::cache::{GrantedCache, SoldOutCache};
use super::codes::OwnCodes;
use super::commit::{Committer, GroupCommit};
use super::comparison::TrialObserver;
use super::decision::Judge;
use super::error::ClaimError;
use super::explanation::Explanations;
use super::grants::Grants;
use super::idempotency::{self, Responses};
use super::interactive::InteractiveClaims;
use super::progress::Progress;
use super::queue::{ExternalIntake, Intake, QueueProcessor, Worker};
use super::receipt::SignedReceipt;
use super::record::Recorder;
use super::requests::Requests;
use super::retention::Retention;
use super::reversal::Reversals;
use super::reviews::Reviews;
use super::store::queue;
use super::terms::TermsService;
use super::usage::Usage;
use super::watched::Watched;
use crate::cache::{Cache, Invalidation};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::db::{Db, DbError};
use crate::directory::Directory;
use crate::events::EventService;
use crate::facts::FactReader;
use crate::fulfilments::FulfilmentService;
use crate::keys::Keyring;
use crate::plugins::PluginService;
use crate::rewards::{Codes, RewardService};
use crate::sandbox::Sandbox;
use crate::transparency::Log;
use crate::trials::TrialService;
use crate::watch::Watch;

/// Wired by `app`, which passes the parts to routes, topics and background tasks. Cheap to clone.
#[derive(Clone)]
pub struct Claims {
    pub(super) interactive: Arc<InteractiveClaims>,
    pub(super) progress: Arc<Progress>,
    pub(super) explanations: Explanations,
    pub(super) requests: Requests,
    pub(super) log: Log,
    pub(super) reversals: Arc<Reversals>,
    pub(super) reviews: Reviews,
    pub(super) grants: Grants,
    pub(super) codes: OwnCodes,
    pub(super) usage: Usage,
    pub(super) directory: Directory,
    pub(super) watched: Watched,
    /// How often an idle stream says that it is open.
    pub(super) heartbeat: Duration,
    external: ExternalIntake,
    pub(super) processor: QueueProcessor,
    retention: Retention,
}

impl Claims {
    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "the composition root names each part once"
    )]
    pub fn new(
        (db, facts): (Db, FactReader),
        clock: Clock,
        sandbox: &Sandbox,
        plugins: PluginService,
        events: EventService,
        (rewards, codes): (RewardService, Codes),
        fulfilments: FulfilmentService,
        keys: Arc<Keyring>,
        settings: &config::Claims,
        cache: Cache,
        directory: Directory,
        (watch, streams): (Watch, &config::Streams),
        trials: TrialService,
    ) -> Self {
        let (retention, review, codes) = (settings.idempotency, settings.review(), OwnCodes(codes));
        let granted_cache = GrantedCache::new(cache);
        let sold_out_cache = SoldOutCache::new(events.clone(), rewards.clone());
        let judge = Judge::new((db.clone(), facts), clock.clone(), plugins.clone(), review);
        let terms = TermsService::new(db.clone(), sandbox.fingerprint().into());
        let recorder = Recorder {
            clock: clock.clone(),
            terms: terms.clone(),
            retention,
            review,
            events: events.clone(),
            granted_cache: granted_cache.clone(),
            sold_out_cache: sold_out_cache.clone(),
            watch: watch.clone(),
            trials: TrialObserver::new(judge.clone(), trials),
        };
        let committer = Committer::new(db.clone(), clock.clone(), keys.clone(), events.clone(), rewards.clone());
        let responses = Responses::new(&db, &clock);
        let intake = Intake::new(
            db.clone(),
            clock.clone(),
            events.clone(),
            granted_cache.clone(),
            settings,
        );
        let requests = Requests {
            db: db.clone(),
            keys: keys.clone(),
            terms,
            fulfilments: fulfilments.clone(),
        };
        let progress = Arc::new(Progress {
            db: db.clone(),
            clock: clock.clone(),
            events: events.clone(),
            judge: judge.clone(),
        });
        Self {
            explanations: Explanations::new(clock.clone(), events.clone(), judge.clone(), plugins.clone()),
            watched: Watched::new(
                (watch.clone(), clock.clone()),
                requests.clone(),
                codes.clone(),
                Arc::clone(&progress),
            ),
            heartbeat: streams.heartbeat,
            retention: Retention {
                db: db.clone(),
                clock: clock.clone(),
                refusals: settings.refusal_retention,
                responses: retention,
            },
            processor: QueueProcessor {
                db: db.clone(),
                clock: clock.clone(),
                events: events.clone(),
                judge: judge.clone(),
                recorder: recorder.clone(),
                committer: committer.clone(),
            },
            external: ExternalIntake {
                clock: clock.clone(),
                events: events.clone(),
                intake: intake.clone(),
                directory: directory.clone(),
                retention,
            },
            directory,
            log: Log::new(db.clone()),
            progress,
            reviews: Reviews {
                db: db.clone(),
                clock: clock.clone(),
                keys: keys.clone(),
                events: events.clone(),
                rewards: rewards.clone(),
                requests: requests.clone(),
                denial: review,
                watch: watch.clone(),
            },
            reversals: Arc::new(Reversals {
                db: db.clone(),
                clock: clock.clone(),
                keys,
                events: events.clone(),
                rewards,
                fulfilments: fulfilments.clone(),
                granted_cache: granted_cache.clone(),
                requests: requests.clone(),
                watch,
            }),
            grants: Grants {
                db: db.clone(),
                fulfilments,
            },
            codes: codes.clone(),
            usage: Usage {
                db: db.clone(),
                plugins,
                events: events.clone(),
            },
            interactive: Arc::new(InteractiveClaims {
                db,
                clock,
                events,
                judge,
                recorder,
                commits: GroupCommit::new(committer),
                responses,
                granted_cache,
                sold_out_cache,
                intake,
                codes,
            }),
            requests,
        }
    }

    /// Queues claims that were made outside of Meed.
    pub fn external(&self) -> ExternalIntake {
        self.external.clone()
    }

    /// Between two signs of life of a stream.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// What users' streams tell.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    pub(super) fn now(&self) -> Timestamp {
        self.processor.clock.now()
    }

    /// The background task that decides pending claims.
    pub fn worker(&self) -> Worker {
        let arrived = Arc::clone(&self.interactive.intake.arrived);
        Worker::new(self.processor.clone(), arrived)
    }

    /// Sets the gauges of the pending claims.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub async fn count_pending(&self) -> Result<(), DbError> {
        let (pending, oldest) = queue::depth(&self.processor.db).await?;
        let now = self.processor.clock.now();
        let age = oldest.map_or(0, |at| now.as_millis() - at.as_millis());
        metrics::gauge!("meed_pending_claims").set(pending as f64);
        metrics::gauge!("meed_pending_claims_oldest_seconds").set(age.max(0) as f64 / 1000.0);
        Ok(())
    }

    /// The receipt of a reward request and the id of its user.
    pub async fn receipt(&self, id: Uuid) -> Result<(Uuid, SignedReceipt), ClaimError> {
        self.requests.receipt(id).await
    }

    /// Resolves when no claim waits for the comparison of its conditions.
    pub async fn trials_idle(&self) {
        self.processor.recorder.trials.idle().await;
    }

    /// How many decided claims wait for their commit.
    pub fn commits_waiting(&self) -> usize {
        self.interactive.commits.waiting()
    }

    /// Deletes the responses whose Idempotency-Keys expired, and returns their number.
    pub async fn sweep(&self) -> Result<u64, ClaimError> {
        idempotency::sweep(&self.processor.db, &self.processor.clock).await
    }

    /// Deletes old rejected and failed requests, and returns their number.
    pub async fn prune(&self) -> Result<u64, ClaimError> {
        self.retention.prune().await
    }

    /// Rejects held claims that were not reviewed in time, and returns their number.
    pub async fn expire_held(&self) -> Result<u64, ClaimError> {
        self.reviews.expire().await
    }

    /// Another process reversed grants.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.interactive.granted_cache.on_invalidation(invalidation).await;
    }
}
