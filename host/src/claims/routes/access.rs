//! Which reward requests a principal may see. Must not know: the responses of routes.

use uuid::Uuid;

use crate::auth::{Principal, Scope};
use crate::claims::error::ClaimError;

/// Without [`Scope::AuditRead`], the reward requests of other users do not exist.
pub(super) fn require_own(principal: &Principal, user_id: Uuid, id: Uuid) -> Result<(), ClaimError> {
    if principal.is_or_has(user_id, Scope::AuditRead) {
        Ok(())
    } else {
        Err(ClaimError::NotFound(id))
    }
}
