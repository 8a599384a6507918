//! Passwords: their form, and hashing them with Argon2id off the async threads.
//!
//! Hashing is slow and uses much memory on purpose, so many logins could exhaust a server. Therefore a bounded number
//! of hashes run at the same time, a bounded number wait, and further logins are refused. Unknown callers may fill only half
//! of the places to wait, so a flood of them does not keep out known ones.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::password_hash::{Error as HashError, PasswordHasher as _, PasswordVerifier as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

use super::Email;
use crate::clock::Clock;

/// Frequent passwords of at least [`Password::MIN_CHARS`] characters, in lower case, sorted. From the list of the zxcvbn
/// project (MIT).
const COMMON: &str = include_str!("common_passwords.txt");

static COMMON_PASSWORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| COMMON.lines().collect());

/// Whether it is frequent, in upper or lower case.
fn is_common(password: &str) -> bool {
    COMMON_PASSWORDS.contains(password.to_lowercase().as_str())
}

/// The same text for each way of typing it (profile OpaqueString, RFC 8265): every kind of space is a space, and
/// composed and decomposed letters are the same.
fn normalized(text: &SecretString) -> SecretString {
    let is_space = |letter: char| letter.is_whitespace() && !letter.is_control();
    let spaced = text.expose_secret().chars();
    let spaced = spaced.map(|letter| if is_space(letter) { ' ' } else { letter });
    spaced.nfc().collect::<String>().into()
}

/// A password of an allowed form. Its `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    pub const MIN_CHARS: usize = 8;
    pub const MAX_CHARS: usize = 128;

    pub fn new(text: &SecretString) -> Result<Self, String> {
        let text = normalized(text);
        let chars = text.expose_secret().chars().count();
        if !(Self::MIN_CHARS..=Self::MAX_CHARS).contains(&chars) {
            return Err(format!(
                "has {chars} characters; a password has {} to {}",
                Self::MIN_CHARS,
                Self::MAX_CHARS
            ));
        }
        if text.expose_secret().chars().any(char::is_control) {
            return Err("contains a control character".to_owned());
        }
        if is_common(text.expose_secret()) {
            return Err("is one of the most frequent passwords; choose another one".to_owned());
        }
        Ok(Self(text))
    }

    /// Whether it is the owner's e-mail address, or the part before the `@`.
    pub fn is_of(&self, email: &Email) -> bool {
        let (password, email) = (self.0.expose_secret().to_lowercase(), email.key());
        password == email || email.split('@').next() == Some(&password)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&SecretString::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("Too many logins at the same time; try again in a second.")]
    QueueFull,
    #[error("hashing a password failed: {0}")]
    Failed(String),
}

/// Who asks for a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The owner of an account has proved who it is before: by a session, a known device or a token by mail.
    Known,
    Unknown,
}

/// Hashes passwords and checks them.
#[derive(Clone, Debug)]
pub struct Passwords {
    clock: Clock,
    running: Arc<Semaphore>,
    running_or_waiting: Arc<Semaphore>,
    /// The places that unknown callers may fill.
    unknown: Arc<Semaphore>,
    /// Costs as much to check as a real hash, and no password matches it.
    dummy: Arc<str>,
}

impl Passwords {
    pub fn new(concurrency: usize, queue: usize, clock: Clock) -> Result<Self, PasswordError> {
        let dummy = PasswordHash {
            hash: Some(Output::new(&clock.random::<32>()).map_err(failed)?),
            salt: Some(Salt::new(&clock.random::<16>()).map_err(failed)?),
            ..shape()?
        };
        Ok(Self {
            clock,
            running: Arc::new(Semaphore::new(concurrency)),
            running_or_waiting: Arc::new(Semaphore::new(concurrency.saturating_add(queue))),
            unknown: Arc::new(Semaphore::new(concurrency.saturating_add(queue / 2))),
            dummy: dummy.to_string().into(),
        })
    }

    /// The hash to store, in PHC form.
    pub async fn hash(&self, by: Caller, Password(password): Password) -> Result<String, PasswordError> {
        let salt = self.clock.random::<16>();
        self.run(by, move || {
            Argon2::default()
                .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
                .map(|hash| hash.to_string())
        })
        .await?
        .map_err(failed)
    }

    /// Whether the password matches the hash. Without a hash it does the same work, so that the duration reveals
    /// nothing.
    pub async fn verify(
        &self,
        by: Caller,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let hash = hash.unwrap_or_else(|| self.dummy.to_string());
        let password = normalized(&password);
        let verified = self
            .run(by, move || {
                Argon2::default().verify_password(password.expose_secret().as_bytes(), hash.as_str())
            })
            .await?;
        match verified {
            Ok(()) => Ok(true),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        by: Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().map_err(|_| PasswordError::QueueFull);
        let unknown_permit = match by {
            Caller::Known => None,
            Caller::Unknown => Some(place(&self.unknown)?),
        };
        let queue_permit = place(&self.running_or_waiting)?;
        let run_permit = self.running.clone().acquire_owned().await.map_err(failed)?;
        // The work holds the permits: it runs to its end even when its request was cancelled.
        tokio::task::spawn_blocking(move || {
            let _held = (unknown_permit, queue_permit, run_permit);
            work()
        })
        .await
        .map_err(failed)
    }
}

/// A hash with the algorithm and parameters that OWASP recommends first, which are the crate's defaults.
fn shape() -> Result<PasswordHash, PasswordError> {
    let argon2 = Argon2::default();
    Ok(PasswordHash {
        algorithm: argon2::Algorithm::default().ident(),
        version: Some(argon2::Version::default().into()),
        params: argon2.params().try_into().map_err(failed)?,
        salt: None,
        hash: None,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "reads well in map_err")]
fn failed(error: impl ToString) -> PasswordError {
    PasswordError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWASP: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

    fn passwords(concurrency: usize, queue: usize) -> Passwords {
        Passwords::new(concurrency, queue, Clock::System).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(&text.into()).unwrap()
    }

    #[test]
    fn a_password_has_8_to_128_characters_of_any_kind() {
        for (text, fits) in [
            ("seven77".to_owned(), false),
            ("eight-88".to_owned(), true),
            ("ж".repeat(128), true),
            ("x".repeat(129), false),
        ] {
            assert_eq!(Password::new(&text.as_str().into()).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn frequent_passwords_and_ones_own_email_are_refused() {
        for text in ["password", "PassWord", "12345678", "iloveyou", "qwertyuiop"] {
            let error = Password::new(&text.into()).unwrap_err();
            assert!(error.contains("frequent"), "{text}: {error}");
        }
        let email = "Ada.Lovelace@example.com".parse().unwrap();
        for (text, is_own) in [
            ("ada.lovelace@example.com", true),
            ("ADA.lovelace", true),
            ("ada.lovelace 1815", false),
        ] {
            assert_eq!(password(text).is_of(&email), is_own, "{text}");
        }
    }

    #[tokio::test]
    async fn a_password_is_the_same_however_its_letters_and_spaces_are_composed() {
        let passwords = passwords(1, 1);
        let hash = passwords
            .hash(Caller::Unknown, password("caf\u{e9} au lait"))
            .await
            .unwrap();
        let typed = "cafe\u{301}\u{a0}au\u{3000}lait";
        assert!(
            passwords
                .verify(Caller::Unknown, typed.into(), Some(hash))
                .await
                .unwrap()
        );
        // Eight letters, each typed as two characters.
        assert!(Password::new(&"e\u{301}".repeat(8).into()).is_ok());
        assert!(Password::new(&"e\u{301}".repeat(7).into()).is_err());
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!("{:?}", password("correct horse"));
        assert!(!shown.contains("horse"), "{shown}");
    }

    #[tokio::test]
    async fn a_hash_is_salted_argon2id_with_the_parameters_of_owasp() {
        let passwords = passwords(1, 1);
        let first = passwords
            .hash(Caller::Unknown, password("correct horse"))
            .await
            .unwrap();
        let second = passwords
            .hash(Caller::Unknown, password("correct horse"))
            .await
            .unwrap();
        assert!(first.starts_with(OWASP), "{first}");
        assert_ne!(first, second);
        assert!(
            passwords
                .verify(Caller::Unknown, "correct horse".into(), Some(first.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Caller::Unknown, "correct house".into(), Some(first))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn an_unknown_account_costs_a_hash_that_no_password_matches() {
        let passwords = passwords(1, 1);
        assert!(passwords.dummy.starts_with(OWASP), "{}", passwords.dummy);
        assert!(!passwords.verify(Caller::Unknown, "".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn unknown_callers_leave_places_for_known_ones() {
        let passwords = passwords(1, 2);
        let tries = |by| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify(by, "whatever".into(), None).await })
        };
        let unknown: Vec<_> = (0..4).map(|_| tries(Caller::Unknown)).collect();
        tokio::task::yield_now().await;
        let known = tries(Caller::Known);
        let mut refused = 0;
        for answer in unknown {
            refused += usize::from(matches!(answer.await.unwrap(), Err(PasswordError::QueueFull)));
        }
        assert_eq!(refused, 2, "one runs, one waits");
        assert!(!known.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_login_beyond_the_queue_is_refused_at_once() {
        let passwords = passwords(1, 2);
        let tries = (0..8).map(|_| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify(Caller::Known, "whatever".into(), None).await })
        });
        let mut refused = 0;
        for answer in tries.collect::<Vec<_>>() {
            refused += usize::from(matches!(answer.await.unwrap(), Err(PasswordError::QueueFull)));
        }
        assert_eq!(refused, 5);
        assert!(
            !passwords
                .verify(Caller::Unknown, "whatever".into(), None)
                .await
                .unwrap(),
            "the permits are free again"
        );
    }
}
