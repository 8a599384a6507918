//! Invitations count when the invitee has done something that was reported: registrations are cheap, so an inviter could
//! otherwise make up invitees. Must not know: invite codes.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::service::{ActivityError, ActivityService, OwnActivity};
use super::store::invitations;
use crate::clock::Timestamp;
use crate::db::Tx;

impl ActivityService {
    /// Credits the inviter when the first activity of the invitee is reported. Part of the caller's transaction.
    pub async fn credit_later(&self, tx: &mut Tx, invitee: Uuid, inviter: Uuid) -> Result<(), ActivityError> {
        Ok(invitations::insert(tx, invitee, inviter, self.clock.now()).await?)
    }

    /// Credits an inviter now, once per invitee. Part of the caller's transaction.
    pub async fn credit(&self, tx: &mut Tx, invitee: Uuid, inviter: Uuid, at: Timestamp) -> Result<(), ActivityError> {
        let accepted = OwnActivity {
            user_id: inviter,
            kind: "invite.accepted",
            source_id: format!("invite.accepted:{invitee}"),
            occurred_at: at,
            attributes: BTreeMap::from([("inviteeId".to_owned(), invitee.to_string())]),
        };
        self.record_own(tx, accepted).await
    }

    /// Credits the inviters of the users whose activities were reported. Part of the caller's transaction.
    pub(super) async fn credit_inviters(
        &self,
        tx: &mut Tx,
        users: BTreeSet<Uuid>,
        now: Timestamp,
    ) -> Result<(), ActivityError> {
        let users: Vec<Uuid> = users.into_iter().collect();
        let mut accepted = invitations::take(tx, &users).await?;
        accepted.sort_unstable();
        for (invitee, inviter) in accepted {
            self.credit(tx, invitee, inviter, now).await?;
        }
        Ok(())
    }
}
