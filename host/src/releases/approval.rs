//! The approval: of one hash, by a person who wrote none of it, with the evidence that the event's liability asks for.

use uuid::Uuid;

use super::activation::Cause;
use super::actor::Actor;
use super::content;
use super::error::ReleaseError;
use super::model::Release;
use super::service::{ReleaseService, because, made_by};
use super::state::{Action, State};
use super::store::{self, ReleaseRow};
use crate::auth::Principal;

impl ReleaseService {
    /// Approves what has this hash. If its author armed it, it is activated at once.
    pub async fn approve(&self, id: Uuid, sent: String, principal: &Principal) -> Result<Release, ReleaseError> {
        let approver = Self::approver(principal)?;
        let row = store::find(&self.db, id).await?.ok_or(ReleaseError::NotFound(id))?;
        if row.state != State::Review {
            let (state, action) = (row.state, Action::Approved);
            return Err(ReleaseError::WrongState { state, action });
        }
        self.require_second_person(&row, approver).await?;
        self.require_evidence(&row).await?;
        let mut tx = self.db.begin().await?;
        let row = self.lock(&mut tx, id, None).await?;
        // Again, because it may have been edited since.
        self.require_second_person(&row, approver).await?;
        let is = content::hash(&row).map_err(|error| ReleaseError::Content(id, error))?;
        if is != sent {
            return Err(ReleaseError::OtherHash { sent, is });
        }
        let approved = ReleaseRow {
            approved_hash: Some(is),
            approved_by: Some(approver),
            approved_at: Some(self.clock.now()),
            reason: None,
            ..row.clone()
        };
        let actor = Actor {
            id: approver,
            person: Some(approver),
        };
        let release = self
            .step(&mut tx, row, approved, made_by(Action::Approved, actor))
            .await?;
        tx.commit().await?;
        if !release.plan.activate_when_approved {
            return Ok(release);
        }
        match self.activate(id, Cause::Armed).await {
            Ok(activated) => Ok(activated),
            Err(error) => {
                // The approval stands; the task tries again.
                tracing::warn!(release.id = %id, %error, "an armed release could not be activated yet");
                self.get(id).await
            }
        }
    }

    /// Continues a release that is held, from its first step. That overrules its guard, so it needs a second person too.
    pub async fn resume(&self, id: Uuid, reason: String, principal: &Principal) -> Result<Release, ReleaseError> {
        let approver = Self::approver(principal)?;
        let row = store::find(&self.db, id).await?.ok_or(ReleaseError::NotFound(id))?;
        self.require_second_person(&row, approver).await?;
        let actor = Actor {
            id: approver,
            person: Some(approver),
        };
        self.start(row, because(Action::Resumed, reason, actor), approver).await
    }

    /// A release of a protected event needs a backtest or a waiver, and must fit the event as it is now.
    async fn require_evidence(&self, row: &ReleaseRow) -> Result<(), ReleaseError> {
        let event = self.events.get(row.event_id).await?;
        if event.revision != row.event_revision {
            return Err(ReleaseError::Outdated {
                from: row.event_revision,
                is: event.revision,
            });
        }
        let mut checked = self.events.checked(row.event_id, row.content.0.clone()).await?;
        checked.new.accept_slow_reads = true;
        let is_protected = self
            .events
            .try_release(row.event_id, row.event_revision, checked, row.created_by)
            .await?;
        let has_evidence = row.report_digest.is_some() || row.waiver.is_some();
        if is_protected && !has_evidence {
            return Err(ReleaseError::NoBacktest(row.id));
        }
        Ok(())
    }
}
