//! Divergences and counts, as responses show them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::text_column;
use crate::events::Arm;

/// The result of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = TrialStatus)]
pub enum Status {
    Granted,
    Held,
    Rejected,
    Failed,
}

/// How two decisions on the same claim differ.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = DivergenceKind)]
pub enum Kind {
    /// The event's condition grants, the candidate does not
    AllowToDeny,
    /// The candidate grants, the event's condition does not
    DenyToAllow,
    /// One of them leaves the claim to a person, and the other does not
    Review,
    /// Both grant, but not the same
    Awards,
    /// Both reject, but for other reasons
    Reasons,
    /// The candidate failed
    Failure,
}

text_column!(Kind);

/// A claim of which the two conditions decided differently.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    pub id: Uuid,
    pub event_id: Uuid,
    /// The step of the release
    pub event_revision: i64,
    pub user_id: Uuid,
    pub request_id: Uuid,
    pub kind: Kind,
    /// Which of the two decided the claim
    pub decided_by: Arm,
    /// The decision of the event's condition: status, reasons, awards, and the code of the failure
    #[schema(value_type = HashMap<String, Value>)]
    pub stable: Value,
    /// The decision of the candidate
    #[schema(value_type = HashMap<String, Value>)]
    pub candidate: Value,
    pub decided_at: Timestamp,
}
