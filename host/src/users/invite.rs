//! Invite codes: short enough to read aloud, without letters that look alike (Crockford's base 32).

use crate::clock::Clock;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 10;

/// A new code: 50 random bits, so that a collision takes tens of millions of accounts.
pub(super) fn mint(clock: &Clock) -> String {
    clock
        .random::<LENGTH>()
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect()
}

/// Normalises a typed code: lower case, hyphens, and `O` for the zero are accepted. `None`: not a code.
pub(super) fn read(text: &str) -> Option<String> {
    let code: String = text
        .trim()
        .chars()
        .filter(|letter| *letter != '-')
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .collect();
    let fits = code.len() == LENGTH && code.bytes().all(|letter| ALPHABET.contains(&letter));
    fits.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_code_is_read_unchanged() {
        let code = mint(&Clock::System);
        assert_eq!(read(&code), Some(code));
    }

    #[test]
    fn a_typed_code_is_normalised() {
        assert_eq!(read(" oil23-4567x ").as_deref(), Some("011234567X"));
        for text in [
            "",
            "0123456789A",
            "012345678",
            "01234567U9",
            "01234567\u{0}9",
            "０１２３４５６７８９",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
