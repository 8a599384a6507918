//! The numbers of the lines of a file that a parser reads ahead. Must not know: what the lines hold.

use std::collections::VecDeque;

/// Where lines end in the bytes that were read and not passed.
#[derive(Debug, Default)]
pub(super) struct Lines {
    read: u64,
    /// The places of line feeds and carriage returns, and whether each is a line feed.
    ends: VecDeque<(u64, bool)>,
    passed: u64,
}

impl Lines {
    /// Notes further bytes of the file.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        for (place, byte) in (self.read..).zip(bytes) {
            if matches!(byte, b'\r' | b'\n') {
                self.ends.push_back((place, *byte == b'\n'));
            }
        }
        self.read += bytes.len() as u64;
    }

    /// The line, from 1, of the first byte from this place on that ends no line. The places of a file must not go back.
    pub(super) fn first_from(&mut self, place: u64) -> u64 {
        let mut at = place;
        while let Some(&(end, is_feed)) = self.ends.front().filter(|(end, _)| *end <= at) {
            self.ends.pop_front();
            self.passed += u64::from(is_feed);
            at = at.max(end + 1);
        }
        self.passed + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_both_ends_of_lines_count() {
        let text = b"a\r\nb\n\n\r\nc\nd\ne";
        let mut lines = Lines::default();
        lines.note(&text[..4]);
        lines.note(&text[4..]);
        assert_eq!(lines.first_from(0), 1);
        // As the csv crate: after the carriage return, and before the line feed.
        assert_eq!(lines.first_from(2), 2);
        assert_eq!(lines.first_from(5), 5);
        assert_eq!(lines.first_from(13), 7);
        assert_eq!(lines.first_from(14), 7);
    }
}
