//! The cookie of a console session: it names a living session, so that a browser needs no token that a script can read.
//!
//! The content is signed and holds no secret of its own. It is valid while the session lives and the console was used within
//! `auth.refresh_idle_seconds`. Must not know HTTP.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::Role;
use crate::clock::Timestamp;

/// The server's cookies have about 160 bytes; longer ones are not parsed.
const MAX_BYTES: usize = 512;
/// How far ahead the clock of the replica that issued a cookie may be.
const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// Signs and checks cookies.
pub(super) struct Cookies {
    key: hmac::Key,
    idle: Duration,
    /// A cookie that is older is replaced at the next request.
    renewed_after: Duration,
}

/// What a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CookieSession {
    pub user_id: Uuid,
    pub session_id: Uuid,
    pub role: Role,
    pub issued_at: Timestamp,
}

/// Why a cookie counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusedCookie {
    /// The server never issued it.
    Forged,
    Idle,
}

impl Cookies {
    pub(super) fn new(key: &[u8], idle: Duration, renewed_after: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            idle,
            renewed_after,
        }
    }

    pub(super) fn issue(&self, session: CookieSession) -> String {
        let content = content(session);
        let tag = hmac::sign(&self.key, content.as_bytes());
        format!("{content}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    pub(super) fn check(&self, cookie: &str, now: Timestamp) -> Result<CookieSession, RefusedCookie> {
        let session = self.verified(cookie).ok_or(RefusedCookie::Forged)?;
        if session.issued_at > now.plus(CLOCK_LEEWAY) || now >= session.issued_at.plus(self.idle) {
            return Err(RefusedCookie::Idle);
        }
        Ok(session)
    }

    pub(super) fn is_old(&self, session: CookieSession, now: Timestamp) -> bool {
        now >= session.issued_at.plus(self.renewed_after.min(self.idle / 2))
    }

    fn verified(&self, cookie: &str) -> Option<CookieSession> {
        if cookie.len() > MAX_BYTES {
            return None;
        }
        let (content, tag) = cookie.rsplit_once('.')?;
        hmac::verify(&self.key, content.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        let mut parts = content.split('.');
        let session = CookieSession {
            user_id: parts.next()?.parse().ok()?,
            session_id: parts.next()?.parse().ok()?,
            role: parts.next()?.parse().ok()?,
            issued_at: Timestamp::from_millis(parts.next()?.parse().ok()?)?,
        };
        parts.next().is_none().then_some(session)
    }
}

fn content(session: CookieSession) -> String {
    let CookieSession {
        user_id,
        session_id,
        role,
        issued_at,
    } = session;
    format!(
        "{}.{}.{role}.{}",
        user_id.simple(),
        session_id.simple(),
        issued_at.as_millis()
    )
}

/// Shows no key.
impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn session(role: Role) -> CookieSession {
        CookieSession {
            user_id: Uuid::from_u128(1),
            session_id: Uuid::from_u128(2),
            role,
            issued_at: at(1_000_000),
        }
    }

    #[test]
    fn a_cookie_is_valid_until_it_is_idle_and_cannot_be_changed() {
        let cookies = Cookies::new(&[7; 32], Duration::from_secs(100), Duration::from_secs(10));
        let issued = session(Role::Auditor);
        let cookie = cookies.issue(issued);
        assert_eq!(cookies.check(&cookie, at(1_000_000)), Ok(issued));
        assert_eq!(cookies.check(&cookie, at(1_099_999)), Ok(issued));
        assert_eq!(cookies.check(&cookie, at(1_100_000)), Err(RefusedCookie::Idle));
        assert_eq!(cookies.check(&cookie, at(994_999)), Err(RefusedCookie::Idle));
        assert!(!cookies.is_old(issued, at(1_009_999)) && cookies.is_old(issued, at(1_010_000)));

        let other_key = Cookies::new(&[8; 32], Duration::from_secs(100), Duration::from_secs(10));
        let forged = [
            String::new(),
            ".".to_owned(),
            cookie.replace("AUDITOR", "ADMIN"),
            cookie.replace("1000000", "2000000"),
            format!("{cookie}A"),
            "a.".repeat(400),
            other_key.issue(issued),
        ];
        for cookie in forged {
            let found = cookies.check(&cookie, at(1_000_000));
            assert_eq!(found, Err(RefusedCookie::Forged), "{cookie}");
        }
    }
}
