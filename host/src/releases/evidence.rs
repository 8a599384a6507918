//! What shows that a release does what it should: the report of a backtest of exactly its condition.

use serde_json::Value;
use uuid::Uuid;

use super::error::ReleaseError;
use super::guard::Forecast;
use super::service::ReleaseService;
use crate::backtests::Evidence;
use crate::backtests::engine::Outcomes;
use crate::backtests::report::Report;
use crate::sandbox::Digest;

impl ReleaseService {
    /// The evidence of a backtest; `None`: there is none, or it is not finished.
    async fn evidence(&self, backtest_id: Uuid) -> Result<Option<Evidence>, ReleaseError> {
        Ok(self.backtests.evidence(backtest_id).await?)
    }

    /// What the backtest of the release predicts.
    pub(super) async fn forecast(&self, backtest_id: Option<Uuid>) -> Result<Option<Forecast>, ReleaseError> {
        let Some(backtest_id) = backtest_id else {
            return Ok(None);
        };
        let evidence = self.evidence(backtest_id).await?;
        Ok(evidence.and_then(|evidence| forecast(&evidence.report)))
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

/// The rates of the whole period; `None`: the backtest decided for a part of the users. Only grants to users who really
/// claimed count, because the others may never come.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn forecast(report: &Report) -> Option<Forecast> {
    let header = &report.header;
    if header.sample.is_some() {
        return None;
    }
    let hours = (header.to.as_millis() - header.from.as_millis()) as f64 / 3_600_000.0;
    let last = report.forecast.steps.last()?;
    if hours <= 0.0 {
        return None;
    }
    let decided = total(&report.baseline.claims) + total(&report.baseline.silent_users);
    let rate = |flips: u64| {
        if decided == 0 {
            0.0
        } else {
            flips as f64 / decided as f64
        }
    };
    Some(Forecast {
        grants_per_hour: last.cumulative_grants as f64 / hours,
        value_per_hour: last.cumulative_value as f64 / hours,
        allow_to_deny: rate(report.flips.lost.grants),
        deny_to_allow: rate(report.flips.gained.grants),
    })
}

fn total(outcomes: &Outcomes) -> u64 {
    outcomes.granted + outcomes.refused + outcomes.failed + outcomes.held
}
