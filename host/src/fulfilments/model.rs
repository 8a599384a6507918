//! A fulfilment as the API shows it.

use garde::Validate;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::db::text_column;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum FulfilmentState {
    /// Not known yet
    Pending,
    /// The user has the reward
    Delivered,
    /// The reward did not reach the user; only a redrive or an acknowledgement changes that
    Failed,
}

text_column!(FulfilmentState);

/// Whether the user has received a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fulfilment {
    pub state: FulfilmentState,
    /// When it became so; left out while PENDING
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// The reason that was given with the acknowledgement; left out if there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "The parcel came back")]
    pub reason: Option<String>,
    /// The reference that was given with the acknowledgement; left out if there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "shipment 4711")]
    pub reference: Option<String>,
}

impl Fulfilment {
    pub const PENDING: Self = Self {
        state: FulfilmentState::Pending,
        changed_at: None,
        reason: None,
        reference: None,
    };
}

/// A fulfilment and its source: an acknowledgement or a webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedFulfilment {
    pub fulfilment: Fulfilment,
    pub acknowledged_by: Option<Uuid>,
    pub webhook_endpoint_id: Option<Uuid>,
    /// Why the endpoint's last attempt failed.
    pub error: Option<String>,
}

/// An acknowledgement of a grant.
#[derive(Clone, Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acknowledgement {
    /// DELIVERED or FAILED
    #[garde(custom(is_an_end))]
    pub state: FulfilmentState,
    /// The user can see it
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(example = "The parcel came back", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// Your own reference; the user sees it
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(example = "shipment 4711", min_length = 1, max_length = 200)]
    pub reference: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn is_an_end(state: &FulfilmentState, (): &()) -> garde::Result {
    if *state == FulfilmentState::Pending {
        return Err(garde::Error::new("is PENDING; use DELIVERED or FAILED"));
    }
    Ok(())
}
