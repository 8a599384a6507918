//! `meed.v1.ReceiptService`.

use std::sync::Arc;

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use meed_proto::v1::{GetReceiptKeysRequest, GetReceiptKeysResponse, GetReceiptRequest, GetReceiptResponse};

use super::message::only_id;
use crate::auth::Principal;
use crate::claims::Claims;
use crate::keys::Keyring;
use crate::problem::Problem;

pub(super) struct ReceiptCalls {
    pub(super) claims: Claims,
    pub(super) keys: Arc<Keyring>,
}

impl meed_proto::v1::ReceiptService for ReceiptCalls {
    async fn get_receipt(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetReceiptRequest>,
    ) -> ServiceResult<GetReceiptResponse> {
        let principal = Principal::of(context.extensions())?;
        let id = only_id(request.reward_request_id, "rewardRequestId")?;
        let receipt = self.claims.signed_receipt(&principal, id).await?;
        Response::ok(GetReceiptResponse {
            json: serde_json::to_string(&receipt).map_err(Problem::internal)?,
        })
    }

    async fn get_receipt_keys(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, GetReceiptKeysRequest>,
    ) -> ServiceResult<GetReceiptKeysResponse> {
        Response::ok(GetReceiptKeysResponse {
            jwks_json: serde_json::to_string(&self.keys.jwks()).map_err(Problem::internal)?,
        })
    }
}
