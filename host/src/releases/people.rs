//! Who is behind an action: approval is between people, so a service key counts as the person who made it.
//!
//! The maker of a key answers for what it proposes: a colleague who has the secret of a key is not known here. A key of the
//! command line has no maker, so the uploader of the plugin must be another person than the approver.

use uuid::Uuid;

use super::actor::Actor;
use super::error::ReleaseError;
use super::service::ReleaseService;
use super::store::ReleaseRow;
use crate::auth::Principal;
use crate::service_keys::ServiceKeyError;

impl ReleaseService {
    pub(super) async fn actor(&self, principal: &Principal) -> Result<Actor, ReleaseError> {
        let id = principal.id();
        let person = match principal {
            Principal::User { .. } => Some(id),
            Principal::ServiceKey(_) => self.keys.get(id).await?.created_by,
        };
        Ok(Actor { id, person })
    }

    /// The person who may approve; an error for a key.
    pub(super) fn approver(principal: &Principal) -> Result<Uuid, ReleaseError> {
        match principal {
            Principal::User { id, .. } => Ok(*id),
            Principal::ServiceKey(_) => Err(ReleaseError::KeyCannotApprove),
        }
    }

    /// Refuses an approval by a person who wrote the release, or who would be the only person behind it.
    pub(super) async fn require_second_person(&self, row: &ReleaseRow, approver: Uuid) -> Result<(), ReleaseError> {
        if row.authors.0.contains(&approver) {
            return Err(ReleaseError::OwnRelease);
        }
        if row.authors.0.is_empty() && self.uploader(row).await? == Some(approver) {
            return Err(ReleaseError::OwnPlugin);
        }
        Ok(())
    }

    /// The person who uploaded the plugin; `None`: it is bundled, or a key of the command line did.
    async fn uploader(&self, row: &ReleaseRow) -> Result<Option<Uuid>, ReleaseError> {
        let version = self.plugins.by_digest(row.plugin_digest).await?;
        let Some(principal) = version.uploaded_by else {
            return Ok(None);
        };
        match self.keys.get(principal).await {
            Ok(key) => Ok(key.created_by),
            Err(ServiceKeyError::NotFound(_)) => Ok(Some(principal)),
            Err(error) => Err(error.into()),
        }
    }
}
