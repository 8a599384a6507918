//! Text that people read: it must not contain characters that hide or reorder what is there. Must not know: any feature.

/// The first invisible or direction-changing character of a text. The joiners that many scripts and emoji need are
/// accepted between other characters, if the one before is not ASCII.
pub fn deceptive(text: &str) -> Option<char> {
    let mut before = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let joins = matches!(letter, '\u{200c}' | '\u{200d}')
            && before.is_some_and(|before: char| !before.is_ascii() && !is_hidden(before))
            && letters.peek().is_some_and(|next| !is_hidden(*next));
        if is_hidden(letter) && !joins {
            return Some(letter);
        }
        before = Some(letter);
    }
    None
}

/// Characters that Unicode ignores by default, and those that control the direction of text.
fn is_hidden(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0e}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Validates a text that people read. An empty text is accepted, one of white space alone is not.
pub fn legible(text: &str, (): &()) -> garde::Result {
    if let Some(letter) = deceptive(text) {
        return Err(garde::Error::new(format!(
            "contains the invisible or direction-changing character U+{:04X}; remove it",
            u32::from(letter)
        )));
    }
    if !text.is_empty() && text.trim().is_empty() {
        return Err(garde::Error::new("is blank"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_found() {
        for text in [
            "\u{200b}",
            "Sum\u{200b}mer",
            "\u{202e}remmus",
            "a\u{2066}b",
            "\u{feff}x",
            "x\u{200d}y",
            "é\u{200d}",
            "\u{3164}",
            "soft\u{ad}hyphen",
        ] {
            assert!(legible(text, &()).is_err(), "{text:?}");
        }
        assert!(legible(" \u{3000}", &()).is_err());
    }

    #[test]
    fn scripts_and_emoji_keep_their_joiners() {
        for text in [
            "",
            "7일 연속",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "👩\u{200d}👧",
            "❤\u{fe0f}",
            "Line one\nline two",
        ] {
            assert!(legible(text, &()).is_ok(), "{text:?}");
        }
    }
}
