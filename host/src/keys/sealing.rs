//! Seals secrets before they are stored: `sealing-*.pem` encrypt and authenticate them (AES-256-GCM-SIV).
//!
//! A sealed value names its key and is bound to its table, column and row, so a value that is moved elsewhere does not
//! open. The newest key seals, every key opens. Must not know: what is sealed, the database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use uuid::Uuid;

use super::{KeyError, Keyring, Purpose};
use crate::clock::{Clock, Timestamp};

/// The first byte of a sealed value: its layout is this byte, the key's id, the nonce, and the encrypted value with its tag.
const VERSION: u8 = 1;
/// How much of the key's thumbprint a value holds.
const ID_BYTES: usize = 8;
/// How often an unknown key id makes the process read the directory again. Another replica may have added a key.
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

type KeyId = [u8; ID_BYTES];

/// Where a sealed value is stored.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub table: &'static str,
    pub column: &'static str,
    pub row: Uuid,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} of {}", self.table, self.column, self.row)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(
        "{place} is sealed with the key {id}, and no sealing-*.pem in {directory} has this id. Restore the file from the \
         backup of the key directory; `meed keys list` shows the ids of files"
    )]
    KeyMissing {
        place: Place,
        id: String,
        directory: PathBuf,
    },
    #[error("{0} does not open: the value was changed, or belongs to another row")]
    Damaged(Place),
    #[error("{0} could not be sealed")]
    Failed(Place),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// The sealing keys of a server. Cheap to clone.
#[derive(Clone)]
pub struct Sealing(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    clock: Clock,
    keys: RwLock<Loaded>,
}

struct Loaded {
    /// Newest first, never empty.
    keys: Vec<SealingKey>,
    read_at: Option<Timestamp>,
}

#[derive(Clone)]
struct SealingKey {
    id: KeyId,
    cipher: Arc<LessSafeKey>,
}

impl Sealing {
    pub fn load(directory: &Path, clock: Clock) -> Result<Self, KeyError> {
        let keys = read(directory)?;
        Ok(Self(Arc::new(Inner {
            directory: directory.to_owned(),
            clock,
            keys: RwLock::new(Loaded { keys, read_at: None }),
        })))
    }

    /// The id of the key that seals.
    pub fn newest(&self) -> String {
        self.0
            .keys
            .read()
            .keys
            .first()
            .map_or_else(String::new, |key| shown(key.id))
    }

    /// Encrypts a value for this place.
    pub fn seal(&self, place: Place, value: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.0.keys.read().keys.first().cloned();
        let key = key.ok_or(SealError::Failed(place))?;
        let nonce = self.0.clock.random::<NONCE_LEN>();
        let mut encrypted = value.to_vec();
        key.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(place)),
                &mut encrypted,
            )
            .map_err(|_| SealError::Failed(place))?;
        Ok([&[VERSION], key.id.as_slice(), &nonce, &encrypted].concat())
    }

    /// Decrypts a value that was sealed for this place.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (id, nonce, encrypted) = parse(sealed).ok_or(SealError::Damaged(place))?;
        let key = self.key(id).ok_or_else(|| SealError::KeyMissing {
            place,
            id: shown(id),
            directory: self.0.directory.clone(),
        })?;
        let mut value = encrypted.to_vec();
        let length = key
            .cipher
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(place)),
                &mut value,
            )
            .map_err(|_| SealError::Damaged(place))?
            .len();
        value.truncate(length);
        Ok(value)
    }

    /// The same value under the newest key; `None` if that key sealed it.
    pub fn reseal(&self, place: Place, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let newest = self.0.keys.read().keys.first().map(|key| key.id);
        let (id, ..) = parse(sealed).ok_or(SealError::Damaged(place))?;
        if newest == Some(id) {
            return Ok(None);
        }
        self.seal(place, &self.open(place, sealed)?).map(Some)
    }

    /// The key of this id, also if another process added it since the last look.
    fn key(&self, id: KeyId) -> Option<SealingKey> {
        let find = |loaded: &Loaded| loaded.keys.iter().find(|key| key.id == id).cloned();
        if let Some(key) = find(&self.0.keys.read()) {
            return Some(key);
        }
        let mut loaded = self.0.keys.write();
        let now = self.0.clock.now();
        if loaded.read_at.is_some_and(|at| now < at.plus(REREAD_INTERVAL)) {
            return find(&loaded);
        }
        loaded.read_at = Some(now);
        match read(&self.0.directory) {
            Ok(keys) => loaded.keys = keys,
            Err(error) => tracing::warn!(%error, "sealing keys not read again"),
        }
        find(&loaded)
    }
}

/// Shows no key.
impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing({})", self.newest())
    }
}

/// The id that values hold of the key with this thumbprint, as messages show it.
pub(super) fn id_of(thumbprint: &str) -> String {
    shown(key_id(thumbprint))
}

fn read(directory: &Path) -> Result<Vec<SealingKey>, KeyError> {
    let ring = Keyring::load(directory, Purpose::Sealing)?;
    let cipher = |secret: [u8; 32]| UnboundKey::new(&AES_256_GCM_SIV, &secret).map(LessSafeKey::new);
    ring.all()
        .map(|key| {
            Ok(SealingKey {
                id: key_id(key.id()),
                cipher: Arc::new(cipher(key.derive("meed sealing")?).map_err(|_| KeyError::Generate)?),
            })
        })
        .collect()
}

fn key_id(thumbprint: &str) -> KeyId {
    let mut id = KeyId::default();
    let bytes = URL_SAFE_NO_PAD.decode(thumbprint).unwrap_or_default();
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    id
}

fn shown(id: KeyId) -> String {
    hex::encode(id)
}

fn parse(sealed: &[u8]) -> Option<(KeyId, [u8; NONCE_LEN], &[u8])> {
    let (version, rest) = sealed.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (nonce, encrypted) = rest.split_first_chunk()?;
    (*version == VERSION).then_some((*id, *nonce, encrypted))
}

fn bound_to(place: Place) -> String {
    format!(
        "meed-sealed/{VERSION}\n{}\n{}\n{}",
        place.table, place.column, place.row
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        table: "events",
        column: "seed_secret",
        row: Uuid::from_u128(7),
    };

    fn keys(directory: &Path, clock: &Clock) -> Sealing {
        super::super::generate(directory, Purpose::Sealing, clock.now()).unwrap();
        Sealing::load(directory, clock.clone()).unwrap()
    }

    fn clock() -> Clock {
        Clock::fixed("2026-03-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_value_opens_in_its_place_only() {
        let directory = tempfile::tempdir().unwrap();
        let sealing = keys(directory.path(), &clock());
        let sealed = sealing.seal(PLACE, b"secret").unwrap();
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_ne!(sealed, sealing.seal(PLACE, b"secret").unwrap());
        assert_eq!(sealing.open(PLACE, &sealed).unwrap(), b"secret");
        for other in [
            Place {
                row: Uuid::from_u128(8),
                ..PLACE
            },
            Place {
                column: "state",
                ..PLACE
            },
            Place {
                table: "rewards",
                ..PLACE
            },
        ] {
            assert!(
                matches!(sealing.open(other, &sealed), Err(SealError::Damaged(_))),
                "{other}"
            );
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(sealing.open(PLACE, &changed).is_err(), "byte {at}");
        }
        assert!(matches!(sealing.open(PLACE, b"secret"), Err(SealError::Damaged(_))));
    }

    #[test]
    fn after_a_rotation_old_values_open_until_their_key_is_removed() {
        let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
        let before = keys(directory.path(), &clock);
        let sealed = before.seal(PLACE, b"secret").unwrap();
        assert_eq!(before.reseal(PLACE, &sealed).unwrap(), None);

        clock.set("2026-03-02T12:00:00Z".parse().unwrap());
        let after = keys(directory.path(), &clock);
        assert_ne!(after.newest(), before.newest());
        assert_eq!(after.open(PLACE, &sealed).unwrap(), b"secret");
        let resealed = after.reseal(PLACE, &sealed).unwrap().unwrap();
        // A process that started before the rotation finds the new key in the directory.
        assert_eq!(before.open(PLACE, &resealed).unwrap(), b"secret");

        let files = super::super::key_files(directory.path(), Purpose::Sealing).unwrap();
        std::fs::remove_file(&files[0]).unwrap();
        let rest = Sealing::load(directory.path(), clock).unwrap();
        assert_eq!(rest.open(PLACE, &resealed).unwrap(), b"secret");
        let error = rest.open(PLACE, &sealed).unwrap_err().to_string();
        assert!(
            error.contains(&hex::encode(&sealed[1..=ID_BYTES]))
                && error.contains(&directory.path().display().to_string()),
            "{error}"
        );
    }
}
