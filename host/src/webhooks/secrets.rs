//! The signing secrets of endpoints, which are sealed in the database. Must not know: what they sign.

use uuid::Uuid;

use super::message;
use super::store::{self, EndpointRow};
use crate::clock::Timestamp;
use crate::db::{Db, DbError};
use crate::keys::{Place, SealError, Sealing};

impl EndpointRow {
    /// The secrets that sign a message now, the newest first.
    pub(super) fn open_secrets(&self, sealing: &Sealing, now: Timestamp) -> Result<Vec<Vec<u8>>, SealError> {
        let mut secrets = vec![sealing.open(current(self.id), &self.secret)?];
        if let Some(sealed) = &self.previous_secret
            && self.previous_until.is_some_and(|until| now < until)
        {
            secrets.push(sealing.open(previous(self.id), sealed)?);
        }
        Ok(secrets)
    }

    /// Makes `secret` the current one; the one before also signs until `until`. If its key is missing, it signs no more.
    pub(super) fn rotate_secret(
        &mut self,
        sealing: &Sealing,
        secret: &[u8; message::SECRET_BYTES],
        until: Timestamp,
    ) -> Result<(), SealError> {
        self.previous_secret = match sealing.open(current(self.id), &self.secret) {
            Ok(before) => Some(sealing.seal(previous(self.id), &before)?),
            Err(error @ SealError::KeyMissing { .. }) => {
                tracing::warn!(%error, "the previous secret of a webhook endpoint is lost");
                None
            }
            Err(error) => return Err(error),
        };
        self.previous_until = self.previous_secret.is_some().then_some(until);
        self.secret = sealing.seal(current(self.id), secret)?;
        Ok(())
    }
}

/// The first secret of an endpoint, as its row holds it.
pub(super) fn seal_first(
    sealing: &Sealing,
    endpoint_id: Uuid,
    secret: &[u8; message::SECRET_BYTES],
) -> Result<Vec<u8>, SealError> {
    sealing.seal(current(endpoint_id), secret)
}

#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error(transparent)]
    Sealed(#[from] SealError),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Seals the secrets of all endpoints with the newest key, and returns the number of endpoints that were sealed with an older
/// one. Servers may run meanwhile. A deleted endpoint has no secrets.
pub async fn reseal(db: &Db, sealing: &Sealing) -> Result<u64, ResealError> {
    let mut resealed = 0;
    for row in store::list(db, None, None, i64::MAX).await? {
        let mut tx = db.begin().await?;
        let Some(mut row) = store::lock(&mut tx, row.id).await? else {
            continue;
        };
        let secret = sealing.reseal(current(row.id), &row.secret)?;
        let before = match &row.previous_secret {
            Some(sealed) => sealing.reseal(previous(row.id), sealed)?,
            None => None,
        };
        if secret.is_none() && before.is_none() {
            continue;
        }
        row.secret = secret.unwrap_or(row.secret);
        row.previous_secret = before.or(row.previous_secret);
        store::update(&mut tx, row).await?;
        tx.commit().await?;
        resealed += 1;
    }
    Ok(resealed)
}

fn current(endpoint_id: Uuid) -> Place {
    Place {
        table: "webhook_endpoints",
        column: "secret",
        row: endpoint_id,
    }
}

fn previous(endpoint_id: Uuid) -> Place {
    Place {
        column: "previous_secret",
        ..current(endpoint_id)
    }
}
