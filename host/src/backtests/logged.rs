//! Reports in the transparency log: the digest that a report is signed with, and what its backtest was asked.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use uuid::Uuid;

use super::report::SignedReport;
use super::store;
use super::store::logged::{self, LoggedReportRow};
use crate::db::{Db, Result};
use crate::keys::PublicKey;
use crate::sandbox::Digest;
use crate::transparency::{Kind, Record, Source};

/// The name under which reports are queued.
pub(super) const QUEUED: &str = "report";
/// Retention deletes them.
pub(super) const KIND: Kind = Kind::new("report");

/// Reports, by the ids of their backtests.
#[derive(Clone)]
pub struct LoggedReports {
    db: Db,
    /// Their content and signatures are checked with these keys; none: they are not checked.
    keys: Arc<[PublicKey]>,
}

impl LoggedReports {
    pub fn new(db: Db, keys: Arc<[PublicKey]>) -> Self {
        Self { db, keys }
    }

    /// In what the report contradicts its row.
    async fn faults(&self, row: &LoggedReportRow) -> Result<Vec<String>> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        // One at a time: a report is long.
        let Some(text) = store::report(&self.db, row.id).await? else {
            return Ok(vec!["the report is gone".to_owned()]);
        };
        Ok(match SignedReport::verify(&text, Some(&self.keys)) {
            Err(error) => vec![format!("the report is not what was signed: {error}")],
            Ok(signed) if signed.run.backtest_id != row.id => {
                vec![format!("the report is that of the backtest {}", signed.run.backtest_id)]
            }
            Ok(signed) if Some(&signed.digest) != row.report_digest.as_ref() => {
                vec![format!("the report has the digest {}", signed.digest)]
            }
            Ok(_) => Vec::new(),
        })
    }
}

fn record(row: &LoggedReportRow, faults: Vec<String>) -> Record {
    let content = json!({
        "id": row.id, "eventId": row.event_id, "state": row.state, "terms": row.terms.0, "createdBy": row.created_by,
        "createdAt": row.created_at, "finishedAt": row.updated_at,
    });
    let digest = row.report_digest.as_ref();
    Record {
        document: digest.and_then(|digest| format!("sha256:{digest}").parse::<Digest>().ok()),
        faults,
        ..Record::of(KIND.name, row.id, &content)
    }
}

impl Source for LoggedReports {
    fn names(&self) -> &'static [&'static str] {
        &[QUEUED]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[KIND]
    }

    fn read<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<Vec<Record>>> {
        async move {
            let mut records = Vec::new();
            for row in logged::by_ids(&self.db, ids).await? {
                let faults = self.faults(&row).await?;
                records.push(record(&row, faults));
            }
            Ok(records)
        }
        .boxed()
    }

    fn ids(&self, after: Uuid, limit: i64) -> BoxFuture<'_, Result<Vec<Uuid>>> {
        async move { logged::ids(&self.db, after, limit).await }.boxed()
    }
}
