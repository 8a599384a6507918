//! The status of a task: as JSON at `/tasks`, and as metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::supervisor::{Spec, Stage};
use crate::clock::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// No run has ended yet.
    Starting,
    /// The last run succeeded.
    Ok,
    /// The last run returned an error or panicked.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Running,
    /// Between two runs, or waiting for input.
    Idle,
    /// Panicked; starts again when it is due.
    Restarting,
    Stopped,
}

/// A registered task as `/tasks` shows it. Times are UTC.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    pub name: &'static str,
    pub description: &'static str,
    pub stage: Stage,
    /// From the end of a run to the start of the next; 0 for a task that waits for input.
    pub period_seconds: f64,
    pub health: Health,
    pub state: State,
    /// Runs that ended, successful or not.
    pub iterations: u64,
    pub errors: u64,
    pub panics: u64,
    pub last_start: Option<Timestamp>,
    pub last_duration_seconds: Option<f64>,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<LastError>,
    /// When the next run starts at the latest; `None` while running, and for a task that waits for input.
    pub next_due: Option<Timestamp>,
}

/// The latest error, kept after the task has recovered.
#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    pub at: Timestamp,
    pub message: String,
}

/// The status of one task, written by its supervisor.
#[derive(Debug)]
pub(super) struct Record(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    status: TaskStatus,
    /// When the current run began.
    started: Instant,
}

impl Record {
    pub(super) fn new(spec: &Spec) -> Self {
        let status = TaskStatus {
            name: spec.name,
            description: spec.description,
            stage: spec.stage,
            period_seconds: spec.period.as_secs_f64(),
            health: Health::Starting,
            state: State::Idle,
            iterations: 0,
            errors: 0,
            panics: 0,
            last_start: None,
            last_duration_seconds: None,
            last_success: None,
            last_error: None,
            next_due: None,
        };
        Self(Mutex::new(Inner {
            status,
            started: Instant::now(),
        }))
    }

    pub(super) fn status(&self) -> TaskStatus {
        self.inner().status.clone()
    }

    pub(super) fn began(&self, now: Timestamp) {
        let mut inner = self.inner();
        inner.started = Instant::now();
        let status = &mut inner.status;
        (status.state, status.last_start, status.next_due) = (State::Running, Some(now), None);
    }

    /// The run waits for input.
    pub(super) fn waits(&self) {
        self.inner().status.state = State::Idle;
    }

    pub(super) fn succeeded(&self, now: Timestamp, delay: Duration) {
        let mut inner = self.inner();
        inner.ended("ok", delay, now);
        let status = &mut inner.status;
        (status.state, status.health, status.last_success) = (State::Idle, Health::Ok, Some(now));
    }

    pub(super) fn failed(&self, now: Timestamp, delay: Duration, message: String) {
        let mut inner = self.inner();
        inner.ended("error", delay, now);
        let status = &mut inner.status;
        status.errors += 1;
        (status.state, status.health) = (State::Idle, Health::Failed);
        status.last_error = Some(LastError { at: now, message });
    }

    pub(super) fn panicked(&self, now: Timestamp, delay: Duration, message: String) {
        let mut inner = self.inner();
        inner.ended("panic", delay, now);
        let status = &mut inner.status;
        status.panics += 1;
        (status.state, status.health) = (State::Restarting, Health::Failed);
        status.last_error = Some(LastError { at: now, message });
    }

    pub(super) fn stopped(&self) {
        let mut inner = self.inner();
        (inner.status.state, inner.status.next_due) = (State::Stopped, None);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn ended(&mut self, outcome: &'static str, delay: Duration, now: Timestamp) {
        let elapsed = self.started.elapsed().as_secs_f64();
        let status = &mut self.status;
        status.iterations += 1;
        status.last_duration_seconds = Some(elapsed);
        status.next_due = Some(now.plus(delay));
        let is_ok = if outcome == "ok" { 1.0 } else { 0.0 };
        metrics::counter!("meed_task_runs_total", "task" => status.name, "outcome" => outcome).increment(1);
        metrics::gauge!("meed_task_healthy", "task" => status.name).set(is_ok);
        metrics::histogram!("meed_task_run_seconds", "task" => status.name).record(elapsed);
    }
}
