//! Ed25519 keys from a directory: `access-*.pem` sign access tokens, `receipt-*.pem` sign receipts, and from
//! `sealing-*.pem` the keys are derived that encrypt secrets in the database (`sealing`).
//!
//! A file name contains the time of creation, so names sort by age. The newest key signs, all keys verify. To rotate a
//! key, add a file and restart; remove the old file when nothing that it signed is in use.
//!
//! Must not know: what is signed or sealed.

mod data_key;
mod public;
mod routes;
mod sealing;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};

pub use data_key::{DATA_KEY_BYTES, DataKey};
pub use public::PublicKey;
pub use routes::router;
pub use sealing::{Place, SealError, Sealing};

/// The permissions that a private key must not give: any to others, and writing to its group. A group may read it, because
/// Kubernetes mounts secrets for the group of the process.
const NOT_PRIVATE: u32 = 0o037;

/// The purpose of a key, which is the first word of its file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Access,
    Receipt,
    Sealing,
}

impl Purpose {
    pub const ALL: [Self; 3] = [Self::Access, Self::Receipt, Self::Sealing];

    fn prefix(self) -> &'static str {
        match self {
            Self::Access => "access-",
            Self::Receipt => "receipt-",
            Self::Sealing => "sealing-",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{directory} contains no {prefix}*.pem. Create one with `meed keys generate --only-missing`")]
    Missing { directory: PathBuf, prefix: &'static str },
    #[error("cannot read {path}. Create the keys with `meed keys generate`, or correct keys.directory")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} is not an Ed25519 private key in PKCS#8 PEM ({reason}). Replace it with `meed keys generate`")]
    NotAKey { path: PathBuf, reason: String },
    #[error("{path} has the mode {mode:04o}, so other users can read or change the private key. Run chmod 600 on it")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("cannot write {path}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("the operating system could not generate a key. Try again")]
    Generate,
}

/// The keys of a server.
#[derive(Clone, Debug)]
pub struct Keys {
    pub access: Arc<Keyring>,
    pub receipt: Arc<Keyring>,
    pub sealing: Sealing,
}

impl Keys {
    pub fn load(directory: &Path, clock: &Clock) -> Result<Self, KeyError> {
        Ok(Self {
            access: Arc::new(Keyring::load(directory, Purpose::Access)?),
            receipt: Arc::new(Keyring::load(directory, Purpose::Receipt)?),
            sealing: Sealing::load(directory, clock.clone())?,
        })
    }
}

/// All keys of one purpose.
#[derive(Debug)]
pub struct Keyring {
    newest: Key,
    older: Vec<Key>,
}

impl Keyring {
    pub fn load(directory: &Path, purpose: Purpose) -> Result<Self, KeyError> {
        let mut keys = key_files(directory, purpose)?
            .iter()
            .map(|path| Key::read(path))
            .collect::<Result<Vec<_>, _>>()?;
        let newest = keys.pop().ok_or_else(|| KeyError::Missing {
            directory: directory.to_owned(),
            prefix: purpose.prefix(),
        })?;
        Ok(Self { newest, older: keys })
    }

    /// The key that signs.
    pub fn signing(&self) -> &Key {
        &self.newest
    }

    /// Every key, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(self.older.iter().rev())
    }

    pub fn public_key(&self, id: &str) -> Option<PublicKey> {
        self.all()
            .find(|key| key.id == id)
            .and_then(|key| PublicKey::new(key.public()))
    }

    /// The public keys, newest first.
    pub fn public_keys(&self) -> Vec<PublicKey> {
        self.all().filter_map(|key| PublicKey::new(key.public())).collect()
    }

    /// Derives a secret for the use named by `label`. It changes with every key rotation.
    pub fn derive(&self, label: &str) -> Result<[u8; 32], KeyError> {
        self.newest.derive(label)
    }

    /// The public keys as a JWK Set (RFC 7517, RFC 8037).
    pub fn jwks(&self) -> JwkSet {
        JwkSet {
            keys: self.all().map(Key::jwk).collect(),
        }
    }
}

/// One key pair.
#[derive(Debug)]
pub struct Key {
    /// The JWK thumbprint of the key (RFC 7638).
    id: String,
    pair: Ed25519KeyPair,
}

impl Key {
    fn read(path: &Path) -> Result<Self, KeyError> {
        let not_a_key = |reason: String| KeyError::NotAKey {
            path: path.to_owned(),
            reason,
        };
        let unreadable = |source| KeyError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & NOT_PRIVATE != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let text = fs::read(path).map_err(unreadable)?;
        let pem = pem::parse(text).map_err(|error| not_a_key(error.to_string()))?;
        let pair = Ed25519KeyPair::from_pkcs8(pem.contents()).map_err(|error| not_a_key(error.to_string()))?;
        let id = thumbprint(pair.public_key().as_ref());
        Ok(Self { id, pair })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The 32 bytes of the public key.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }

    /// A secret for the use named by `label`.
    fn derive(&self, label: &str) -> Result<[u8; 32], KeyError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.pkcs8()?.as_ref());
        let mut secret = [0; 32];
        secret.copy_from_slice(hmac::sign(&key, label.as_bytes()).as_ref());
        Ok(secret)
    }

    /// The private key, for a library that signs itself.
    pub(crate) fn pkcs8(&self) -> Result<impl AsRef<[u8]>, KeyError> {
        self.pair.to_pkcs8v1().map_err(|_| KeyError::Generate)
    }

    fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP",
            crv: "Ed25519",
            x: URL_SAFE_NO_PAD.encode(self.public()),
            kid: self.id.clone(),
            use_: "sig",
            alg: "EdDSA",
        }
    }
}

/// Public keys (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    /// Newest first
    pub keys: Vec<Jwk>,
}

/// An Ed25519 public key (RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwk {
    #[schema(example = "OKP")]
    pub kty: &'static str,
    #[schema(example = "Ed25519")]
    pub crv: &'static str,
    #[schema(example = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    pub x: String,
    /// The key's thumbprint (RFC 7638)
    #[schema(example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    pub kid: String,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    pub use_: &'static str,
    #[schema(example = "EdDSA")]
    pub alg: &'static str,
}

/// Creates a key file that only its owner can read, and returns its path.
pub fn generate(directory: &Path, purpose: Purpose, now: Timestamp) -> Result<PathBuf, KeyError> {
    let unwritable = |path: &Path, source| KeyError::Unwritable {
        path: path.to_owned(),
        source,
    };
    let seed = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
    let document = seed.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
    let text = pem::encode_config(
        &pem::Pem::new("PRIVATE KEY", document.as_ref()),
        pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
    );
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| unwritable(directory, source))?;
    let created = now.to_timestamp().strftime("%Y%m%dT%H%M%S.%3fZ");
    let path = directory.join(format!("{}{created}.pem", purpose.prefix()));
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| unwritable(&path, source))?;
    Ok(path)
}

/// The key files of one purpose, oldest first.
pub fn key_files(directory: &Path, purpose: Purpose) -> Result<Vec<PathBuf>, KeyError> {
    let unreadable = |source| KeyError::Unreadable {
        path: directory.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        if let Ok(name) = entry.map_err(unreadable)?.file_name().into_string()
            && name.starts_with(purpose.prefix())
            && Path::new(&name).extension().is_some_and(|extension| extension == "pem")
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

/// The id of the key in a file, as error messages and receipts show it.
pub fn id_of_file(path: &Path, purpose: Purpose) -> Result<String, KeyError> {
    let key = Key::read(path)?;
    Ok(match purpose {
        Purpose::Access | Purpose::Receipt => key.id,
        Purpose::Sealing => sealing::id_of(&key.id),
    })
}

fn thumbprint(public: &[u8]) -> String {
    // RFC 7638: only the required members, in this order, without white space.
    let x = URL_SAFE_NO_PAD.encode(public);
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-03-01T12:00:{second:02}Z").parse().unwrap()
    }

    #[test]
    fn the_thumbprint_matches_the_example_of_rfc_8037() {
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_newest_key_signs_and_every_key_verifies() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path(), Purpose::Access, at(0)).unwrap();
        let before = Keyring::load(directory.path(), Purpose::Access).unwrap();
        let old_signature = before.signing().sign(b"bytes");

        generate(directory.path(), Purpose::Access, at(1)).unwrap();
        let after = Keyring::load(directory.path(), Purpose::Access).unwrap();

        assert_ne!(after.signing().id(), before.signing().id());
        let old_key = after.public_key(before.signing().id()).unwrap();
        let new_key = after.public_key(after.signing().id()).unwrap();
        assert!(old_key.verify(b"bytes", &old_signature));
        assert!(!new_key.verify(b"bytes", &old_signature));
        assert!(!old_key.verify(b"other bytes", &old_signature));
        let ids: Vec<_> = after.jwks().keys.into_iter().map(|key| key.kid).collect();
        assert_eq!(ids, [after.signing().id(), before.signing().id()]);
    }

    #[test]
    fn a_key_serves_its_own_purpose_only() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path(), Purpose::Access, at(0)).unwrap();
        let load = || Keys::load(directory.path(), &Clock::System).unwrap_err().to_string();
        assert!(load().contains("no receipt-*.pem"), "{}", load());
        generate(directory.path(), Purpose::Receipt, at(0)).unwrap();
        assert!(load().contains("no sealing-*.pem"), "{}", load());
    }

    #[test]
    fn only_the_owner_can_read_a_key_and_no_key_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let keys = directory.path().join("deep/keys");
        let path = generate(&keys, Purpose::Receipt, at(0)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&path)), (0o700, 0o600));
        assert_eq!(path.file_name().unwrap(), "receipt-20260301T120000.000Z.pem");
        assert!(generate(&keys, Purpose::Receipt, at(0)).is_err());
    }

    #[test]
    fn the_error_for_a_missing_or_invalid_key_names_the_file_and_the_fix() {
        let directory = tempfile::tempdir().unwrap();
        let message = |directory: &Path| Keyring::load(directory, Purpose::Access).unwrap_err().to_string();
        for directory in [directory.path().to_owned(), directory.path().join("missing")] {
            assert!(message(&directory).contains("meed keys generate"), "{directory:?}");
        }
        let path = directory.path().join("access-1.pem");
        fs::write(&path, "not a key").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(message(directory.path()).contains("access-1.pem is not an Ed25519 private key"));
    }
}
