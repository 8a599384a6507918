//! Runs the long-running tasks of a process: periodically, again after an error or a panic, until their stage stops.
//!
//! A task is registered once, by name. It does what is due in [`Task::run`] and returns; the supervisor decides when it
//! runs again, logs its errors and keeps its [`TaskStatus`]. So a task cannot end unnoticed: the supervisor repeats a
//! run that fails, and rebuilds a task that panics. Tasks stop in [`Stage`]s. Must not know: what tasks do.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status::{Record, TaskStatus};
use crate::clock::Clock;

/// The delay after the first consecutive error; doubled for each further one. A longer period takes precedence.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// The delay after the first consecutive panic; doubled for each further one.
const FIRST_RESTART: Duration = Duration::from_secs(1);
const LONGEST_RESTART: Duration = Duration::from_mins(1);

/// When a task stops; the stages stop in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// Reads from outside: stops first, so that another process takes over while this one drains.
    Readers,
    /// Periodic work that can be interrupted.
    Upkeep,
    /// Needed by requests: stops when the last one has been answered.
    Listeners,
    /// Decides what requests and readers have queued.
    Workers,
    /// Delivers what workers have decided.
    Publishers,
    /// Writes what all others have counted.
    Writers,
}

impl Stage {
    /// In the order in which they stop.
    pub const ALL: [Self; 6] = [
        Self::Readers,
        Self::Upkeep,
        Self::Listeners,
        Self::Workers,
        Self::Publishers,
        Self::Writers,
    ];
}

/// The registration of a task.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Unique, in kebab-case: a label of metrics.
    pub name: &'static str,
    pub description: &'static str,
    /// From the end of a run to the start of the next.
    pub period: Duration,
    pub stage: Stage,
}

/// When a task that succeeded runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do.
    Now,
    /// After the period it was registered with.
    Period,
    After(Duration),
}

/// Long-running work.
pub trait Task: Send + 'static {
    /// Does what is due. It should return soon after [`Context::is_stopping`]; [`Self::finish`] does the rest.
    fn run(&mut self, context: &Context) -> impl Future<Output = anyhow::Result<Next>> + Send;

    /// Resolves when the task should run before its period is over.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Ends the task cleanly when its stage stops.
    fn finish(self) -> impl Future<Output = anyhow::Result<()>> + Send
    where
        Self: Sized,
    {
        std::future::ready(Ok(()))
    }
}

/// A task's access to its supervisor.
#[derive(Clone, Debug)]
pub struct Context {
    stop: CancellationToken,
    record: Arc<Record>,
    clock: Clock,
}

impl Context {
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Resolves when the task's stage stops.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// For work that the task spawns.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits for input; the task is idle meanwhile. `None`: the stage stops.
    pub async fn wait<T>(&self, input: impl Future<Output = T>) -> Option<T> {
        self.record.waits();
        let input = tokio::select! {
            biased;
            () = self.stop.cancelled() => return None,
            input = input => input,
        };
        self.record.began(self.clock.now());
        Some(input)
    }
}

/// All tasks of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    stages: [Running; Stage::ALL.len()],
    records: Mutex<Vec<Arc<Record>>>,
}

/// The tasks of one stage.
#[derive(Debug, Default)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Supervisor {
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            stages: std::array::from_fn(|_| Running::default()),
            records: Mutex::default(),
        }))
    }

    /// Starts a task. `make` builds it, now and after each panic; an error now is returned, a later one is retried.
    pub fn register<T: Task>(
        &self,
        spec: Spec,
        make: impl Fn() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<()> {
        self.start(spec, make()?, make);
        Ok(())
    }

    /// Starts a task that calls `run` after each period. A run in progress is dropped when the stage stops.
    pub fn every<S, R, F>(&self, spec: Spec, state: S, run: R)
    where
        S: Clone + Send + Sync + 'static,
        R: Fn(S) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let make = move || Periodic {
            state: state.clone(),
            run: run.clone(),
        };
        self.start(spec, make(), move || Ok(make()));
    }

    fn start<T: Task>(&self, spec: Spec, task: T, make: impl Fn() -> anyhow::Result<T> + Send + 'static) {
        let record = Arc::new(Record::new(&spec));
        self.records().push(Arc::clone(&record));
        let running = self.running(spec.stage);
        let context = Context {
            stop: running.stop.clone(),
            record,
            clock: self.0.clock.clone(),
        };
        running.tasks.spawn(supervise(spec, task, make, context));
    }

    /// The status of every task, in the order of registration.
    pub fn status(&self) -> Vec<TaskStatus> {
        self.records().iter().map(|record| record.status()).collect()
    }

    /// Signals the tasks of a stage to stop, without waiting for them.
    pub fn stop(&self, stage: Stage) {
        self.running(stage).stop.cancel();
    }

    /// Signals the tasks of a stage to stop, and waits until all have finished.
    pub async fn finish(&self, stage: Stage) {
        self.stop(stage);
        let tasks = &self.running(stage).tasks;
        tasks.close();
        tasks.wait().await;
    }

    /// Finishes all stages, one after the other.
    pub async fn finish_all(&self) {
        for stage in Stage::ALL {
            self.finish(stage).await;
        }
    }

    fn running(&self, stage: Stage) -> &Running {
        &self.0.stages[stage as usize]
    }

    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Record>>> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Periodic<S, R> {
    state: S,
    run: R,
}

impl<S, R, F> Task for Periodic<S, R>
where
    S: Clone + Send + Sync + 'static,
    R: Fn(S) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        tokio::select! {
            ended = (self.run)(self.state.clone()) => ended?,
            () = context.stopping() => {}
        }
        Ok(Next::Period)
    }
}

/// Runs a task until its stage stops.
async fn supervise<T: Task>(spec: Spec, mut task: T, make: impl Fn() -> anyhow::Result<T> + Send, context: Context) {
    let (record, clock) = (&context.record, &context.clock);
    let (mut errors, mut panics) = (0, 0);
    while !context.is_stopping() {
        record.began(clock.now());
        match AssertUnwindSafe(task.run(&context)).catch_unwind().await {
            Ok(Ok(next)) => {
                (errors, panics) = (0, 0);
                let delay = match next {
                    Next::Now => Duration::ZERO,
                    Next::Period => spec.period,
                    Next::After(delay) => delay,
                };
                record.succeeded(clock.now(), delay);
                if delay.is_zero() {
                    tokio::task::yield_now().await;
                    continue;
                }
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = task.woken() => {}
                    () = context.stopping() => {}
                }
            }
            Ok(Err(error)) => {
                errors += 1;
                let delay = spec.period.max(doubled(FIRST_RETRY, LONGEST_RETRY, errors));
                tracing::warn!(task = spec.name, error = format!("{error:#}"), retry_in = ?delay, "background task failed");
                record.failed(clock.now(), delay, format!("{error:#}"));
                pause(delay, &context).await;
            }
            Err(panic) => {
                let mut reason = text_of(&*panic);
                // Its destructor may block.
                tokio::task::spawn_blocking(move || drop(task));
                task = loop {
                    panics += 1;
                    let delay = doubled(FIRST_RESTART, LONGEST_RESTART, panics);
                    tracing::error!(task = spec.name, reason, restart_in = ?delay, "background task panicked");
                    record.panicked(clock.now(), delay, reason);
                    pause(delay, &context).await;
                    if context.is_stopping() {
                        return record.stopped();
                    }
                    match std::panic::catch_unwind(AssertUnwindSafe(&make)) {
                        Ok(Ok(task)) => break task,
                        Ok(Err(error)) => reason = format!("{error:#}"),
                        Err(panic) => reason = text_of(&*panic),
                    }
                };
            }
        }
    }
    match AssertUnwindSafe(task.finish()).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                task = spec.name,
                error = format!("{error:#}"),
                "background task did not finish"
            );
        }
        Err(panic) => tracing::error!(
            task = spec.name,
            reason = text_of(&*panic),
            "background task panicked at its end"
        ),
    }
    record.stopped();
}

async fn pause(delay: Duration, context: &Context) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = context.stopping() => {}
    }
}

/// `first` for the first time, doubled each further time, at most `longest`.
fn doubled(first: Duration, longest: Duration, times: u32) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(times.saturating_sub(1)))
        .min(longest)
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("no message"))
}
