//! Reads of reward requests: one, a list, a receipt.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::error::ClaimError;
use super::model::{Grant, ReversalNote, RewardRequest, Status};
use super::receipt::{Receipt, Seal, SignatureRecord, SignedReceipt};
use super::store::{self, Filter, ReceiptRow, RequestKey, RequestRow, queue};
use super::terms::TermsService;
use crate::db::Db;
use crate::fulfilments::FulfilmentService;
use crate::keys::Keyring;
use crate::sandbox::Digest;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Requests {
    pub db: Db,
    pub keys: Arc<Keyring>,
    pub terms: TermsService,
    pub fulfilments: FulfilmentService,
}

impl Requests {
    pub(super) async fn get(&self, id: Uuid) -> Result<RewardRequest, ClaimError> {
        let mut row = store::find(&self.db, id).await?;
        if row.is_none() {
            if let Some(pending) = queue::find(&self.db, id).await? {
                return Ok(pending.into());
            }
            // It may have been decided between the two reads.
            row = store::find(&self.db, id).await?;
        }
        let row = row.ok_or(ClaimError::NotFound(id))?;
        let mut requests = self.with_grants(vec![row]).await?;
        requests.pop().ok_or(ClaimError::NotFound(id))
    }

    /// Newest first, up to `size + 1`.
    pub(super) async fn list(
        &self,
        filter: Filter,
        after: Option<Uuid>,
        size: u32,
    ) -> Result<Vec<RewardRequest>, ClaimError> {
        let limit = i64::from(size) + 1;
        let mut pending: Vec<RewardRequest> = Vec::new();
        // Read first: a claim that is decided between the two reads is then found twice, and never missed.
        if matches!(filter.status, None | Some(Status::Received)) {
            let rows = queue::list(&self.db, &filter, after, limit).await?;
            pending.extend(rows.into_iter().map(RewardRequest::from));
        }
        if filter.status == Some(Status::Received) {
            return Ok(pending);
        }
        let rows = store::list(&self.db, filter, after, limit).await?;
        let mut requests = self.with_grants(rows).await?;
        if !pending.is_empty() {
            requests.extend(pending);
            // The sort is stable: of two requests with the same id, the decided one stays first and is kept.
            requests.sort_by_key(|request| Reverse(request.id));
            requests.dedup_by_key(|request| request.id);
            requests.truncate(size as usize + 1);
        }
        Ok(requests)
    }

    /// The receipt and the id of its user.
    pub(super) async fn receipt(&self, id: Uuid) -> Result<(Uuid, SignedReceipt), ClaimError> {
        let mut row = store::receipt(&self.db, id).await?;
        if row.is_none() {
            if let Some(pending) = queue::find(&self.db, id).await? {
                let user_id = pending.user_id;
                return Err(ClaimError::NotDecided { id, user_id });
            }
            // It may have been decided between the two reads.
            row = store::receipt(&self.db, id).await?;
        }
        let row = row.ok_or(ClaimError::NotFound(id))?;
        let user_id = row.user_id;
        let receipt: Option<Receipt> = row.receipt.as_deref().map(serde_json::from_str).transpose()?;
        let terms = match &receipt {
            Some(receipt) => Some(self.terms.find(receipt.terms).await?),
            None => None,
        };
        let (salt, digest, signature) = opened(row, &self.keys)?;
        let signed = SignedReceipt {
            receipt,
            terms,
            salt,
            digest,
            signature,
        };
        Ok((user_id, signed))
    }

    async fn with_grants(&self, rows: Vec<RequestRow>) -> Result<Vec<RewardRequest>, ClaimError> {
        let with_status = |statuses: &[Status]| -> Vec<RequestKey> {
            let chosen = rows.iter().filter(|row| statuses.contains(&row.status));
            chosen.map(|row| (row.user_id, row.id)).collect()
        };
        let granted = with_status(&[Status::Granted, Status::Reversed]);
        let reversed = with_status(&[Status::Reversed]);
        let mut grants: HashMap<Uuid, Vec<Grant>> = HashMap::new();
        let grant_rows = store::grants_of_requests(&self.db, &granted).await?;
        let keys: Vec<_> = grant_rows.iter().map(|row| (row.user_id, row.id)).collect();
        let mut fulfilments = self.fulfilments.of(&self.db, &keys).await?;
        for row in grant_rows {
            let request_id = row.request_id;
            let mut grant = Grant::from(row);
            if let Some(said) = fulfilments.remove(&grant.id) {
                grant.fulfilment = said.fulfilment;
            }
            grants.entry(request_id).or_default().push(grant);
        }
        let mut reversals: HashMap<Uuid, ReversalNote> = store::reversal::notes(&self.db, &reversed)
            .await?
            .into_iter()
            .map(|row| (row.request_id, row.into()))
            .collect();
        Ok(rows
            .into_iter()
            .map(|row| {
                let grants = grants.remove(&row.id).unwrap_or_default();
                let reversal = reversals.remove(&row.id);
                RewardRequest {
                    reversal,
                    ..row.into_request(grants)
                }
            })
            .collect())
    }
}

/// The salt, the digest and the signature of a stored receipt.
pub(super) fn opened(row: ReceiptRow, keys: &Keyring) -> Result<(Option<String>, Digest, SignatureRecord), ClaimError> {
    let digest = Digest::try_from(row.receipt_digest.as_slice()).map_err(ClaimError::StoredReceipt)?;
    let seal = Seal {
        key_id: row.receipt_key_id,
        signature: row.receipt_signature,
        path: row.receipt_path,
    };
    Ok((
        row.receipt_salt.map(hex::encode),
        digest,
        SignatureRecord::read(&seal, keys)?,
    ))
}
