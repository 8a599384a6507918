//! What shows that a release does what it should: the report of a backtest of exactly its condition.

use serde_json::Value;
use uuid::Uuid;

use super::error::ReleaseError;
use super::guard::Forecast;
use super::service::ReleaseService;
use crate::sandbox::Digest;

/// What a finished backtest proves.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub event_id: Uuid,
    pub plugin_digest: Digest,
    pub params: Value,
    /// Of the signed report.
    pub report_digest: String,
    /// If it decided for all users.
    pub forecast: Option<Forecast>,
}

impl ReleaseService {
    /// The evidence of a backtest; `None`: there is none, or it is not finished.
    #[expect(
        clippy::unused_async,
        reason = "the seam of the feature backtests, which reads the database"
    )]
    pub(super) async fn evidence(&self, _backtest_id: Uuid) -> Result<Option<Evidence>, ReleaseError> {
        Ok(None)
    }

    /// What the backtest of the release predicts.
    pub(super) async fn forecast(&self, backtest_id: Option<Uuid>) -> Result<Option<Forecast>, ReleaseError> {
        let Some(backtest_id) = backtest_id else {
            return Ok(None);
        };
        Ok(self.evidence(backtest_id).await?.and_then(|evidence| evidence.forecast))
    }

    /// The digest of the report, if the backtest is one of this event with exactly this plugin and these params.
    pub(super) async fn report_of(
        &self,
        backtest_id: Uuid,
        (event_id, digest, params): (Uuid, Digest, &Value),
    ) -> Result<String, ReleaseError> {
        let fault = |message: String| ReleaseError::Field {
            pointer: "/backtestId",
            message,
        };
        let Some(evidence) = self.evidence(backtest_id).await? else {
            return Err(fault(format!("there is no finished backtest {backtest_id}")));
        };
        if evidence.event_id != event_id {
            return Err(fault(format!(
                "the backtest {backtest_id} is one of the event {}",
                evidence.event_id
            )));
        }
        if (evidence.plugin_digest, &evidence.params) != (digest, params) {
            return Err(fault(format!(
                "the backtest {backtest_id} ran {} with other bytes or params than this release",
                evidence.plugin_digest
            )));
        }
        Ok(evidence.report_digest)
    }
}
