//! Message authentication codes for values in Redis: HMAC-SHA256 with a key that only the replicas have.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

const TAG_BYTES: usize = 32;

pub(super) struct Mac(hmac::Key);

impl Mac {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The MAC followed by the value. `place` is the key or channel; the MAC is valid for this place only.
    pub(super) fn sign(&self, place: &str, value: &[u8]) -> Vec<u8> {
        [self.tag(place, value).as_ref(), value].concat()
    }

    /// The value of what [`Mac::sign`] returned for this place; `None` if the MAC is wrong.
    pub(super) fn verify<'a>(&self, place: &str, signed: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, value) = signed.split_at_checked(TAG_BYTES)?;
        verify_slices_are_equal(tag, self.tag(place, value).as_ref()).ok()?;
        Some(value)
    }

    /// A keyed hash: a short name that does not reveal the text.
    pub(super) fn name(&self, text: &str) -> [u8; 16] {
        let mut name = [0; 16];
        name.copy_from_slice(&self.tag("name", text.as_bytes()).as_ref()[..16]);
        name
    }

    fn tag(&self, place: &str, value: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&(place.len() as u64).to_be_bytes());
        context.update(place.as_bytes());
        context.update(value);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_value_is_valid_at_its_own_place_only() {
        let mac = Mac::new(&[7; 32]);
        let signed = mac.sign("here", b"a value");
        assert_eq!(mac.verify("here", &signed), Some(b"a value".as_slice()));
        assert_eq!(mac.verify("there", &signed), None);
        assert_eq!(Mac::new(&[8; 32]).verify("here", &signed), None);
        for byte in 0..signed.len() {
            let mut changed = signed.clone();
            changed[byte] ^= 1;
            assert_eq!(mac.verify("here", &changed), None, "byte {byte}");
        }
        for garbage in [b"".as_slice(), b"short", &[0; 32], &[0; 64]] {
            assert_eq!(mac.verify("here", garbage), None);
        }
    }
}
