//! Background tasks of a process, for tests.

use std::time::Duration;

use meed_host::background::{POLL_INTERVAL, Spec, Stage, Supervisor, Task};
use meed_host::clock::Clock;

/// A task that runs until this is dropped.
pub struct Background {
    supervisor: Supervisor,
}

impl Background {
    pub fn start<T: Task>(clock: &Clock, make: impl Fn() -> T + Send + 'static) -> Self {
        Self::with_period(clock, POLL_INTERVAL, make)
    }

    pub fn with_period<T: Task>(clock: &Clock, period: Duration, make: impl Fn() -> T + Send + 'static) -> Self {
        let supervisor = Supervisor::new(clock.clone());
        let spec = Spec {
            name: "task-of-a-test",
            description: "The task of a test",
            period,
            stage: Stage::Workers,
        };
        supervisor
            .register(spec, move || Ok(make()))
            .expect("the task is built");
        Self { supervisor }
    }

    /// In order, as on SIGTERM.
    pub async fn stop(self) {
        self.supervisor.finish_all().await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        for stage in Stage::ALL {
            self.supervisor.stop(stage);
        }
    }
}
