//! Checkpoints: the size and root of the log, as a signed note.
//!
//! The text is that of C2SP `tlog-checkpoint` (<https://c2sp.org/tlog-checkpoint>) in a `signed-note`
//! (<https://c2sp.org/signed-note>), so that witnesses and monitors of other logs can read it. One extension line holds the
//! time. Must not know: the database.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::clock::Timestamp;
use crate::keys::{Key, PublicKey};
use crate::merkle::Hash;
use crate::sandbox::Digest;

/// More than any note of this log has.
const MOST_BYTES: usize = 16 * 1024;
/// The signature type Ed25519 of signed notes.
const ED25519: u8 = 1;
/// Begins a signature line: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";
/// Begins the extension line with the time.
const TIME: &str = "time ";

/// The log at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names the log.
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// `None`: the note of another log.
    pub at: Option<Timestamp>,
}

/// What is wrong with a note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("the checkpoint is malformed: {0}")]
    Malformed(&'static str),
    #[error("no trusted key signed the checkpoint of size {0}; compare the keys with /.well-known/receipt-keys.json")]
    Signature(u64),
}

impl Checkpoint {
    /// The signed lines.
    fn text(&self) -> String {
        let Self { origin, size, root, at } = self;
        let time = at.map(|at| format!("{TIME}{at}\n")).unwrap_or_default();
        format!("{origin}\n{size}\n{}\n{time}", STANDARD.encode(root))
    }

    /// The note with one signature.
    pub fn signed(&self, key: &Key) -> String {
        let text = self.text();
        let signature = [
            key_hash(&self.origin, key.public()).as_slice(),
            &key.sign(text.as_bytes()),
        ]
        .concat();
        format!("{text}\n{SIGNATURE}{} {}\n", self.origin, STANDARD.encode(signature))
    }

    /// Reads a note without its signatures.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let (text, _) = parts(note)?;
        let mut lines = text.lines();
        let mut line = |missing| {
            lines
                .next()
                .filter(|line| !line.is_empty())
                .ok_or(NoteError::Malformed(missing))
        };
        let origin = line("it has no origin")?.to_owned();
        let size = line("it has no size")?;
        let root = line("it has no root")?;
        let number: u64 = size
            .parse()
            .map_err(|_| NoteError::Malformed("the size is no number"))?;
        if number.to_string() != size {
            return Err(NoteError::Malformed("the size is not in its shortest form"));
        }
        let root = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let time = lines.find_map(|line| line.strip_prefix(TIME)?.parse().ok());
        Ok(Self {
            origin,
            size: number,
            root: root.ok_or(NoteError::Malformed("the root is not 32 bytes in Base64"))?,
            at: time,
        })
    }

    /// Reads a note that one of these keys signed for the log that it names.
    pub fn verified(note: &str, keys: &[PublicKey]) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(note)?;
        if is_signed(note, &checkpoint.origin, keys)? {
            Ok(checkpoint)
        } else {
            Err(NoteError::Signature(checkpoint.size))
        }
    }
}

/// The signed text, which ends with a newline, and the signature lines.
fn parts(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MOST_BYTES {
        return Err(NoteError::Malformed("it is too long"));
    }
    // The text ends before the last empty line.
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed("it has no signature"))?;
    Ok((&note[..=end], &note[end + 2..]))
}

fn is_signed(note: &str, name: &str, keys: &[PublicKey]) -> Result<bool, NoteError> {
    let (text, signatures) = parts(note)?;
    let signatures = signatures.lines().filter_map(|line| {
        let (signer, value) = line.strip_prefix(SIGNATURE)?.rsplit_once(' ')?;
        (signer == name).then(|| STANDARD.decode(value).unwrap_or_default())
    });
    let is_by = |signature: &[u8], key: &PublicKey| {
        signature
            .split_at_checked(4)
            .is_some_and(|(hash, value)| hash == key_hash(name, key.bytes()) && key.verify(text.as_bytes(), value))
    };
    Ok(signatures
        .take(64)
        .any(|signature| keys.iter().any(|key| is_by(&signature, key))))
}

/// The first four bytes of SHA-256 over name, newline, signature type and key.
fn key_hash(name: &str, key: &[u8]) -> [u8; 4] {
    let digest = Digest::of(&[name.as_bytes(), b"\n", &[ED25519], key].concat());
    let [first, second, third, fourth, ..] = *digest.as_bytes();
    [first, second, third, fourth]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the signed-note package of Go.
    #[test]
    fn a_note_of_another_implementation_verifies() {
        let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        assert_eq!(hex::encode(key_hash("PeterNeumann", &key[1..])), "c74f20a3");
        let key = PublicKey::new(&key[1..]).unwrap();
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert_eq!(is_signed(note, "PeterNeumann", &[key]), Ok(true));
        assert_eq!(is_signed(note, "Peter", &[key]), Ok(false));
        assert_eq!(
            is_signed(&note.replace("answer", "Answer"), "PeterNeumann", &[key]),
            Ok(false)
        );
    }

    #[test]
    fn a_checkpoint_is_read_back() {
        let checkpoint = Checkpoint {
            origin: "meed.example.com/transparency-log".to_owned(),
            size: 20_852_163,
            root: [7; 32],
            at: "2026-03-01T12:00:00Z".parse().ok(),
        };
        let note = format!(
            "{}\n{SIGNATURE}meed.example.com/transparency-log AAAA\n",
            checkpoint.text()
        );
        assert_eq!(Checkpoint::parse(&note), Ok(checkpoint));
        assert_eq!(
            Checkpoint::verified(&note, &[PublicKey::new(&[1; 32]).unwrap()]),
            Err(NoteError::Signature(20_852_163))
        );
        for broken in [
            note.replace("20852163", "020852163"),
            note.replace("20852163", "-1"),
            note.replace("BwcH", "BwcHBwcH"),
            note.replace("\n\n", "\n"),
            "\n\n".to_owned(),
            String::new(),
            "x".repeat(MOST_BYTES + 1),
        ] {
            assert!(Checkpoint::parse(&broken).is_err(), "{broken:?}");
        }
    }
}
