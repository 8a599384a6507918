//! States of plugin versions after the upload, their history, and the quarantine of versions that fail too often.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::{Display, EnumString};
use utoipa::ToSchema;
use uuid::Uuid;

use super::quarantine::{Excess, RunOutcome};
use super::service::{PluginError, PluginService, PluginVersion};
use super::signatures::Signer;
use super::store;
use super::usage::Totals;
use crate::audit::{self, Entry};
use crate::cache::{Invalidation, Topic};
use crate::clock::Timestamp;
use crate::correlation;
use crate::db::{Tx, text_column};
use crate::outbox::{self, Message};
use crate::sandbox::{Digest, Failure};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum PluginState {
    Active,
    /// An operator disabled it: claims on its events fail, and can be repeated once it is active again
    Disabled,
    /// The server disabled it because it failed too often
    Quarantined,
}

text_column!(PluginState);

/// A change of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Display, EnumString, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub enum Action {
    Uploaded,
    /// A signature was added
    Signed,
    Disabled,
    Enabled,
    /// The server put it into quarantine
    Quarantined,
    /// An operator released it from quarantine
    Released,
    /// An operator deleted it. The same bytes may have been uploaded again since
    Deleted,
}

text_column!(Action);

impl Action {
    /// The kind of the outbox message for it.
    fn message_kind(self) -> &'static str {
        match self {
            Self::Uploaded => outbox::PLUGIN_UPLOADED,
            Self::Signed => outbox::PLUGIN_SIGNED,
            Self::Disabled => outbox::PLUGIN_DISABLED,
            Self::Enabled => outbox::PLUGIN_ENABLED,
            Self::Quarantined => outbox::PLUGIN_QUARANTINED,
            Self::Released => outbox::PLUGIN_RELEASED,
            Self::Deleted => outbox::PLUGIN_DELETED,
        }
    }
}

/// Identifies the version of a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct VersionRef<'a> {
    pub id: Uuid,
    pub digest: Digest,
    pub name: &'a str,
    pub version: &'a str,
}

/// One entry of a version's history.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    pub action: Action,
    /// null if the server made the change
    pub by: Option<Uuid>,
    pub at: Timestamp,
    #[schema(example = "20 of 24 runs failed within 300 s, for at least 5 users")]
    pub detail: Option<String>,
    #[serde(skip)]
    pub(super) number: i64,
}

/// What a claim needs to know about a version, besides its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionStatus {
    pub state: PluginState,
    /// Each change of the state increments it.
    pub(super) revision: i64,
    /// The signer, while the key is trusted.
    pub signer: Option<Signer>,
}

impl PluginService {
    /// The current status of a version. A change by another process is visible after its invalidation, and after two
    /// seconds at the latest.
    pub async fn status(&self, digest: Digest) -> Result<Arc<VersionStatus>, PluginError> {
        if let Some(status) = self.statuses.get(&digest).await {
            return Ok(status);
        }
        let version = self.by_digest(digest).await?;
        let status = Arc::new(VersionStatus {
            state: version.state,
            revision: version.state_revision,
            signer: version.signature.signer(),
        });
        self.statuses.insert(digest, Arc::clone(&status)).await;
        Ok(status)
    }

    /// Invalidates the copies of a version's status after a change. Call it after the commit.
    pub(super) async fn changed(&self, digest: Digest) {
        self.statuses.invalidate(&digest).await;
        self.shared.publish(Topic::Plugin(digest.to_string())).await;
    }

    /// Applies an invalidation from another process.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        match invalidation {
            Invalidation::Changed(Topic::Plugin(digest)) => {
                if let Ok(digest) = digest.parse::<Digest>() {
                    self.statuses.invalidate(&digest).await;
                }
            }
            Invalidation::Changed(Topic::Plugins) | Invalidation::All => self.statuses.invalidate_all(),
            Invalidation::Changed(_) => {}
        }
    }

    /// Records a run for a claim, and puts a version that failed too often into quarantine.
    pub async fn record_run(&self, digest: Digest, status: &VersionStatus, user_id: Uuid, failure: Option<&Failure>) {
        // A pending claim may run long after its receipt.
        let at = self.clock.now();
        if matches!(failure, Some(Failure::Overloaded)) {
            // The plugin did not run. A queued claim retries often, so counting these would distort the numbers.
            return;
        }
        let failed = failure.is_some_and(Failure::is_plugin_fault);
        self.pending_usage.add(
            digest,
            Totals {
                runs: 1,
                failures: failed.into(),
                last_run_at: at,
            },
        );
        let outcome = RunOutcome { user_id, at, failed };
        let Some(excess) = self.monitor.record(digest, status.revision, outcome) else {
            return;
        };
        let last = failure.map(Failure::code).unwrap_or_default();
        if let Err(error) = self.quarantine(digest, status.revision, excess, last).await {
            tracing::error!(plugin.digest = %digest, %error, "cannot put plugin into quarantine");
            self.monitor.report_again(digest);
        }
    }

    /// Puts a version into quarantine, unless its state has changed since the revision.
    async fn quarantine(
        &self,
        digest: Digest,
        revision: i64,
        excess: Excess,
        last: &'static str,
    ) -> Result<(), PluginError> {
        let found = self.by_digest(digest).await?;
        let mut tx = self.db.begin().await?;
        if !store::set_state(&mut tx, digest, PluginState::Quarantined, revision).await? {
            return Ok(());
        }
        let detail = format!("{excess}; the last failure was {last}");
        self.record(&mut tx, found.named(), Action::Quarantined, None, Some(detail))
            .await?;
        tx.commit().await?;
        self.changed(digest).await;
        let plugin = format!("{}@{}", found.name, found.version);
        metrics::counter!("meed_plugin_quarantines_total", "plugin" => plugin.clone()).increment(1);
        tracing::error!(plugin = plugin, plugin.digest = %digest, %excess, failure.code = last, "plugin put into quarantine");
        Ok(())
    }

    /// Enables, disables or releases a version. Setting the current state has no effect.
    pub async fn set_state(
        &self,
        name: &str,
        version: &str,
        state: PluginState,
        by: Uuid,
    ) -> Result<PluginVersion, PluginError> {
        if state == PluginState::Quarantined {
            return Err(PluginError::QuarantineByServerOnly);
        }
        let found = self.version(name, version).await?;
        let mut tx = self.db.begin().await?;
        let locked = store::lock_state(&mut tx, found.digest).await?;
        let Some((before, revision)) = locked else {
            // It was deleted meanwhile.
            return Err(PluginError::NoSuchVersion {
                name: found.name,
                version: found.version,
            });
        };
        let action = match (before, state) {
            (before, after) if before == after => return Ok(found),
            (PluginState::Quarantined, PluginState::Active) => Action::Released,
            (_, PluginState::Active) => Action::Enabled,
            _ => Action::Disabled,
        };
        store::set_state(&mut tx, found.digest, state, revision).await?;
        self.record(&mut tx, found.named(), action, Some(by), None).await?;
        tx.commit().await?;
        self.changed(found.digest).await;
        tracing::info!(plugin.digest = %found.digest, %state, principal.id = %by, "plugin state changed");
        self.by_digest(found.digest).await
    }

    /// The history of a version, newest first, up to `size + 1` entries.
    pub async fn history(
        &self,
        name: &str,
        version: &str,
        before: Option<i64>,
        size: u32,
    ) -> Result<Vec<HistoryEntry>, PluginError> {
        let found = self.version(name, version).await?;
        let rows = store::history::list(&self.db, found.digest, before, i64::from(size) + 1).await?;
        Ok(rows
            .into_iter()
            .map(|row| HistoryEntry {
                action: row.action,
                by: row.changed_by,
                at: row.at,
                detail: row.detail,
                number: row.number,
            })
            .collect())
    }

    /// Writes an entry of a version's history and an outbox message. Part of the caller's transaction, which must have
    /// locked the version's row.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        version: VersionRef<'_>,
        action: Action,
        by: Option<Uuid>,
        detail: Option<String>,
    ) -> Result<(), PluginError> {
        // Later than the entry before, which a process whose clock is ahead may have written: messages are told in this order.
        let latest = store::history::latest(tx, version.digest).await?;
        let now = self.clock.now();
        let at = latest.map_or(now, |latest| now.max(latest.plus(Duration::from_millis(1))));
        let message = Message {
            id: self.clock.new_id(),
            kind: action.message_kind(),
            user_id: None,
            subject_id: Some(version.id),
            payload: json!({
                "plugin": version.name, "version": version.version, "digest": version.digest, "by": by, "at": at,
                "detail": detail,
            }),
            http_request_id: correlation::current(),
            created_at: at,
            once_key: None,
        };
        outbox::write(tx, message).await?;
        let entry = Entry::about("plugin", &version.digest)
            .field(
                "plugin",
                None::<String>,
                format!("{}@{}", version.name, version.version),
            )
            .field("action", None::<Action>, action)
            .field("detail", None::<String>, &detail);
        let entry = match action {
            Action::Quarantined => entry.by_server("quarantine"),
            _ => entry,
        };
        audit::record(tx, &self.clock, entry).await?;
        Ok(store::history::insert(tx, version.digest, action, by, at, detail).await?)
    }
}
