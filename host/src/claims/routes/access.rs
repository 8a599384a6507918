//! Whom a principal may claim for, and which reward requests it may see. Must not know: the responses of routes.

use uuid::Uuid;

use crate::audit;
use crate::auth::{FORBIDDEN, Principal, Role, Scope};
use crate::claims::error::ClaimError;
use crate::claims::model::ClaimedBy;
use crate::claims::service::Claims;
use crate::claims::store::queue;
use crate::problem::Problem;

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

/// Whom the request is about: a user who asks about themselves, or the user that a service key names. Staff do not claim, so
/// nobody does for them.
pub(super) async fn claimant(
    claims: &Claims,
    principal: &Principal,
    named: Option<Uuid>,
) -> Result<(Uuid, Option<ClaimedBy>), Problem> {
    let Some(holder) = principal.key_holder() else {
        let (own, _) = principal.require_user()?;
        return match named.filter(|named| *named != own) {
            None => Ok((own, None)),
            Some(other) => Err(Problem::new(
                FORBIDDEN,
                format!("You act for yourself only, not for the user {other}; omit userId."),
            )),
        };
    };
    // The reward request and its receipt name the key, and there are too many for the audit log.
    audit::recorded_elsewhere();
    let Some(user_id) = named else {
        return Err(Problem::field(
            "/userId",
            "is required with a service key: name the user to act for",
        ));
    };
    match queue::role_of(&claims.db, user_id).await? {
        None => Err(Problem::field("/userId", format!("there is no user {user_id}"))),
        Some(Role::User) => {
            let claimed_by = ClaimedBy {
                service_key_id: holder.id,
                name: holder.name.clone(),
            };
            Ok((user_id, Some(claimed_by)))
        }
        Some(role) => Err(Problem::new(
            FORBIDDEN,
            format!("The user {user_id} has the role {role}; only users in the role USER claim."),
        )),
    }
}
