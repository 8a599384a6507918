//! Requests and reversals in the transparency log: their digests, and in what their rows contradict themselves.
//!
//! A leaf has the digest of the receipt, which the user has too, and a digest of the columns that never change and that an
//! erasure leaves. The rest of the row is in the receipt, so it is compared with the receipt as long as that is there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use uuid::Uuid;

use super::model::Status;
use super::receipt::{Receipt, ReversalReceipt, Seal, is_sealed};
use super::store::logged::{self, LoggedGrantRow, LoggedRequestRow, LoggedReversalRow};
use super::store::{RequestKey, terms};
use crate::db::{Db, Result};
use crate::keys::PublicKey;
use crate::sandbox::Digest;
use crate::transparency::{Kind, Record, Source};

/// The names under which requests are queued: when the row is inserted, and when a review replaces it.
pub(super) const REQUEST: &str = "request";
pub(super) const REVIEW: &str = "review";
pub(super) const REVERSAL: &str = "reversal";

const GRANTED: Kind = Kind::new("claim-granted");
const REFUSED: Kind = Kind::new("claim-refused");
const HELD: Kind = Kind {
    name: "claim-held",
    replaced_by: &["claim-granted", "claim-refused"],
};
pub(super) const REVERSED: Kind = Kind::new("reversal");

/// The kind of leaves whose rows retention deletes.
pub(super) const DELETED_BY_RETENTION: &str = REFUSED.name;
/// The kinds of leaves of a request, the final ones first.
pub(super) const OF_REQUESTS: [&str; 3] = [GRANTED.name, REFUSED.name, HELD.name];

/// Requests with their grants.
#[derive(Clone)]
pub struct LoggedRequests {
    db: Db,
    /// Their signatures are checked with these keys; none: they are not checked.
    keys: Arc<[PublicKey]>,
}

/// Reversals, by the id of the request.
#[derive(Clone)]
pub struct LoggedReversals {
    db: Db,
    keys: Arc<[PublicKey]>,
}

impl LoggedRequests {
    pub fn new(db: Db, keys: Arc<[PublicKey]>) -> Self {
        Self { db, keys }
    }

    /// What is wrong with the terms that these receipts name.
    async fn wrong_terms(&self, rows: &[LoggedRequestRow]) -> Result<HashMap<Digest, &'static str>> {
        let digests: BTreeSet<Digest> = rows.iter().filter_map(|row| Some(receipt_of(row)?.terms)).collect();
        let mut wrong = HashMap::new();
        for digest in digests {
            match terms::find(&self.db, digest).await? {
                None => wrong.insert(digest, "the terms of the receipt are gone"),
                Some(text) if Digest::of(text.as_bytes()) != digest => {
                    wrong.insert(digest, "the terms of the receipt were changed")
                }
                Some(_) => None,
            };
        }
        Ok(wrong)
    }
}

impl Source for LoggedRequests {
    fn names(&self) -> &'static [&'static str] {
        &[REQUEST, REVIEW]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[HELD, GRANTED, REFUSED]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let rows = logged::requests(&self.db, ids).await?;
            let keys: Vec<RequestKey> = rows.iter().map(|row| (row.user_id, row.id)).collect();
            let mut grants: HashMap<Uuid, Vec<LoggedGrantRow>> = HashMap::new();
            for grant in logged::grants(&self.db, &keys).await? {
                grants.entry(grant.request_id).or_default().push(grant);
            }
            let wrong_terms = self.wrong_terms(&rows).await?;
            let records = rows.into_iter().map(|row| {
                let mut grants = grants.remove(&row.id).unwrap_or_default();
                grants.sort_by_key(|grant| (grant.reward_id, grant.id));
                request(&row, &grants, &wrong_terms, &self.keys)
            });
            Ok(records.collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { logged::request_ids(&self.db, after, limit).await }.boxed()
    }
}

fn receipt_of(row: &LoggedRequestRow) -> Option<Receipt> {
    serde_json::from_str(row.receipt.as_deref()?).ok()
}

fn request(
    row: &LoggedRequestRow,
    grants: &[LoggedGrantRow],
    wrong_terms: &HashMap<Digest, &'static str>,
    keys: &[PublicKey],
) -> Record {
    let kind = match row.status {
        Status::Granted | Status::Reversed => GRANTED,
        Status::Held => HELD,
        Status::Rejected | Status::Failed | Status::Received => REFUSED,
    };
    // A reversal is a leaf of its own.
    let status = match row.status {
        Status::Reversed => Status::Granted,
        status => status,
    };
    let (receipt, mut faults) = signed(&Signed::of_request(row), keys);
    let grant = |grant: &LoggedGrantRow| {
        json!({
            "id": grant.id, "rewardId": grant.reward_id, "eventId": grant.event_id, "quantity": grant.quantity,
            "reward": grant.reward.0, "stockSince": grant.stock_since, "grantedAt": grant.granted_at,
        })
    };
    let content = json!({
        "id": row.id, "userId": row.user_id, "eventId": row.event_id, "eventRevision": row.event_revision,
        "plugin": row.plugin_digest, "status": status, "period": row.period, "slot": row.slot,
        "receivedAt": row.received_at, "decidedAt": row.decided_at, "fuel": row.fuel,
        "budgetPeriod": row.budget_period, "budgetAmount": row.budget_amount,
        "group": row.group_name, "groupSlot": row.group_slot, "receipt": receipt,
        "grants": grants.iter().map(grant).collect::<Vec<_>>(),
    });
    match receipt_of(row) {
        Some(receipt) => {
            let is_same = [
                ("reasons", receipt.reasons == row.reasons.0),
                ("progress", receipt.progress == row.progress.0),
                (
                    "review",
                    receipt.review.as_ref() == row.review.as_ref().map(|review| &review.0),
                ),
                ("status", receipt.status == status),
                ("the make-good", receipt.make_good_id == row.make_good_id),
            ];
            for (name, _) in is_same.iter().filter(|(_, is_same)| !is_same) {
                faults.push(format!("{name} is not what the receipt says"));
            }
            faults.extend(wrong_terms.get(&receipt.terms).map(|wrong| (*wrong).to_owned()));
        }
        None if row.receipt.is_some() => faults.push("the receipt cannot be read".to_owned()),
        None => {}
    }
    let is_reversed = row.status == Status::Reversed;
    if is_reversed != row.reversal_id.is_some() {
        faults.push(format!("the status is {}, which its reversal contradicts", row.status));
    }
    if grants.iter().any(|grant| grant.reversed != is_reversed) {
        faults.push("a grant does not say whether it is reversed".to_owned());
    }
    Record {
        document: Digest::try_from(row.receipt_digest.as_slice()).ok(),
        erased_with: row.receipt.is_none().then_some(row.user_id),
        faults,
        ..Record::of(kind.name, row.id, &content)
    }
}

impl LoggedReversals {
    pub fn new(db: Db, keys: Arc<[PublicKey]>) -> Self {
        Self { db, keys }
    }
}

impl Source for LoggedReversals {
    fn names(&self) -> &'static [&'static str] {
        &[REVERSAL]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[REVERSED]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let rows = logged::reversals(&self.db, ids).await?;
            Ok(rows.iter().map(|row| reversal(row, &self.keys)).collect())
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { logged::reversed_ids(&self.db, after, limit).await }.boxed()
    }
}

fn reversal(row: &LoggedReversalRow, keys: &[PublicKey]) -> Record {
    let (receipt, mut faults) = signed(&Signed::of_reversal(row), keys);
    let content = json!({
        "id": row.id, "requestId": row.request_id, "userId": row.user_id, "reversedBy": row.reversed_by,
        "reversedAt": row.reversed_at, "receipt": receipt,
    });
    if let Some(text) = &row.receipt {
        match serde_json::from_str::<ReversalReceipt>(text) {
            Ok(receipt) if receipt.reason == row.reason => {}
            Ok(_) => faults.push("reason is not what the receipt says".to_owned()),
            Err(_) => faults.push("the receipt cannot be read".to_owned()),
        }
    }
    Record {
        document: Digest::try_from(row.receipt_digest.as_slice()).ok(),
        erased_with: row.receipt.is_none().then_some(row.user_id),
        faults,
        ..Record::of(REVERSED.name, row.request_id, &content)
    }
}

/// A stored receipt, of a request or of a reversal.
struct Signed<'a> {
    text: Option<&'a str>,
    salt: Option<&'a [u8]>,
    digest: &'a [u8],
    seal: Seal,
}

impl<'a> Signed<'a> {
    fn of_request(row: &'a LoggedRequestRow) -> Self {
        Self {
            text: row.receipt.as_deref(),
            salt: row.receipt_salt.as_deref(),
            digest: &row.receipt_digest,
            seal: Seal {
                key_id: row.receipt_key_id.clone(),
                signature: row.receipt_signature.clone(),
                path: row.receipt_path.clone(),
            },
        }
    }

    fn of_reversal(row: &'a LoggedReversalRow) -> Self {
        Self {
            text: row.receipt.as_deref(),
            salt: row.receipt_salt.as_deref(),
            digest: &row.receipt_digest,
            seal: Seal {
                key_id: row.receipt_key_id.clone(),
                signature: row.receipt_signature.clone(),
                path: row.receipt_path.clone(),
            },
        }
    }
}

/// What an erasure leaves of a receipt, and what is wrong with it.
fn signed(signed: &Signed<'_>, keys: &[PublicKey]) -> (Value, Vec<String>) {
    let mut faults = Vec::new();
    if let (Some(text), Some(salt)) = (signed.text, signed.salt) {
        let is = Digest::of(&[salt, text.as_bytes()].concat());
        if is.as_bytes().as_slice() != signed.digest {
            faults.push("the receipt does not have its digest".to_owned());
        }
    }
    let digest = Digest::try_from(signed.digest).ok();
    let is_signed = |digest: Digest| keys.is_empty() || is_sealed(&signed.seal, digest, keys);
    if !digest.is_some_and(is_signed) {
        faults.push("no trusted key signed the receipt".to_owned());
    }
    let Seal {
        key_id,
        signature,
        path,
    } = &signed.seal;
    let left = json!({
        "digest": hex::encode(signed.digest), "keyId": key_id, "signature": hex::encode(signature),
        "path": hex::encode(path),
    });
    (left, faults)
}
