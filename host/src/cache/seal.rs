//! Authentication of what is kept where others may write: HMAC-SHA256 under a key that only the replicas know.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

const TAG_BYTES: usize = 32;

pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// `place` is where the value stands: it is good nowhere else.
    pub(super) fn seal(&self, place: &str, value: &[u8]) -> Vec<u8> {
        [self.tag(place, value).as_ref(), value].concat()
    }

    pub(super) fn open<'a>(&self, place: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, value) = sealed.split_at_checked(TAG_BYTES)?;
        verify_slices_are_equal(tag, self.tag(place, value).as_ref()).ok()?;
        Some(value)
    }

    /// A short name for a text of any length, which tells nothing of it.
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
    fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.seal("here", b"a value");
        assert_eq!(seal.open("here", &sealed), Some(b"a value".as_slice()));
        assert_eq!(seal.open("there", &sealed), None);
        assert_eq!(Seal::new(&[8; 32]).open("here", &sealed), None);
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(seal.open("here", &changed), None, "byte {byte}");
        }
        for garbage in [b"".as_slice(), b"short", &[0; 32], &[0; 64]] {
            assert_eq!(seal.open("here", garbage), None);
        }
    }
}
