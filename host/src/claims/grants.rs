//! Single grants and their fulfilment.
//!
//! Must not know: how a fulfilment is reported (`fulfilments`).

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ClaimError;
use super::model::{GrantedReward, Status};
use super::store::grants::{self, GrantDetailRow, GrantFilter};
use crate::clock::Timestamp;
use crate::db::Db;
use crate::fulfilments::{Acknowledgement, Fulfilment, FulfilmentService, FulfilmentState, ReportedFulfilment};
use crate::rewards::RewardCode;

/// One reward that was granted, and to whom.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct GrantDetail {
    pub id: Uuid,
    /// The codes of a GRANTED request, for its user only, if `reward.codes`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codes: Option<Vec<RewardCode>>,
    pub request_id: Uuid,
    /// GRANTED, or REVERSED after a reversal
    pub request_status: Status,
    pub event_id: Uuid,
    pub user_id: Uuid,
    pub reward_id: Uuid,
    pub quantity: u32,
    /// The reward at the time of the grant
    pub reward: GrantedReward,
    pub granted_at: Timestamp,
    pub fulfilment: Fulfilment,
    /// Who reported the fulfilment; left out while PENDING, and for USERs
    #[serde(rename = "reportedBy", skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<ReportedBy>,
}

/// Who reported a fulfilment: a user, or a webhook endpoint by its response.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReportedBy {
    pub user_id: Option<Uuid>,
    pub webhook_endpoint_id: Option<Uuid>,
    /// Why the endpoint's last attempt failed
    #[schema(example = "answered 503 Service Unavailable")]
    pub error: Option<String>,
}

impl From<GrantDetailRow> for GrantDetail {
    fn from(row: GrantDetailRow) -> Self {
        let fulfilment = match (row.state, row.changed_at) {
            (Some(state), Some(changed_at)) => Fulfilment {
                state,
                changed_at: Some(changed_at),
                reason: row.reason,
                reference: row.reference,
            },
            _ => Fulfilment::PENDING,
        };
        let reported_by = (fulfilment.state != FulfilmentState::Pending).then_some(ReportedBy {
            user_id: row.acknowledged_by,
            webhook_endpoint_id: row.endpoint_id,
            error: row.error,
        });
        Self {
            id: row.id,
            codes: None,
            request_id: row.request_id,
            request_status: row.status,
            event_id: row.event_id,
            user_id: row.user_id,
            reward_id: row.reward_id,
            quantity: u32::try_from(row.quantity).unwrap_or(u32::MAX),
            reward: row.reward.0,
            granted_at: row.granted_at,
            fulfilment,
            reported_by,
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Grants {
    pub db: Db,
    pub fulfilments: FulfilmentService,
}

impl Grants {
    pub(super) async fn get(&self, id: Uuid) -> Result<GrantDetail, ClaimError> {
        let row = grants::find(&self.db, id).await?;
        row.map(GrantDetail::from).ok_or(ClaimError::NoGrant(id))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        filter: GrantFilter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<GrantDetail>, ClaimError> {
        let rows = grants::list(&self.db, filter, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(GrantDetail::from).collect())
    }

    /// A reversed grant can be acknowledged, too: it may have been delivered before its reversal.
    pub(super) async fn acknowledge(
        &self,
        id: Uuid,
        acknowledgement: Acknowledgement,
        by: Uuid,
    ) -> Result<GrantDetail, ClaimError> {
        let grant = self.get(id).await?;
        let ReportedFulfilment {
            fulfilment,
            acknowledged_by,
            webhook_endpoint_id,
            error,
        } = self
            .fulfilments
            .acknowledge((grant.user_id, id), acknowledgement, by)
            .await?;
        Ok(GrantDetail {
            fulfilment,
            reported_by: Some(ReportedBy {
                user_id: acknowledged_by,
                webhook_endpoint_id,
                error,
            }),
            ..grant
        })
    }
}
