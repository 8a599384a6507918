//! The background task of make-goods: it proposes and applies them, some claims at a time, under a lease.

use super::error::MakeGoodError;
use super::service::MakeGoodService;
use super::state::State;
use super::store;
use crate::background::lease::Lease;
use crate::background::{Context, Next, Task};

/// Make-goods among which a process looks for a free one.
const TRIED: i64 = 8;

/// One process's part of all make-goods.
pub struct Worker(MakeGoodService);

impl Worker {
    pub fn new(service: MakeGoodService) -> Self {
        Self(service)
    }
}

impl Task for Worker {
    async fn run(&mut self, context: &Context) -> anyhow::Result<Next> {
        let advanced = tokio::select! {
            advanced = self.0.advance() => advanced?,
            () = context.stopping() => false,
        };
        Ok(if advanced { Next::Now } else { Next::Period })
    }
}

impl MakeGoodService {
    /// Does the next piece of a make-good. What was approved comes first. `false`: there is nothing to do now. One that fails
    /// for now does not hold up the others.
    pub async fn advance(&self) -> Result<bool, MakeGoodError> {
        let mut failed = None;
        for state in [State::Applying, State::Approved, State::Proposing] {
            for row in store::in_state(&self.db, state, TRIED).await? {
                let Some(lease) = Lease::acquire(&self.db, &self.clock, &store::LEASE, row.id).await? else {
                    continue;
                };
                // As it is under the lease.
                let Some(row) = store::find(&self.db, row.id).await? else {
                    continue;
                };
                let done = match row.state {
                    State::Applying | State::Approved => self.apply(&row, &lease).await,
                    State::Proposing => self.propose(&row, &lease).await,
                    _ => Ok(()),
                };
                lease.release().await?;
                match done {
                    Ok(()) => return Ok(true),
                    Err(error) => {
                        tracing::warn!(make_good.id = %row.id, %error, "make-good is tried again later");
                        failed = Some(error);
                    }
                }
            }
        }
        failed.map_or(Ok(false), Err)
    }
}
