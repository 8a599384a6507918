//! What every protocol calls on behalf of a principal: claims for the users that it may claim for, and reads of the reward
//! requests that it may see. Must not know: any protocol.

use uuid::Uuid;

use super::error::ClaimError;
use super::model::{ClaimAnswer, ClaimedBy, EventProgress, IdempotencyKey, RewardRequest};
use super::receipt::SignedReceipt;
use super::service::Claims;
use crate::audit;
use crate::auth::{FORBIDDEN, Principal, Role, Scope};
use crate::directory::{ExternalId, UserRef};
use crate::mutations;
use crate::problem::Problem;

/// The user that a call names by the id or by the external id.
pub type Named<'a> = (Option<Uuid>, Option<&'a ExternalId>);

impl Claims {
    /// Claims for the caller or, with a service key, for the user that it names.
    pub async fn claim(
        &self,
        principal: &Principal,
        named: Named<'_>,
        event_id: Uuid,
        key: Option<IdempotencyKey>,
        wants_async: bool,
    ) -> Result<ClaimAnswer, Problem> {
        let claimant = claimant(self, principal, named).await?;
        let claimed = self.interactive.claim(claimant, event_id, key, wants_async);
        Ok(claimed.await?)
    }

    /// A reward request, with its codes only for its user.
    pub async fn request(&self, principal: &Principal, id: Uuid) -> Result<RewardRequest, Problem> {
        let mut request = self.requests.get(id).await?;
        require_own(principal, request.user_id, id)?;
        if principal.is_user(request.user_id) || mutations::active("codes-of-others") {
            self.codes.show([&mut request]).await?;
        }
        Ok(request)
    }

    pub async fn signed_receipt(&self, principal: &Principal, id: Uuid) -> Result<SignedReceipt, Problem> {
        let receipt = self.requests.receipt(id).await;
        if let Ok((user_id, _)) | Err(ClaimError::NotDecided { user_id, .. }) = &receipt {
            require_own(principal, *user_id, id)?;
        }
        let (_, receipt) = receipt?;
        Ok(receipt)
    }

    /// The progress of the caller or, with a service key, of the user that it names.
    pub async fn progress(
        &self,
        principal: &Principal,
        named: Named<'_>,
        event_id: Uuid,
    ) -> Result<EventProgress, Problem> {
        let (user_id, _) = claimant(self, principal, named).await?;
        Ok(self.progress.of(user_id, event_id).await?)
    }
}

/// Without [`Scope::AuditRead`], the reward requests of other users do not exist. A service key that acts for users sees
/// theirs.
pub(super) fn require_own(principal: &Principal, user_id: Uuid, id: Uuid) -> Result<(), ClaimError> {
    let acts_for_users = principal.key_holder().is_some() && principal.has(Scope::ClaimsRead);
    if acts_for_users || principal.is_or_has(user_id, Scope::AuditRead) {
        Ok(())
    } else {
        Err(ClaimError::NotFound(id))
    }
}

/// The user of a claim: the caller, or the user that a service key names. Staff do not claim, and no key claims for them.
pub(super) async fn claimant(
    claims: &Claims,
    principal: &Principal,
    named: Named<'_>,
) -> Result<(Uuid, Option<ClaimedBy>), Problem> {
    let Some(holder) = principal.key_holder() else {
        let (own, _) = principal.require_user()?;
        return match named {
            (None, None) => Ok((own, None)),
            (Some(id), None) if id == own => Ok((own, None)),
            _ => Err(Problem::new(
                FORBIDDEN,
                "You act for yourself only; omit userId and externalUserId.",
            )),
        };
    };
    // The reward request and its receipt name the key, and there are too many for the audit log.
    audit::recorded_elsewhere();
    let user = UserRef::of_members(named.0, named.1).map_err(|error| Problem::fields(vec![error]))?;
    let Some(account) = claims.directory.resolve(&user).await? else {
        let pointer = format!("/{}", user.member());
        return Err(Problem::field(pointer, format!("there is no user {user}")));
    };
    if account.role != Role::User {
        return Err(Problem::new(
            FORBIDDEN,
            format!(
                "The user {user} has the role {}; only users in the role USER claim.",
                account.role
            ),
        ));
    }
    let claimed_by = ClaimedBy {
        service_key_id: holder.id,
        name: holder.name.clone(),
    };
    Ok((account.id, Some(claimed_by)))
}
