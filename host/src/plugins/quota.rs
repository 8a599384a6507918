//! What one operator's uploads may take: one at a time, so much time in an hour, so much room.
//!
//! Time is counted in this process, since it is this process's processor that is taken; room is counted in the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::service::PluginError;
use crate::clock::Timestamp;
use crate::config::UploadQuota;

const HOUR: Duration = Duration::from_hours(1);

/// Who is uploading, and what it took lately. Cheap to clone; all clones count together.
#[derive(Clone)]
pub(super) struct Uploads {
    quota: UploadQuota,
    operators: Arc<Mutex<HashMap<Uuid, Lately>>>,
}

#[derive(Default)]
struct Lately {
    busy: bool,
    /// When an upload ended, and how long it took.
    spent: VecDeque<(Timestamp, Duration)>,
}

/// The right to upload now. Dropping it, however the upload ended, makes room for the next.
pub(super) struct Turn {
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

    pub(super) fn take_turn(&self, operator: Uuid, now: Timestamp) -> Result<Turn, PluginError> {
        let mut operators = self.operators.lock().unwrap_or_else(PoisonError::into_inner);
        // An operator without recent uploads is forgotten, so that this does not grow.
        operators.retain(|_, lately| {
            lately.spent.retain(|(ended, _)| *ended > now.minus(HOUR));
            lately.busy || !lately.spent.is_empty()
        });
        let lately = operators.entry(operator).or_default();
        if lately.busy {
            return Err(PluginError::UploadBusy);
        }
        let spent: Duration = lately.spent.iter().map(|(_, took)| *took).sum();
        if spent.as_secs() >= self.quota.seconds_per_hour
            && let Some((oldest, _)) = lately.spent.front()
        {
            let free_at = oldest.plus(HOUR);
            return Err(PluginError::UploadTime {
                limit: self.quota.seconds_per_hour,
                retry_after: u32::try_from((free_at.as_millis() - now.as_millis()) / 1_000 + 1).unwrap_or(1),
            });
        }
        lately.busy = true;
        Ok(Turn {
            uploads: self.clone(),
            operator,
            at: now,
            started: std::time::Instant::now(),
        })
    }
}

impl Turn {
    /// From now on it counts: what came before was waiting for the client.
    pub(super) fn begin(&mut self) {
        self.started = std::time::Instant::now();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let mut operators = self.uploads.operators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lately) = operators.get_mut(&self.operator) {
            lately.busy = false;
            lately.spent.push_back((self.at.plus(took), took));
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
    fn one_at_a_time_for_one_operator() {
        let (uploads, now) = (uploads(10), Timestamp::EPOCH);
        let turn = uploads.take_turn(Uuid::nil(), now).ok();
        assert!(turn.is_some());
        assert!(matches!(
            uploads.take_turn(Uuid::nil(), now),
            Err(PluginError::UploadBusy)
        ));
        assert!(uploads.take_turn(Uuid::max(), now).is_ok());
        drop(turn);
        assert!(uploads.take_turn(Uuid::nil(), now).is_ok());
    }

    #[test]
    fn so_much_time_in_an_hour() {
        let (uploads, now) = (uploads(10), Timestamp::EPOCH);
        let busy = |seconds| {
            let mut turn = uploads.take_turn(Uuid::nil(), now).ok().unwrap();
            turn.started -= Duration::from_secs(seconds);
        };
        busy(4);
        busy(6);
        let refused = uploads.take_turn(Uuid::nil(), now.plus(Duration::from_mins(30))).err();
        assert!(
            matches!(refused, Some(PluginError::UploadTime { limit: 10, retry_after }) if (1_800..=1_811).contains(&retry_after)),
            "{refused:?}"
        );
        assert!(
            uploads
                .take_turn(Uuid::nil(), now.plus(Duration::from_mins(61)))
                .is_ok()
        );
    }
}
