//! Verifiable randomness. Each event has a secret from which all seeds are computed. The hash of the secret is public
//! before the first draw, the secret itself after the event's end.
//!
//! Must not know: claims, or the use of a seed.

use aws_lc_rs::{digest, hmac};
use uuid::Uuid;

/// 32 random bytes, generated with the event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// The purpose of a seed. A progress preview must not reveal the draw of a later claim.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Claim,
    Preview,
    /// A claim that was never made: a backtest must not reveal its draw.
    Backtest,
}

impl Purpose {
    /// Whether it is a claim, which the limits of the user apply to.
    pub fn is_claim(self) -> bool {
        matches!(self, Self::Claim | Self::Backtest)
    }
}

impl Secret {
    pub fn new(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// A secret that everyone can compute, for draws that count for nothing.
    pub fn of(digest: crate::sandbox::Digest) -> Self {
        Self(*digest.as_bytes())
    }

    pub fn from_hex(text: &str) -> Option<Self> {
        Self::new(&hex::decode(text).ok()?)
    }

    /// The secret in hexadecimal. Publish it only after the event's end.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }

    /// SHA-256 of the secret, in hexadecimal.
    pub fn commitment(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.0))
    }

    /// The only source of randomness of a decision: HMAC-SHA256 with the secret, over the event, the user, the period
    /// and the slot.
    ///
    /// The seed does not depend on the reward request. Therefore neither a user who claims again nor a server that
    /// tries request ids can draw twice. The receipt of a rejected claim contains the seed, so the user can know a
    /// later draw in advance, but cannot change it.
    pub fn seed(&self, event_id: Uuid, user_id: Uuid, period: &str, slot: u32, purpose: Purpose) -> [u8; 32] {
        let purpose = match purpose {
            Purpose::Claim => "claim",
            Purpose::Preview => "preview",
            Purpose::Backtest => "backtest",
        };
        let message = format!("meed-seed/1\n{purpose}\n{event_id}\n{user_id}\n{period}\n{slot}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut seed = [0; 32];
        seed.copy_from_slice(hmac::sign(&key, message.as_bytes()).as_ref());
        seed
    }

    /// The ticket of a user, from 0 to 999: a canary decides the claims of all users whose ticket is below its share in
    /// permille. It depends on the event and the user alone, so it is the same in every release, and no user can choose it.
    pub fn ticket(&self, event_id: Uuid, user_id: Uuid) -> u16 {
        let message = format!("meed-canary/1\n{event_id}\n{user_id}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, message.as_bytes());
        let first = tag
            .as_ref()
            .first_chunk::<8>()
            .map_or(0, |first| u64::from_be_bytes(*first));
        // The multiplication maps the 64 bits to 0..1000 with a bias below 2^-54.
        u16::try_from((u128::from(first) * 1000) >> 64).unwrap_or_default()
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
    fn a_seed_depends_on_all_inputs() {
        let secret = Secret::new(&[7; 32]).unwrap();
        let (event, user) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let seed = secret.seed(event, user, "once", 1, Purpose::Claim);
        assert_eq!(seed, secret.seed(event, user, "once", 1, Purpose::Claim));
        for other in [
            Secret::new(&[8; 32])
                .unwrap()
                .seed(event, user, "once", 1, Purpose::Claim),
            secret.seed(event, user, "once", 1, Purpose::Backtest),
            secret.seed(user, event, "once", 1, Purpose::Claim),
            secret.seed(event, user, "2026-03-01", 1, Purpose::Claim),
            secret.seed(event, user, "once", 2, Purpose::Claim),
            secret.seed(event, user, "once", 1, Purpose::Preview),
        ] {
            assert_ne!(seed, other);
        }
    }

    #[test]
    fn debug_output_hides_the_secret() {
        assert_eq!(format!("{:?}", Secret::new(&[7; 32]).unwrap()), "Secret(…)");
        assert_eq!(Secret::new(&[7; 31]), None);
    }
}
