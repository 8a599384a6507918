//! The approval: of one hash, by a person who neither wrote any of it nor gets anything by it.

use uuid::Uuid;

use super::content;
use super::error::MakeGoodError;
use super::model::MakeGood;
use super::service::{MakeGoodService, TASK};
use super::state::State;
use super::store::{self, MakeGoodRow, entries};
use crate::auth::Principal;

impl MakeGoodService {
    /// Approves what has this hash. A background task applies it.
    pub(super) async fn approve(
        &self,
        id: Uuid,
        sent: String,
        principal: &Principal,
    ) -> Result<MakeGood, MakeGoodError> {
        let Principal::User { id: approver, .. } = *principal else {
            return Err(MakeGoodError::KeyCannotApprove);
        };
        let seen = store::find(&self.db, id).await?.ok_or(MakeGoodError::NotFound(id))?;
        let event = self.events.get(seen.event_id).await?;
        let mut tx = self.db.begin().await?;
        let before = self.lock(&mut tx, id).await?;
        if before.state != State::Proposed {
            let (is, wanted) = (before.state, "approved");
            return Err(MakeGoodError::State { is, wanted });
        }
        if before.authors.0.contains(&approver) {
            return Err(MakeGoodError::OwnProposal);
        }
        if !entries::about(&mut tx, approver, id).await?.is_empty() {
            return Err(MakeGoodError::OwnClaim);
        }
        if !Self::is_as_asked(&before, &event) {
            return Err(MakeGoodError::Outdated);
        }
        if !event.is_active {
            return Err(MakeGoodError::Inactive);
        }
        let mut after = before.clone();
        // From what is stored: an erasure may have taken entries out.
        content::summary(&mut tx, &before).await?.write_to(&mut after);
        let is = after.hash.clone().unwrap_or_default();
        if is != sent {
            if after.hash != before.hash {
                self.change(&mut tx, &before, after, Some(TASK)).await?;
                tx.commit().await?;
            }
            return Err(MakeGoodError::OtherHash { sent, is });
        }
        let after = MakeGoodRow {
            state: State::Approved,
            approved_by: Some(approver),
            approved_at: Some(self.clock.now()),
            ..after
        };
        let make_good = self.change(&mut tx, &before, after, None).await?;
        tx.commit().await?;
        Ok(make_good)
    }
}
