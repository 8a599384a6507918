//! Known devices: after a login, a device keeps a token that proves it. Attempts from a known device have a limit of their own
//! and places of their own for hashing, so an attacker who spends the limit of an account does not lock its owner out. This is
//! OWASP's "device cookie". A token is no credential: a login needs the password as before.
//!
//! Nothing is stored: a token is a MAC over the e-mail, a random number and the time. A rotation of the access key makes all
//! devices unknown until their next login.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use super::Email;
use crate::clock::{Clock, Timestamp};
use crate::keys::{KeyError, Keyring};

/// A device that its user does not log in from for so long is unknown again.
const LIFETIME: Duration = Duration::from_hours(180 * 24);

const RANDOM: usize = 16;
const TIME: usize = 8;

#[derive(Clone, Debug)]
pub struct Devices {
    key: hmac::Key,
    clock: Clock,
}

/// The number of a known device, the same for each use of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device(String);

impl Device {
    pub(super) fn number(&self) -> &str {
        &self.0
    }
}

impl Devices {
    pub fn new(keyring: &Keyring, clock: Clock) -> Result<Self, KeyError> {
        let secret = keyring.derive("meed known devices")?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            clock,
        })
    }

    /// The token of a device on which the owner of this e-mail has just logged in.
    pub(super) fn issue(&self, email: &Email) -> String {
        let random = self.clock.random::<RANDOM>();
        let device = [random.as_slice(), &self.clock.now().as_millis().to_be_bytes()].concat();
        let tag = hmac::sign(&self.key, &message(&device, email));
        URL_SAFE_NO_PAD.encode([device.as_slice(), tag.as_ref()].concat())
    }

    /// The device, if this is its token for this e-mail. Compares in constant time.
    pub(super) fn find(&self, token: &SecretString, email: &Email) -> Option<Device> {
        let bytes = URL_SAFE_NO_PAD.decode(token.expose_secret()).ok()?;
        let (device, tag) = bytes.split_at_checked(RANDOM + TIME)?;
        hmac::verify(&self.key, &message(device, email), tag).ok()?;
        let (_, time) = device.split_at_checked(RANDOM)?;
        let issued_at = Timestamp::from_millis(i64::from_be_bytes(time.try_into().ok()?))?;
        (self.clock.now() < issued_at.plus(LIFETIME)).then(|| Device(URL_SAFE_NO_PAD.encode(device)))
    }
}

fn message(device: &[u8], email: &Email) -> Vec<u8> {
    [device, email.key().as_bytes()].concat()
}
