//! What the review of a held claim says: stored with its request, shown to its user, part of its receipt.
//!
//! Must not know: who may review, and what follows from it (`verdict`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReviewOutcome {
    /// The claim is granted.
    Approved,
    /// The claim is rejected.
    Denied,
    /// The claim is rejected, because it was not reviewed in time.
    Expired,
}

impl ReviewOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "APPROVED",
            Self::Denied => "DENIED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// The review of a held claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Review {
    /// The request that was reviewed; in a receipt an earlier one of the user, if its denial still stands
    pub request_id: Uuid,
    pub outcome: ReviewOutcome,
    /// null if it expired
    #[schema(example = "All invitees registered within a minute")]
    pub reason: Option<String>,
    /// null if it expired
    pub reviewed_by: Option<Uuid>,
    pub reviewed_at: Timestamp,
    pub held_at: Timestamp,
}
