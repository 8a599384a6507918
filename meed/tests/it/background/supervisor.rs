//! Tasks that fail, panic, wait or stop.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meed_host::background::{Context, Health, Next, Spec, Stage, State, Supervisor, Task, TaskStatus};
use meed_host::clock::Clock;
use tokio::sync::mpsc;

/// What a run of a [`Scripted`] task does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Succeed,
    Fail,
    Panic,
}

/// A task whose runs follow a script, across restarts; then they succeed.
struct Scripted(Arc<Mutex<VecDeque<Step>>>);

impl Task for Scripted {
    async fn run(&mut self, _: &Context) -> anyhow::Result<Next> {
        let step = self.0.lock().expect("no panic while locked").pop_front();
        match step.unwrap_or(Step::Succeed) {
            Step::Succeed => Ok(Next::Period),
            Step::Fail => anyhow::bail!("planned failure"),
            Step::Panic => panic!("planned panic"),
        }
    }
}

fn spec(name: &'static str, stage: Stage) -> Spec {
    Spec {
        name,
        description: "A task of a test",
        period: Duration::from_millis(10),
        stage,
    }
}

/// Starts a scripted task; also counts how often it was built.
fn scripted(steps: &[Step]) -> (Supervisor, Arc<AtomicUsize>) {
    let supervisor = Supervisor::new(Clock::System);
    let built = Arc::new(AtomicUsize::new(0));
    let (script, count) = (
        Arc::new(Mutex::new(steps.iter().copied().collect())),
        Arc::clone(&built),
    );
    let make = move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Scripted(Arc::clone(&script)))
    };
    supervisor
        .register(spec("scripted", Stage::Workers), make)
        .expect("the task is built");
    (supervisor, built)
}

/// Waits until the only task has this state.
async fn until(supervisor: &Supervisor, fits: impl Fn(&TaskStatus) -> bool) -> TaskStatus {
    for _ in 0..1_000 {
        let status = supervisor.status().remove(0);
        if fits(&status) {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never so: {:#?}", supervisor.status());
}

#[tokio::test]
async fn a_task_that_panics_is_shown_and_restarted() {
    let (supervisor, built) = scripted(&[Step::Succeed, Step::Panic]);
    let failed = until(&supervisor, |status| status.panics == 1).await;
    assert_eq!((failed.health, failed.state), (Health::Failed, State::Restarting));
    assert_eq!(failed.last_error.expect("an error").message, "panicked: planned panic");
    assert!(failed.next_due > failed.last_success, "{:?}", failed.next_due);
    let recovered = until(&supervisor, |status| status.health == Health::Ok).await;
    assert!(recovered.iterations >= 3, "{recovered:?}");
    assert_eq!((recovered.panics, built.load(Ordering::Relaxed)), (1, 2));
    // The last error can still be read.
    assert!(recovered.last_error.is_some());
    supervisor.finish_all().await;
}

#[tokio::test]
async fn a_task_that_fails_is_shown_and_retried_without_being_rebuilt() {
    let (supervisor, built) = scripted(&[Step::Fail, Step::Fail]);
    let failed = until(&supervisor, |status| status.errors > 0).await;
    assert_eq!(failed.health, Health::Failed);
    assert_eq!(failed.last_error.expect("an error").message, "planned failure");
    let recovered = until(&supervisor, |status| status.health == Health::Ok).await;
    assert_eq!((recovered.errors, built.load(Ordering::Relaxed)), (2, 1));
    assert!(recovered.last_duration_seconds.is_some() && recovered.last_success >= recovered.last_start);
    supervisor.finish_all().await;
    assert_eq!(supervisor.status()[0].state, State::Stopped);
}

#[tokio::test]
async fn a_task_that_panics_repeatedly_stops_immediately_on_shutdown() {
    let (supervisor, _) = scripted(&[Step::Panic; 100]);
    until(&supervisor, |status| status.panics > 0).await;
    tokio::time::timeout(Duration::from_millis(500), supervisor.finish_all())
        .await
        .expect("it does not wait for the restart");
    assert_eq!(supervisor.status()[0].state, State::Stopped);
}

#[test]
fn a_task_that_cannot_be_built_is_refused() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let supervisor = Supervisor::new(Clock::System);
    let refused = supervisor.register(spec("unusable", Stage::Workers), || -> anyhow::Result<Scripted> {
        anyhow::bail!("no certificate")
    });
    assert_eq!(refused.expect_err("it fails").to_string(), "no certificate");
    assert!(supervisor.status().is_empty());
}

/// Reports when it finishes.
struct Reporting {
    name: &'static str,
    finished: mpsc::UnboundedSender<&'static str>,
}

impl Task for Reporting {
    /// Waits for input that never arrives.
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        assert!(context.wait(std::future::pending::<()>()).await.is_none());
        Ok(Next::Now)
    }

    async fn finish(self) -> anyhow::Result<()> {
        // A later stage would be faster.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.finished.send(self.name)?;
        Ok(())
    }
}

#[tokio::test]
async fn stages_finish_one_after_the_other_and_each_task_finishes_its_work() {
    let supervisor = Supervisor::new(Clock::System);
    let (finished, mut order) = mpsc::unbounded_channel();
    let stages = [
        ("writer", Stage::Writers),
        ("worker", Stage::Workers),
        ("publisher", Stage::Publishers),
        ("reader", Stage::Readers),
        ("listener", Stage::Listeners),
    ];
    for (name, stage) in stages {
        let finished = finished.clone();
        let make = move || {
            Ok(Reporting {
                name,
                finished: finished.clone(),
            })
        };
        supervisor.register(spec(name, stage), make).expect("the task is built");
    }
    until(&supervisor, |status| status.last_start.is_some()).await;
    // A task that waits for input is not running.
    until(&supervisor, |status| status.state == State::Idle).await;
    supervisor.finish_all().await;
    drop(finished);
    let mut names = Vec::new();
    while let Ok(name) = order.try_recv() {
        names.push(name);
    }
    assert_eq!(names, ["reader", "listener", "worker", "publisher", "writer"]);
    assert!(supervisor.status().iter().all(|status| status.state == State::Stopped));
}

#[tokio::test]
async fn periodic_work_is_cancelled_when_its_stage_stops() {
    let supervisor = Supervisor::new(Clock::System);
    supervisor.every(spec("endless", Stage::Upkeep), (), async |()| {
        std::future::pending().await
    });
    until(&supervisor, |status| status.state == State::Running).await;
    tokio::time::timeout(Duration::from_secs(1), supervisor.finish(Stage::Upkeep))
        .await
        .expect("it is cancelled");
}
