//! Liveness (`/livez`) and readiness (`/readyz`).
//!
//! A process is not ready after a shutdown has begun, while the database does not respond, is read-only or has another schema
//! than this release needs, and while the clocks of process and database differ. Decisions depend on the time, so a process
//! with a wrong clock decides wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::Mutex;
use tokio::time::Instant as Moment;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::clock::{Clock, Timestamp};
use crate::db::Db;
use crate::problem::{Problem, UNAVAILABLE};

/// A database that responds later is regarded as unreachable.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a result is reused, so that probes cannot load the database.
const REUSED_FOR: Duration = Duration::from_secs(1);
/// The maximum difference between the clocks of process and database, in milliseconds.
const MAX_SKEW: u64 = 1_000;

#[derive(Clone, Debug)]
pub struct Health {
    db: Db,
    clock: Clock,
    draining: Arc<AtomicBool>,
    /// The last result and its time. Concurrent probes wait for the same one.
    found: Arc<Mutex<Option<(Moment, Finding)>>>,
}

/// An error says why the process is not ready.
type Finding = Result<(), String>;

impl Health {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self {
            db,
            clock,
            draining: Arc::default(),
            found: Arc::default(),
        }
    }

    /// Makes the process not ready from now on. It still answers the requests that arrive.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub async fn is_ready(&self) -> bool {
        self.check().await.is_ok()
    }

    /// Checks without a probe, so that log and metrics show a failure.
    pub async fn observe(&self) {
        self.check().await.ok();
    }

    async fn check(&self) -> Finding {
        let finding = self.find().await;
        metrics::gauge!("meed_ready").set(if finding.is_ok() { 1.0 } else { 0.0 });
        finding
    }

    async fn find(&self) -> Finding {
        if self.draining.load(Ordering::SeqCst) {
            return Err("The server is shutting down.".to_owned());
        }
        let mut found = self.found.lock().await;
        let before = match &*found {
            Some((at, finding)) if at.elapsed() < REUSED_FOR => return finding.clone(),
            Some((_, finding)) => finding.clone(),
            None => Ok(()),
        };
        let finding = tokio::time::timeout(TIMEOUT, self.probe())
            .await
            .unwrap_or_else(|_| Err(no_answer()));
        match &finding {
            Err(reason) if before != finding => tracing::warn!(%reason, "not ready"),
            Ok(()) if before.is_err() => tracing::info!("ready again"),
            _ => {}
        }
        *found = Some((Moment::now(), finding.clone()));
        finding
    }

    async fn probe(&self) -> Finding {
        let (began, asked) = (Moment::now(), self.clock.now());
        let database = self.db.time().await.map_err(|_| no_answer())?;
        // Only the system clock must agree with the database.
        if let (Some(database), Clock::System) = (database, &self.clock) {
            let skew = Skew::between(asked, began.elapsed(), database);
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!("meed_clock_skew_seconds").set(skew.ahead as f64 / 1_000.0);
            if skew.is_certain() {
                return Err(format!(
                    "The clock of this server is {} ms {} the database's; bring both to the right time.",
                    skew.ahead.unsigned_abs(),
                    if skew.ahead > 0 { "ahead of" } else { "behind" },
                ));
            }
        }
        if !self.db.takes_writes().await.map_err(|_| no_answer())? {
            return Err("The database is read-only: it is a standby, or an operator made it so.".to_owned());
        }
        let schema = self.db.schema().await.map_err(|error| {
            tracing::warn!(%error, "the table of the migrations cannot be read");
            "The table of the migrations cannot be read; the log has the database's error.".to_owned()
        })?;
        schema.check().map_err(|unfit| sentence(&unfit))
    }
}

fn no_answer() -> String {
    "The database does not respond.".to_owned()
}

fn sentence(error: &impl std::error::Error) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

/// How far the process's clock is ahead of the database's, and how much of it the network's delay may explain; in
/// milliseconds.
#[derive(Debug, PartialEq, Eq)]
struct Skew {
    ahead: i64,
    doubt: u64,
}

impl Skew {
    /// The query began at `asked` and took `round_trip`; the database read its clock in between, on average half-way.
    fn between(asked: Timestamp, round_trip: Duration, database: Timestamp) -> Self {
        let half = round_trip / 2;
        Self {
            ahead: asked.plus(half).as_millis() - database.as_millis(),
            doubt: u64::try_from(half.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn is_certain(&self) -> bool {
        self.ahead.unsigned_abs() > self.doubt.saturating_add(MAX_SKEW)
    }
}

/// While the process drains, asks each client to open its next connection to another process. HTTP/2 has no such header: its
/// clients are told when the listener closes.
pub async fn close_while_draining(State(health): State<Health>, request: Request, next: Next) -> Response {
    let may_ask = request.version() != Version::HTTP_2;
    let mut response = next.run(request).await;
    if may_ask && health.draining.load(Ordering::SeqCst) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

pub fn router(health: Health) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .with_state(health)
}

/// The process is running.
#[utoipa::path(
    get, path = "/livez", tag = "service",
    responses((status = 200, body = String, example = json!("ok"))),
)]
async fn livez() -> &'static str {
    "ok"
}

/// The process is ready: the database responds, is writable and migrated, the clocks agree, and no shutdown has begun.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, body = String, example = json!("ok"))),
)]
async fn readyz(State(health): State<Health>) -> Result<&'static str, Problem> {
    match health.check().await {
        Ok(()) => Ok("ok"),
        Err(reason) => Err(Problem::new(UNAVAILABLE, reason).retry_after(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(asked: &str, round_trip: u64, database: &str) -> Skew {
        let instant = |time: &str| format!("2026-03-01T12:00:{time}Z").parse().unwrap();
        Skew::between(instant(asked), Duration::from_millis(round_trip), instant(database))
    }

    #[test]
    fn the_skew_assumes_that_the_database_read_its_clock_half_way() {
        assert_eq!(skew("10.000", 40, "10.020"), Skew { ahead: 0, doubt: 20 });
        assert_eq!(skew("10.000", 0, "10.250"), Skew { ahead: -250, doubt: 0 });
        assert_eq!(
            skew("12.000", 100, "10.000"),
            Skew {
                ahead: 2_050,
                doubt: 50
            }
        );
    }

    #[test]
    fn a_skew_above_a_second_counts_unless_the_answer_was_slow() {
        assert!(!skew("10.000", 0, "11.000").is_certain());
        assert!(skew("10.000", 0, "11.001").is_certain());
        assert!(skew("11.001", 0, "10.000").is_certain());
        // It may have read its clock right at the beginning.
        assert!(!skew("10.000", 1_900, "09.000").is_certain());
        assert!(skew("10.000", 1_900, "08.000").is_certain());
    }
}
