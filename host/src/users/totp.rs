//! The codes of a second factor: time-based codes (RFC 6238) and recovery codes. Must not know: where they are stored.

use aws_lc_rs::digest;
use secrecy::{ExposeSecret as _, SecretString};
use totp_rs::{Builder, Totp, TotpError};
use uuid::Uuid;

use crate::clock::{Clock, Timestamp};

/// RFC 4226 recommends 160 bits.
pub(super) const SECRET_BYTES: usize = 20;
pub(super) const RECOVERY_CODES: usize = 10;

const DIGITS: usize = 6;
/// 80 random bits, so that the hash of a recovery code needs no salt and no slow function.
const RECOVERY_CHARS: usize = 16;
const GROUP: usize = 4;
/// Crockford's base 32, in lower case: without letters that look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A code as its owner typed it.
#[derive(Debug)]
pub(super) enum Code {
    /// Six digits.
    Time(SecretString),
    Recovery(SecretString),
}

impl Code {
    /// White space and hyphens do not count.
    pub(super) fn new(typed: &SecretString) -> Self {
        let letters = typed.expose_secret().chars();
        let text: String = letters
            .filter(|letter| !letter.is_whitespace() && *letter != '-')
            .collect();
        if text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Time(text.into());
        }
        let alike = |letter: char| match letter.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            letter => letter,
        };
        Self::Recovery(text.chars().map(alike).collect::<String>().into())
    }
}

/// Makes and checks the codes of one secret: six digits, every 30 seconds, by SHA-1, which all authenticators support.
pub(super) struct Codes(Totp);

impl Codes {
    pub(super) fn new(secret: Vec<u8>, issuer: &str, account: &str) -> Result<Self, TotpError> {
        // A colon separates the two in the URI.
        let name = |text: &str| text.replace(':', "-");
        let builder = Builder::new().with_secret(secret).with_issuer(Some(name(issuer)));
        Ok(Self(builder.with_account_name(name(account)).build()?))
    }

    /// The `otpauth://` URI that an authenticator reads from a QR code.
    pub(super) fn uri(&self) -> Result<String, TotpError> {
        self.0.to_url()
    }

    /// The secret for an authenticator without a camera, in base 32.
    pub(super) fn secret(&self) -> String {
        self.0.secret().to_base32()
    }

    /// The number of the 30 seconds that this code belongs to, if it is the current code, the one before or the next one.
    pub(super) fn step(&self, code: &SecretString, now: Timestamp) -> Option<i64> {
        let seconds = u64::try_from(now.as_millis().div_euclid(1000)).ok()?;
        let step = self.0.check(code.expose_secret(), seconds)?;
        i64::try_from(step).ok()
    }
}

/// New recovery codes, as they are shown once.
pub(super) fn recovery_codes(clock: &Clock) -> Vec<String> {
    let code = || {
        let bytes = clock.random::<RECOVERY_CHARS>();
        let letters = bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
        let groups: Vec<String> = letters.chunks(GROUP).map(|group| group.iter().collect()).collect();
        groups.join("-")
    };
    (0..RECOVERY_CODES).map(|_| code()).collect()
}

/// What is stored of a recovery code.
pub(super) fn recovery_hash(user_id: Uuid, code: &SecretString) -> Vec<u8> {
    let message = format!("meed-recovery/1\n{user_id}\n{}", code.expose_secret());
    digest::digest(&digest::SHA256, message.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn time_code(text: &str) -> SecretString {
        match Code::new(&text.into()) {
            Code::Time(code) => code,
            Code::Recovery(_) => panic!("{text} is six digits"),
        }
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        // The vectors of appendix B for SHA-1, the last six of their eight digits.
        let codes = Codes::new(b"12345678901234567890".to_vec(), "meed", "ada@example.com").unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(codes.step(&time_code(code), at(seconds)), Some(seconds / 30), "{code}");
            assert_eq!(
                codes.step(&time_code(code), at(seconds + 30)),
                Some(seconds / 30),
                "{code}"
            );
            assert_eq!(codes.step(&time_code(code), at(seconds + 90)), None, "{code}");
        }
    }

    #[test]
    fn the_uri_names_issuer_and_account() {
        let codes = Codes::new(vec![7; SECRET_BYTES], "https://meed.example.com", "ada@example.com").unwrap();
        let uri = codes.uri().unwrap();
        assert!(
            uri.starts_with("otpauth://totp/") && uri.contains("ada%40example.com") && uri.contains(&codes.secret()),
            "{uri}"
        );
    }

    #[test]
    fn recovery_codes_are_read_as_people_type_them() {
        let shown = recovery_codes(&Clock::System);
        let distinct: std::collections::BTreeSet<_> = shown.iter().collect();
        assert_eq!(distinct.len(), RECOVERY_CODES);
        let user = Uuid::from_u128(7);
        let hash = |text: &str| match Code::new(&text.into()) {
            Code::Recovery(code) => recovery_hash(user, &code),
            Code::Time(_) => panic!("{text} is no six digits"),
        };
        for code in shown {
            let typed = format!(" {} ", code.replace('-', " ").to_uppercase().replace('0', "O"));
            assert_eq!(hash(&typed), hash(&code), "{code}");
        }
        assert_ne!(hash("0000-0000-0000-0000"), hash("0000-0000-0000-0001"));
    }
}
