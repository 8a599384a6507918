//! The users that a principal may claim for, and the reward requests that it may see. Must not know: the responses of routes.

use uuid::Uuid;

use crate::audit;
use crate::auth::{FORBIDDEN, Principal, Role, Scope};
use crate::claims::error::ClaimError;
use crate::claims::model::ClaimedBy;
use crate::claims::service::Claims;
use crate::directory::{ExternalId, UserRef};
use crate::problem::{INVALID_PARAMETER, Problem};

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
    named: (Option<Uuid>, Option<&ExternalId>),
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

/// The user that is named. Only users in the role USER claim.
pub(super) async fn named_claimant(
    claims: &Claims,
    named: (Option<Uuid>, Option<&ExternalId>),
) -> Result<Uuid, Problem> {
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
pub(super) async fn watched(
    claims: &Claims,
    principal: &Principal,
    (id, external): (Option<Uuid>, Option<ExternalId>),
) -> Result<Uuid, Problem> {
    let Some(user) = UserRef::of_filters(id, external)? else {
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
