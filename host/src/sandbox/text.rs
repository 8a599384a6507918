//! Sanitizes text from a guest, or from an error about one, for logs and the database.

/// At most `max_bytes` of the text; control characters become spaces.
pub(super) fn line(text: &str, max_bytes: usize) -> String {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end]
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters_and_is_cut_between_characters() {
        assert_eq!(line("a\u{1b}[31m\r\nb\0", 64), "a [31m  b ");
        assert_eq!(line("한글", 4), "한");
        assert_eq!(line("", 0), "");
    }
}
