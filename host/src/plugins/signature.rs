//! Parses and verifies minisign signatures of modules.
//!
//! Authors can sign, and anyone can verify, with the minisign tools. Must not know: which keys are trusted (see
//! `signatures`), the database.

use std::fmt::Write as _;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{PublicKey, SignatureBox};

/// Far more than a signature with a reasonable comment needs.
const MAX_SIGNATURE_BYTES: usize = 4 << 10;
/// A public key file has a comment line and 56 characters.
const MAX_KEY_BYTES: usize = 1 << 10;
const ED25519_BYTES: usize = 64;

/// A parsed `.minisig` file. It is not verified.
pub(super) struct Signature {
    text: String,
    parsed: SignatureBox,
    comment: String,
}

/// A public key in the format of `minisign -P`.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey(PublicKey);

impl Signature {
    /// Parses the text. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SIGNATURE_BYTES {
            let found = text.len();
            return Err(format!("it has {found} bytes; the maximum is {MAX_SIGNATURE_BYTES}"));
        }
        let parsed = SignatureBox::from_string(text).map_err(|error| error.to_string())?;
        // The library reads past the end of a shorter global signature.
        let global = text.lines().nth(3).unwrap_or_default().trim();
        if STANDARD.decode(global).is_ok_and(|bytes| bytes.len() == ED25519_BYTES) {
            let comment = parsed.trusted_comment().map_err(|error| error.to_string())?;
            let text = text.to_owned();
            return Ok(Self { text, parsed, comment });
        }
        Err("its last line is not the signature of the trusted comment".to_owned())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The id of the key that the signature names.
    pub(super) fn key_id(&self) -> String {
        key_id(self.parsed.keynum())
    }

    /// Verifies the signature over the module and the trusted comment.
    pub(super) fn verify(&self, key: &VerifyingKey, module: &[u8]) -> Result<(), String> {
        const QUIET: bool = true;
        const OUTPUT: bool = false;
        // Signatures of minisign before 0.10, which sign without a hash, are not accepted.
        const LEGACY: bool = false;
        minisign::verify(&key.0, &self.parsed, Cursor::new(module), QUIET, OUTPUT, LEGACY)
            .map_err(|error| error.to_string())
    }

    /// Checks that the trusted comment names this version.
    pub(super) fn check_version(&self, name: &str, version: &str) -> Result<(), String> {
        let value_of = |key: &str| {
            let mut values = self
                .comment
                .split_whitespace()
                .filter_map(|word| word.strip_prefix(key));
            values.next().filter(|_| values.next().is_none())
        };
        if value_of("name:") == Some(name) && value_of("version:") == Some(version) {
            return Ok(());
        }
        let expected = trusted_comment(name, version);
        Err(format!(
            "its trusted comment is {:?}, but must contain {expected:?}",
            self.comment
        ))
    }
}

impl VerifyingKey {
    /// Parses a `.pub` file, or only its second line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const INVALID: &str = "must be a minisign public key: 56 characters that begin with RW, or the whole .pub file";
        if text.len() > MAX_KEY_BYTES {
            return Err(INVALID.to_owned());
        }
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let line = line.filter(|line| line.starts_with("RW")).ok_or(INVALID)?;
        PublicKey::from_base64(line).map(Self).map_err(|_| INVALID.to_owned())
    }

    pub(super) fn key_id(&self) -> String {
        key_id(self.0.keynum())
    }

    /// The Ed25519 key alone, in hexadecimal. The key id is only a label that its owner chose.
    pub(super) fn key(&self) -> String {
        const LABELS: usize = 10;
        let bytes = STANDARD.decode(self.0.to_base64()).unwrap_or_default();
        hex::encode(bytes.get(LABELS..).unwrap_or_default())
    }

    pub(super) fn to_base64(&self) -> String {
        self.0.to_base64()
    }
}

/// The trusted comment of a signature, which names the version. The signature covers it.
pub fn trusted_comment(name: &str, version: &str) -> String {
    format!("name:{name} version:{version}")
}

/// minisign prints the eight bytes as a little-endian number.
fn key_id(number: &[u8]) -> String {
    number.iter().rev().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        write!(text, "{byte:02X}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    fn signed(module: &[u8], comment: &str) -> (VerifyingKey, String) {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let signature = minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(module), Some(comment), None).unwrap();
        (
            VerifyingKey::parse(&pair.pk.to_base64()).unwrap(),
            signature.to_string(),
        )
    }

    const MINISIGN_PUB: &str = "untrusted comment: minisign public key C204279AD4394E91\n\
        RWSRTjnUmicEwvL+BczClboEUCwC1ZI+7WU9zR5OwZpG9oJX76Dz11mN\n";
    /// Signatures by minisign 0.11 over the bytes `rule\n`: in the default format, and in the legacy format.
    const MINISIGN_SIG: &str = "untrusted comment: signature from minisign secret key\n\
        RUSRTjnUmicEwjWu2PIQ4/f+D7M6GRgUlYJ0yHejRfOk4Lw58DHdm0YBO3dLltPTwHHF40TYsFB90InnfKG3foj+AR5Cknaucgg=\n\
        trusted comment: name:first-come version:1.0.0\n\
        30Ju4fxmAY2v1HGEt36elL1ATe3y1sgpDTcdQNNxWjmtaw+ATWvToKrpJIM/hr0mlz+2v4AZ/PlzOOH3m8GJDw==\n";
    const MINISIGN_LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWSRTjnUmicEwh+aXKB7552aYZemgPUdRFpCy0/xHoTyrJYi1obOYctTeKwQUCNz8xP9MBLj/q44FJY3ErIPWVcAuicdWTDydAU=\n\
        trusted comment: name:first-come version:1.0.0\n\
        zfzRiY3go5NPptmzGu7gU30Y8BVbOaWZoFaRo2D7TqPM+gw2Lpea98stCHhjX9pYIsK8dtOG7WxIJHmI0vZGCw==\n";

    #[test]
    fn a_signature_by_the_minisign_program_verifies() {
        let key = VerifyingKey::parse(MINISIGN_PUB).unwrap();
        let signature = Signature::parse(MINISIGN_SIG).unwrap();
        assert_eq!(signature.key_id(), key.key_id());
        assert_eq!(key.key_id(), "C204279AD4394E91");
        assert_eq!(signature.verify(&key, b"rule\n"), Ok(()));
        assert!(signature.verify(&key, b"rule").is_err());
        assert_eq!(signature.check_version("first-come", "1.0.0"), Ok(()));
        let legacy = Signature::parse(MINISIGN_LEGACY).unwrap().verify(&key, b"rule\n");
        assert!(legacy.unwrap_err().contains("Legacy"));
    }

    #[test]
    fn a_key_id_keeps_its_leading_zeros() {
        assert_eq!(
            key_id(&[0xEC, 0xB0, 0x1A, 0xA7, 0x51, 0x79, 0xA3, 0x0F]),
            "0FA37951A71AB0EC"
        );
    }

    #[test]
    fn a_signature_is_valid_for_its_own_bytes_and_comment_only() {
        let (key, text) = signed(b"module", "name:a version:1.0.0");
        let signature = Signature::parse(&text).unwrap();
        assert_eq!(signature.verify(&key, b"module"), Ok(()));
        assert!(signature.verify(&key, b"modulf").is_err());
        let moved = Signature::parse(&text.replace("name:a", "name:b")).unwrap();
        assert!(moved.verify(&key, b"module").is_err());
        let (other, _) = signed(b"module", "");
        assert!(signature.verify(&other, b"module").is_err());
    }

    #[test]
    fn the_comment_must_name_exactly_this_version() {
        for (comment, good) in [
            ("name:a version:1.0.0", true),
            ("timestamp:7\tversion:1.0.0 name:a", true),
            ("name:a", false),
            ("name:a version:1.0.0 version:2.0.0", false),
            ("name:a version:1.0.0-rc", false),
            ("name:ab version:1.0.0", false),
            ("", false),
        ] {
            let (_, text) = signed(b"module", comment);
            let signature = Signature::parse(&text).unwrap();
            assert_eq!(signature.check_version("a", "1.0.0").is_ok(), good, "{comment:?}");
        }
    }

    #[test]
    fn malformed_signatures_are_rejected_without_a_panic() {
        let (key, text) = signed(b"module", "name:a version:1.0.0");
        let lines: Vec<&str> = text.lines().collect();
        for end in 0..text.len() {
            if let Some(Ok(signature)) = text.get(..end).map(Signature::parse) {
                signature.verify(&key, b"module").ok();
            }
        }
        let short = format!("{}\n{}\n{}\nAAAA\n", lines[0], lines[1], lines[2]);
        assert!(Signature::parse(&short).is_err());
        assert!(Signature::parse(&text.replace('\n', "\r\n")).is_ok());
        assert!(Signature::parse(&format!("{text}{}", " ".repeat(MAX_SIGNATURE_BYTES))).is_err());
        assert!(Signature::parse("").is_err());
    }

    #[test]
    fn a_key_is_a_single_line_or_a_pub_file() {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let file = pair.pk.to_box().unwrap().to_string();
        assert_eq!(
            VerifyingKey::parse(&file).unwrap().to_base64(),
            VerifyingKey::parse(&pair.pk.to_base64()).unwrap().to_base64()
        );
        for text in [
            "",
            "RW",
            "untrusted comment: x\n",
            &"R".repeat(56),
            &format!("{file}\n!"),
        ] {
            assert!(VerifyingKey::parse(text).is_err(), "{text:?}");
        }
    }
}
