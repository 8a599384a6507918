//! Quotas of uploads per operator: one at a time, processing time per hour, and storage.
//!
//! Each process counts the time itself, because uploads use its own processor. The database counts the storage.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use uuid::Uuid;

use super::service::PluginError;
use crate::clock::Timestamp;
use crate::config::UploadQuota;

const HOUR: Duration = Duration::from_hours(1);

/// The uploads of the last hour, by operator. Cheap to clone; all clones share the counts.
#[derive(Clone)]
pub(super) struct Uploads {
    quota: UploadQuota,
    operators: Arc<Mutex<HashMap<Uuid, RecentUploads>>>,
}

#[derive(Default)]
struct RecentUploads {
    busy: bool,
    /// The end and the duration of each upload.
    durations: VecDeque<(Timestamp, Duration)>,
}

/// The permit for one upload. Dropping it records the duration and allows the next upload.
pub(super) struct UploadPermit {
    uploads: Uploads,
    operator: Uuid,
    at: Timestamp,
    started: std::time::Instant,
}

impl Uploads {
    pub(super) fn new(quota: UploadQuota) -> Self {
        Self {
            quota,
            operators: Arc::default(),
        }
    }

    pub(super) fn quota(&self) -> &UploadQuota {
        &self.quota
    }

    pub(super) fn acquire(&self, operator: Uuid, now: Timestamp) -> Result<UploadPermit, PluginError> {
        let mut operators = self.operators.lock();
        // Remove operators without recent uploads, so that the map stays small.
        operators.retain(|_, recent| {
            recent.durations.retain(|(ended, _)| *ended > now.minus(HOUR));
            recent.busy || !recent.durations.is_empty()
        });
        let recent = operators.entry(operator).or_default();
        if recent.busy {
            return Err(PluginError::UploadBusy);
        }
        let spent: Duration = recent.durations.iter().map(|(_, took)| *took).sum();
        if spent.as_secs() >= self.quota.seconds_per_hour
            && let Some((oldest, _)) = recent.durations.front()
        {
            let free_at = oldest.plus(HOUR);
            return Err(PluginError::UploadTime {
                limit: self.quota.seconds_per_hour,
                retry_after: u32::try_from((free_at.as_millis() - now.as_millis()) / 1_000 + 1).unwrap_or(1),
            });
        }
        recent.busy = true;
        Ok(UploadPermit {
            uploads: self.clone(),
            operator,
            at: now,
            started: std::time::Instant::now(),
        })
    }
}

impl UploadPermit {
    /// Starts the measured time, after the body has arrived.
    pub(super) fn start(&mut self) {
        self.started = std::time::Instant::now();
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let mut operators = self.uploads.operators.lock();
        if let Some(recent) = operators.get_mut(&self.operator) {
            recent.busy = false;
            recent.durations.push_back((self.at.plus(took), took));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads(seconds_per_hour: u64) -> Uploads {
        Uploads::new(UploadQuota {
            seconds_per_hour,
            versions: 1,
            bytes: 1,
        })
    }

    #[test]
    fn an_operator_has_one_upload_at_a_time() {
        let (uploads, now) = (uploads(10), Timestamp::EPOCH);
        let permit = uploads.acquire(Uuid::nil(), now).ok();
        assert!(permit.is_some());
        assert!(matches!(
            uploads.acquire(Uuid::nil(), now),
            Err(PluginError::UploadBusy)
        ));
        assert!(uploads.acquire(Uuid::max(), now).is_ok());
        drop(permit);
        assert!(uploads.acquire(Uuid::nil(), now).is_ok());
    }

    #[test]
    fn the_upload_time_per_hour_is_limited() {
        let (uploads, now) = (uploads(10), Timestamp::EPOCH);
        let busy = |seconds| {
            let mut permit = uploads.acquire(Uuid::nil(), now).ok().unwrap();
            permit.started -= Duration::from_secs(seconds);
        };
        busy(4);
        busy(6);
        let refused = uploads.acquire(Uuid::nil(), now.plus(Duration::from_mins(30))).err();
        assert!(
            matches!(refused, Some(PluginError::UploadTime { limit: 10, retry_after }) if (1_800..=1_811).contains(&retry_after)),
            "{refused:?}"
        );
        assert!(uploads.acquire(Uuid::nil(), now.plus(Duration::from_mins(61))).is_ok());
    }
}
