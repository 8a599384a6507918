//! The rules for service keys: who they are, what changes them, and which of them are valid.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::cached::CachedKeys;
use super::model::{NewServiceKey, ServiceKey, ServiceKeySecret, network};
use super::store::{self, KeyRow};
use super::token::KeyToken;
use crate::audit::{self, Entry};
use crate::auth::{KeyHolder, Scope};
use crate::cache::{Cache, Invalidation, Policy, Topic};
use crate::clock::{Clock, Timestamp};
use crate::db::{Db, DbError, Json, Tx};

/// How exact `lastUsedAt` is: a process writes it at most this often.
const USE_NOTED_EVERY: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
pub enum ServiceKeyError {
    #[error("There is no service key {0}.")]
    NotFound(Uuid),
    #[error("There is no service key with the name {0:?} that is not revoked.")]
    NoSuchName(String),
    #[error("Another service key has the name {0:?}; choose another name, or revoke that key.")]
    NameTaken(String),
    #[error("The service key is at revision {is}; you read revision {read}. Read it again and repeat your change.")]
    Changed { is: i64, read: i64 },
    #[error("The service key was revoked at {0} and cannot change; create a new one.")]
    Revoked(Timestamp),
    #[error("is {0}, which is not in the future; choose a later end, or leave it out")]
    Ended(Timestamp),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct ServiceKeyService {
    db: Db,
    clock: Clock,
    shared: Cache,
    cached: CachedKeys,
    /// The limit of keys that have none of their own.
    limit: Option<Policy>,
}

impl ServiceKeyService {
    pub fn new((db, clock): (Db, Clock), shared: Cache, trusted_for: Duration, limit: Option<Policy>) -> Self {
        Self {
            cached: CachedKeys::new(db.clone(), clock.clone(), trusted_for),
            db,
            clock,
            shared,
            limit,
        }
    }

    /// `by` is `None` for the command line.
    pub async fn create(&self, new: NewServiceKey, by: Option<Uuid>) -> Result<ServiceKeySecret, ServiceKeyError> {
        let now = self.clock.now();
        require_future(new.expires_at, now)?;
        let token = KeyToken::new(self.clock.new_id(), self.clock.random());
        let row = KeyRow {
            id: token.id,
            applied_revision: new.applied.then_some(1),
            settings: Json(new),
            hash: token.hash(),
            previous_hash: None,
            previous_until: None,
            revision: 1,
            created_by: by,
            created_at: now,
            updated_at: now,
            last_used_at: None,
            last_used_address: None,
            revoked_at: None,
        };
        let mut tx = self.db.begin().await?;
        if !store::insert(&mut tx, &row).await? {
            return Err(ServiceKeyError::NameTaken(row.settings.0.name));
        }
        let entry = Entry::about("service-key", &row.id).between(&(), &row.settings.0);
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        Ok(ServiceKeySecret {
            key: row.into(),
            secret: token.text(),
        })
    }

    /// Newest first, up to `size + 1`, also revoked ones.
    pub async fn list(&self, after: Option<Uuid>, size: u32) -> Result<Vec<ServiceKey>, ServiceKeyError> {
        let rows = store::list(&self.db, after, i64::from(size) + 1).await?;
        Ok(rows.into_iter().map(ServiceKey::from).collect())
    }

    pub async fn get(&self, id: Uuid) -> Result<ServiceKey, ServiceKeyError> {
        let row = store::find(&self.db, id).await?;
        row.map(ServiceKey::from).ok_or(ServiceKeyError::NotFound(id))
    }

    /// The key with this name that is not revoked.
    pub async fn named(&self, name: &str) -> Result<ServiceKey, ServiceKeyError> {
        let row = store::find_named(&self.db, name.to_owned()).await?;
        row.map(ServiceKey::from)
            .ok_or_else(|| ServiceKeyError::NoSuchName(name.to_owned()))
    }

    /// Replaces everything but the secret. `revision`: the one that the caller read; `None`: any.
    pub async fn replace(
        &self,
        id: Uuid,
        revision: Option<i64>,
        new: NewServiceKey,
    ) -> Result<ServiceKey, ServiceKeyError> {
        let mut tx = self.db.begin().await?;
        let old = current(&mut tx, id).await?;
        if let Some(read) = revision.filter(|read| *read != old.revision) {
            return Err(ServiceKeyError::Changed { is: old.revision, read });
        }
        if new.expires_at != old.settings.0.expires_at {
            require_future(new.expires_at, self.clock.now())?;
        }
        let entry = Entry::about("service-key", &id).between(&old.settings.0, &new);
        let row = KeyRow {
            applied_revision: if new.applied {
                Some(old.revision + 1)
            } else {
                old.applied_revision
            },
            settings: Json(new),
            ..old
        };
        self.write(tx, row, entry).await
    }

    /// Makes a new secret. The one before is valid for `overlap` more.
    pub async fn rotate(&self, id: Uuid, overlap: Duration) -> Result<ServiceKeySecret, ServiceKeyError> {
        let mut tx = self.db.begin().await?;
        let old = current(&mut tx, id).await?;
        let token = KeyToken::new(id, self.clock.random());
        let until = (!overlap.is_zero()).then(|| self.clock.now().plus(overlap));
        let entry = Entry::about("service-key", &id).field("rotated", false, true).field(
            "previousSecretUntil",
            old.previous_until,
            until,
        );
        let row = KeyRow {
            previous_hash: until.map(|_| old.hash),
            previous_until: until,
            hash: token.hash(),
            applied_revision: match old.applied_revision {
                Some(applied) if applied == old.revision => Some(applied + 1),
                applied => applied,
            },
            ..old
        };
        Ok(ServiceKeySecret {
            key: self.write(tx, row, entry).await?,
            secret: token.text(),
        })
    }

    /// Revokes a key for ever. Revoking it again has no effect.
    pub async fn revoke(&self, id: Uuid) -> Result<(), ServiceKeyError> {
        let mut tx = self.db.begin().await?;
        let old = match current(&mut tx, id).await {
            Err(ServiceKeyError::Revoked(_)) => return Ok(()),
            found => found?,
        };
        let now = self.clock.now();
        let entry = Entry::about("service-key", &id).field("revokedAt", None::<Timestamp>, now);
        let row = KeyRow {
            revoked_at: Some(now),
            ..old
        };
        self.write(tx, row, entry).await?;
        Ok(())
    }

    /// Writes a changed key, and makes all processes read it again.
    async fn write(&self, mut tx: Tx, mut row: KeyRow, entry: Entry) -> Result<ServiceKey, ServiceKeyError> {
        row.updated_at = self.clock.now();
        match store::update(&mut tx, &row).await {
            Ok(true) => {}
            Ok(false) => {
                let (is, read) = (row.revision + 1, row.revision);
                return Err(ServiceKeyError::Changed { is, read });
            }
            Err(error) if error.is_unique_violation() => {
                return Err(ServiceKeyError::NameTaken(row.settings.0.name));
            }
            Err(error) => return Err(error.into()),
        }
        audit::record(&mut tx, &self.clock, entry).await?;
        tx.commit().await?;
        self.cached.drop_copy(row.id).await;
        self.shared.publish(Topic::ServiceKey(row.id)).await;
        row.revision += 1;
        Ok(row.into())
    }

    /// The program that sent this key, and its rate limit; `None` if the key is not valid. `client` is the address of the
    /// request, and `network` the name under which unknown keys are counted.
    pub(super) async fn check(
        &self,
        token: &str,
        client: Option<IpAddr>,
        network: &str,
    ) -> Result<Option<Checked>, ServiceKeyError> {
        let Some(token) = KeyToken::parse(token) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let Some(row) = self.cached.find(token.id, network).await? else {
            tracing::debug!(service_key.id = %token.id, "unknown service key");
            return Ok(None);
        };
        if !row.accepts(&token, now) {
            tracing::debug!(service_key.id = %token.id, "service key refused: wrong secret, expired or revoked");
            return Ok(None);
        }
        self.note_use(&row, client, now).await;
        let limit = match row.settings.0.rate_limit {
            Some(rate) => rate.policy(),
            None => self.limit.clone(),
        };
        Ok(Some(Checked {
            holder: Arc::new(row.holder(client, token.hash())),
            limit,
            until: row.accepted_until(&token),
        }))
    }

    /// Those programs whose keys are still valid and may do the same.
    pub async fn unchanged(&self, holders: Vec<Arc<KeyHolder>>) -> Result<HashSet<Arc<KeyHolder>>, DbError> {
        let now = self.clock.now();
        let mut unchanged = HashSet::new();
        for holder in holders {
            let row = self.cached.read(holder.id).await?;
            if row.is_some_and(|row| row.lets_go_on(&holder, now)) {
                unchanged.insert(holder);
            }
        }
        Ok(unchanged)
    }

    /// Best effort: a database that cannot write does not refuse a request that only reads.
    async fn note_use(&self, row: &KeyRow, client: Option<IpAddr>, now: Timestamp) {
        let since = now.minus(USE_NOTED_EVERY);
        if row.last_used_at.is_some_and(|at| since <= at) {
            return;
        }
        let address = client.map(|address| address.to_string());
        match store::set_used(&self.db, row.id, now, address, since).await {
            // The next request sees that this use was noted.
            Ok(()) => self.cached.drop_copy(row.id).await,
            Err(error) => tracing::debug!(%error, "the use of a service key was not noted"),
        }
    }

    /// Another process changed keys.
    pub async fn on_invalidation(&self, invalidation: &Invalidation) {
        self.cached.on_invalidation(invalidation).await;
    }
}

/// A valid key.
pub(super) struct Checked {
    pub holder: Arc<KeyHolder>,
    pub limit: Option<Policy>,
    /// When it ends.
    pub until: Option<Timestamp>,
}

/// A key that has ended already is a mistake; a revocation ends one at once.
fn require_future(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), ServiceKeyError> {
    match expires_at.filter(|at| *at <= now) {
        Some(at) => Err(ServiceKeyError::Ended(at)),
        None => Ok(()),
    }
}

async fn current(tx: &mut Tx, id: Uuid) -> Result<KeyRow, ServiceKeyError> {
    let row = store::find(tx, id).await?.ok_or(ServiceKeyError::NotFound(id))?;
    match row.revoked_at {
        Some(at) => Err(ServiceKeyError::Revoked(at)),
        None => Ok(row),
    }
}

impl From<KeyRow> for ServiceKey {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.id,
            revision: row.revision,
            applied_revision: row.applied_revision,
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
            previous_secret_until: row.previous_until,
            last_used_at: row.last_used_at,
            last_used_address: row.last_used_address,
            revoked_at: row.revoked_at,
            settings: row.settings.0,
        }
    }
}

impl KeyRow {
    fn accepts(&self, token: &KeyToken, now: Timestamp) -> bool {
        self.accepts_hash(|hash| token.has_hash(hash), now)
    }

    fn accepts_hash(&self, is_same: impl Fn(&[u8]) -> bool, now: Timestamp) -> bool {
        let is_previous = || {
            let previous = self.previous_hash.as_ref().zip(self.previous_until);
            previous.is_some_and(|(hash, until)| now < until && is_same(hash))
        };
        self.is_valid(now) && (is_same(&self.hash) || is_previous())
    }

    /// Whether the program may still do what it may do: with this secret, these scopes and sources, and at this address.
    fn lets_go_on(&self, holder: &KeyHolder, now: Timestamp) -> bool {
        let current = KeyHolder {
            name: holder.name.clone(),
            ..self.holder(holder.address, holder.hash.clone())
        };
        self.accepts_hash(|hash| hash == holder.hash, now) && current == *holder
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.settings.0.expires_at.is_none_or(|at| now < at)
    }

    /// When the key expires, or its secret if that was rotated.
    fn accepted_until(&self, token: &KeyToken) -> Option<Timestamp> {
        let rotated = self.previous_until.filter(|_| !token.has_hash(&self.hash));
        self.settings.0.expires_at.into_iter().chain(rotated).min()
    }

    /// A scope that this release does not know is left out.
    fn holder(&self, client: Option<IpAddr>, hash: Vec<u8>) -> KeyHolder {
        let settings = &self.settings.0;
        let is_allowed = |address: &IpAddr| {
            let Some(allowed) = &settings.addresses else {
                return true;
            };
            allowed
                .iter()
                .filter_map(|text| network(text))
                .any(|network| network.contains(address))
        };
        KeyHolder {
            id: self.id,
            name: settings.name.clone(),
            scopes: settings
                .scopes
                .iter()
                .filter_map(|name| name.parse::<Scope>().ok())
                .collect(),
            sources: settings.sources.clone(),
            refused_address: client.filter(|address| !is_allowed(address)),
            address: client,
            hash,
        }
    }
}
