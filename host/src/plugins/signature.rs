//! One minisign signature over a module, and the keys that make and check them.
//!
//! The format is minisign's, so that authors can sign and anyone can check with tools of their own. Must not know: which
//! keys are trusted (see `signatures`), the database.

use std::fmt::Write as _;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{PublicKey, SignatureBox};

/// Far more than the text of a signature with a sensible comment.
const MAX_SIGNATURE_BYTES: usize = 4 << 10;
/// A file with a public key: a comment and 56 characters.
const MAX_KEY_BYTES: usize = 1 << 10;
const ED25519_BYTES: usize = 64;

/// A signature as its `.minisig` file has it. Parsed, not verified.
pub(super) struct Signature {
    text: String,
    parsed: SignatureBox,
    comment: String,
}

/// A public key as `minisign -P` takes it.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey(PublicKey);

impl Signature {
    /// What is wrong with it, as an error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SIGNATURE_BYTES {
            let found = text.len();
            return Err(format!(
                "it has {found} bytes; at most {MAX_SIGNATURE_BYTES} are accepted"
            ));
        }
        let parsed = SignatureBox::from_string(text).map_err(|error| error.to_string())?;
        // The library would read past the end of a shorter one.
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

    /// Which key it says it was made with.
    pub(super) fn key_id(&self) -> String {
        key_id(self.parsed.keynum())
    }

    /// Whether the key made it over these bytes, trusted comment included.
    pub(super) fn verify(&self, key: &VerifyingKey, module: &[u8]) -> Result<(), String> {
        const QUIET: bool = true;
        const OUTPUT: bool = false;
        // Made before minisign 0.10, without a hash: nobody needs those here.
        const LEGACY: bool = false;
        minisign::verify(&key.0, &self.parsed, Cursor::new(module), QUIET, OUTPUT, LEGACY)
            .map_err(|error| error.to_string())
    }

    /// Whether its trusted comment names this version. Otherwise, what it says.
    pub(super) fn names(&self, name: &str, version: &str) -> Result<(), String> {
        let said = |key: &str| {
            let mut values = self
                .comment
                .split_whitespace()
                .filter_map(|word| word.strip_prefix(key));
            values.next().filter(|_| values.next().is_none())
        };
        if said("name:") == Some(name) && said("version:") == Some(version) {
            return Ok(());
        }
        let expected = trusted_comment(name, version);
        Err(format!(
            "its trusted comment is {:?}; it must hold {expected:?}",
            self.comment
        ))
    }
}

impl VerifyingKey {
    /// Reads a `.pub` file, or its second line alone.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const FAULT: &str = "must be a minisign public key: 56 characters that begin with RW, or the file they are in";
        if text.len() > MAX_KEY_BYTES {
            return Err(FAULT.to_owned());
        }
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let line = line.filter(|line| line.starts_with("RW")).ok_or(FAULT)?;
        PublicKey::from_base64(line).map(Self).map_err(|_| FAULT.to_owned())
    }

    pub(super) fn key_id(&self) -> String {
        key_id(self.0.keynum())
    }

    pub(super) fn to_base64(&self) -> String {
        self.0.to_base64()
    }
}

/// What a signature says about a version, which nobody can change without its key.
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
    /// Made by minisign 0.11 over the bytes `rule\n`, as it does by default and as it did once.
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
        assert_eq!(signature.names("first-come", "1.0.0"), Ok(()));
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
    fn only_the_very_bytes_and_comment_verify() {
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
    fn the_comment_names_one_version() {
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
            assert_eq!(signature.names("a", "1.0.0").is_ok(), good, "{comment:?}");
        }
    }

    #[test]
    fn what_is_no_signature_is_refused_and_nothing_panics() {
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
    fn a_key_is_one_line_or_its_file() {
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
