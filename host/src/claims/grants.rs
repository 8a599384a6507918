//! What was granted, grant by grant, and whether it has reached its user.
//!
//! Must not know: how that becomes known (`fulfilments`).

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::model::{GrantedReward, Status};
use super::service::{ClaimError, Claims};
use super::store::grants::{self, GivenRow, GrantFilter};
use crate::clock::Timestamp;
use crate::fulfilments::{Acknowledgement, Fulfilment, FulfilmentState, ReportedFulfilment};

/// One reward that was given, and to whom.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GrantDetail {
    pub id: Uuid,
    pub request_id: Uuid,
    /// GRANTED, or REVERSED when it was taken back since
    pub request_status: Status,
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub reward_id: Uuid,
    pub quantity: u32,
    /// The reward as it was then
    pub reward: GrantedReward,
    pub granted_at: Timestamp,
    pub fulfilment: Fulfilment,
    /// How that is known; left out while PENDING, and for USERs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said_by: Option<SaidBy>,
}

/// Who said what became of a grant: a person, or else an endpoint by its answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SaidBy {
    pub user_id: Option<Uuid>,
    pub webhook_endpoint_id: Option<Uuid>,
    /// Why the endpoint's last try failed
    #[schema(example = "answered 503 Service Unavailable")]
    pub error: Option<String>,
}

impl From<GivenRow> for GrantDetail {
    fn from(row: GivenRow) -> Self {
        let fulfilment = match (row.state, row.changed_at) {
            (Some(state), Some(changed_at)) => Fulfilment {
                state,
                changed_at: Some(changed_at),
                reason: row.reason,
                reference: row.reference,
            },
            _ => Fulfilment::PENDING,
        };
        let said_by = (fulfilment.state != FulfilmentState::Pending).then_some(SaidBy {
            user_id: row.acknowledged_by,
            webhook_endpoint_id: row.endpoint_id,
            error: row.error,
        });
        Self {
            id: row.id,
            request_id: row.request_id,
            request_status: row.status,
            event_id: row.event_id,
            user_id: row.user_id,
            reward_id: row.reward_id,
            quantity: u32::try_from(row.quantity).unwrap_or(u32::MAX),
            reward: row.reward.0,
            granted_at: row.granted_at,
            fulfilment,
            said_by,
        }
    }
}

impl Claims {
    pub(super) async fn grant(&self, id: Uuid) -> Result<GrantDetail, ClaimError> {
        let row = grants::find(&self.db, id).await?;
        row.map(GrantDetail::from).ok_or(ClaimError::NoGrant(id))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list_grants(
        &self,
        filter: GrantFilter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<GrantDetail>, ClaimError> {
        let rows = grants::list(&self.db, filter, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(GrantDetail::from).collect())
    }

    /// A reversed grant can be acknowledged, too: it may have arrived before it was taken back.
    pub(super) async fn acknowledge(
        &self,
        id: Uuid,
        acknowledgement: Acknowledgement,
        by: Uuid,
    ) -> Result<GrantDetail, ClaimError> {
        let grant = self.grant(id).await?;
        let ReportedFulfilment {
            fulfilment,
            acknowledged_by,
            webhook_endpoint_id,
            error,
        } = self.fulfilments.acknowledge(id, acknowledgement, by).await?;
        Ok(GrantDetail {
            fulfilment,
            said_by: Some(SaidBy {
                user_id: acknowledged_by,
                webhook_endpoint_id,
                error,
            }),
            ..grant
        })
    }
}
