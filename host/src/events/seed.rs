//! Chance that can be checked: each event has a secret, published by its hash before the first draw and by itself when
//! the event is over, and every seed is computed from it.
//!
//! Must not know: who asks, or what for.

use aws_lc_rs::{digest, hmac};
use uuid::Uuid;

/// 32 random bytes, minted with the event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// What a seed is for. A look at one's progress must not tell the draw of a later claim.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Claim,
    Preview,
}

impl Secret {
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        Self::new(&hex::decode(text).ok()?)
    }

    /// The secret itself, in hexadecimal: for when the event is over.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// SHA-256 of the secret, in hexadecimal.
    pub fn commitment(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.0))
    }

    /// The only source of chance of a decision: HMAC-SHA256 under the secret, over the event, the user, the period and
    /// the place in the period.
    ///
    /// It does not depend on the request, so neither a user who claims again nor a server that tries request ids can
    /// draw twice. A user who was rejected finds the seed in the receipt and so can know the draw before qualifying;
    /// what nobody can do is change it.
    pub fn seed(&self, event_id: Uuid, user_id: Uuid, period: &str, sequence: u32, purpose: Purpose) -> [u8; 32] {
        let purpose = match purpose {
            Purpose::Claim => "claim",
            Purpose::Preview => "preview",
        };
        let message = format!("meed-seed/1\n{purpose}\n{event_id}\n{user_id}\n{period}\n{sequence}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut seed = [0; 32];
        seed.copy_from_slice(hmac::sign(&key, message.as_bytes()).as_ref());
        seed
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_depends_on_everything_but_the_request() {
        let secret = Secret::new(&[7; 32]).unwrap();
        let (event, user) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let seed = secret.seed(event, user, "once", 1, Purpose::Claim);
        assert_eq!(seed, secret.seed(event, user, "once", 1, Purpose::Claim));
        for other in [
            Secret::new(&[8; 32])
                .unwrap()
                .seed(event, user, "once", 1, Purpose::Claim),
            secret.seed(user, event, "once", 1, Purpose::Claim),
            secret.seed(event, user, "2026-03-01", 1, Purpose::Claim),
            secret.seed(event, user, "once", 2, Purpose::Claim),
            secret.seed(event, user, "once", 1, Purpose::Preview),
        ] {
            assert_ne!(seed, other);
        }
    }

    #[test]
    fn nothing_prints_a_secret_by_accident() {
        assert_eq!(format!("{:?}", Secret::new(&[7; 32]).unwrap()), "Secret(…)");
        assert_eq!(Secret::new(&[7; 31]), None);
    }
}
