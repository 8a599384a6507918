//! What every protocol calls on behalf of a principal: claims for the users that it may claim for, reads of the reward
//! requests that it may see, and watches of both. Must not know: any protocol.

use uuid::Uuid;

use super::error::ClaimError;
use super::explanation::{Explanation, Reader};
use super::logged::{OF_REQUESTS, REVERSED};
use super::model::{ClaimAnswer, ClaimedBy, EventProgress, IdempotencyKey, RewardRequest};
use super::receipt::SignedReceipt;
use super::service::Claims;
use super::watched::{ProgressChanges, ProgressId, RequestChanges};
use crate::audit;
use crate::auth::{FORBIDDEN, LongLived, Pass, Principal, Role, Scope};
use crate::clock::Timestamp;
use crate::directory::{ExternalId, UserRef};
use crate::mutations;
use crate::problem::{INVALID_PARAMETER, Problem};
use crate::transparency::{InclusionProof, LogError};
use crate::watch::Cursor;

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

    /// The proof that the receipt of a request is in the transparency log.
    pub async fn inclusion(&self, principal: &Principal, id: Uuid) -> Result<InclusionProof, Problem> {
        let receipt = self.signed_receipt(principal, id).await?;
        let proof = self.log.inclusion(&OF_REQUESTS, id).await?;
        // The leaf of a held claim is not that of its review.
        if proof.leaf.document == Some(receipt.digest) {
            Ok(proof)
        } else {
            Err(LogError::NotYet(id).into())
        }
    }

    /// The proof that the receipt of a reversal is in the transparency log.
    pub async fn reversal_inclusion(&self, principal: &Principal, id: Uuid) -> Result<InclusionProof, Problem> {
        let (user_id, receipt) = self.reversals.find(id).await?;
        require_own(principal, user_id, id)?;
        if receipt.is_none() {
            return Err(ClaimError::NoReversal(id).into());
        }
        Ok(self.log.inclusion(&[REVERSED.name], id).await?)
    }

    /// The progress of the caller or, with a service key or the scope `audit:read`, of the user that it names. Only that scope
    /// asks for other instants than now.
    pub async fn progress(
        &self,
        principal: &Principal,
        named: Named<'_>,
        event_id: Uuid,
        (as_of, known_by): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<EventProgress, Problem> {
        let user_id = asked_about(self, principal, named, as_of.is_some() || known_by.is_some()).await?;
        Ok(self.progress.asked(user_id, event_id, as_of, known_by).await?)
    }

    /// Why a reward request was decided as it was.
    pub async fn explain_request(&self, principal: &Principal, id: Uuid) -> Result<Explanation, Problem> {
        let receipt = self.signed_receipt(principal, id).await?;
        Ok(self.explanations.of_receipt(receipt, reader(principal)).await?)
    }

    /// Why a claim of the caller, or of the user that it may name, would be decided as it would be. As for the progress,
    /// only the scope `audit:read` asks for other users and other instants than now.
    pub async fn explain_event(
        &self,
        principal: &Principal,
        named: Named<'_>,
        event_id: Uuid,
        (as_of, known_by): (Option<Timestamp>, Option<Timestamp>),
    ) -> Result<Explanation, Problem> {
        let user_id = asked_about(self, principal, named, as_of.is_some() || known_by.is_some()).await?;
        let explained = self
            .explanations
            .of_event(user_id, event_id, as_of, known_by, reader(principal));
        Ok(explained.await?)
    }

    /// The changes of the reward requests of the caller, or of a user that it may read and names, while the pass holds. Those
    /// after `since`, or from now on.
    pub async fn watch_requests(
        &self,
        principal: &Principal,
        long_lived: LongLived,
        named: Named<'_>,
        since: Option<Cursor>,
    ) -> Result<(Pass, RequestChanges), Problem> {
        let user_id = watched(self, principal, named).await?;
        let pass = long_lived.pass(user_id);
        let changes = self
            .watched
            .requests(user_id, since, principal.is_user(user_id))
            .await??;
        Ok((pass, changes))
    }

    /// The progress of the caller or, with a service key, of the user that it names, while the pass holds.
    pub async fn watch_progress(
        &self,
        principal: &Principal,
        long_lived: LongLived,
        named: Named<'_>,
        event_id: Uuid,
        since: Option<ProgressId>,
    ) -> Result<(Pass, ProgressChanges), Problem> {
        let (user_id, _) = claimant(self, principal, named).await?;
        let pass = long_lived.pass(user_id);
        let changes = self.watched.progress(user_id, event_id, since).await??;
        Ok((pass, changes))
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
async fn claimant(
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
    let claimed_by = ClaimedBy {
        service_key_id: holder.id,
        name: holder.name.clone(),
    };
    Ok((named_claimant(claims, named).await?, Some(claimed_by)))
}

/// The user of a question: the caller or, with a service key or the scope `audit:read`, the user that it names. Only that
/// scope asks about the past.
async fn asked_about(claims: &Claims, principal: &Principal, named: Named<'_>, is_past: bool) -> Result<Uuid, Problem> {
    if principal.has(Scope::AuditRead) {
        return named_claimant(claims, named).await;
    }
    if is_past {
        let detail = format!(
            "{principal} does not have the scope {}; omit asOf and knownBy.",
            Scope::AuditRead
        );
        return Err(Problem::new(FORBIDDEN, detail));
    }
    Ok(claimant(claims, principal, named).await?.0)
}

fn reader(principal: &Principal) -> Reader {
    if principal.has(Scope::AuditRead) {
        Reader::Staff
    } else {
        Reader::User
    }
}

/// The user that is named. Only users in the role USER claim.
async fn named_claimant(claims: &Claims, named: Named<'_>) -> Result<Uuid, Problem> {
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
    Ok(account.id)
}

/// The user whose reward requests a principal watches: the caller, or one that it may read and names.
async fn watched(claims: &Claims, principal: &Principal, (id, external): Named<'_>) -> Result<Uuid, Problem> {
    let Some(user) = UserRef::of_filters(id, external.cloned())? else {
        if principal.key_holder().is_some() {
            return Err(Problem::new(
                INVALID_PARAMETER,
                "Name the user whose reward requests you watch: userId or externalUserId.",
            ));
        }
        return Ok(principal.require_user()?.0);
    };
    let acts_for_users = principal.key_holder().is_some() && principal.has(Scope::ClaimsRead);
    let may_watch_all = acts_for_users || principal.has(Scope::AuditRead);
    if !may_watch_all && !matches!(&user, UserRef::Id(id) if principal.is_user(*id)) {
        return Err(Problem::new(
            FORBIDDEN,
            "You watch your own reward requests only; omit userId and externalUserId.",
        ));
    }
    let found = claims.directory.id_of(&user).await?;
    found.ok_or_else(|| Problem::new(INVALID_PARAMETER, format!("There is no user {user}.")))
}
