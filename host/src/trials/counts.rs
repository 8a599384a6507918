//! What was counted of a release, as responses show it.

use serde::Serialize;
use utoipa::ToSchema;

use super::totals::Totals;
use crate::events::Arm;

/// What a step of a release did to claims, up to a few seconds ago.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepCounts {
    /// The step
    pub event_revision: i64,
    /// The part of the users. In a shadow both parts are all users: of CANDIDATE, what it would have decided
    pub arm: Arm,
    /// The number of users; above 256 an estimate
    pub users: u64,
    #[serde(flatten)]
    pub totals: Totals,
}

/// The steps of a release, the newest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct TrialCounts {
    pub items: Vec<StepCounts>,
}
