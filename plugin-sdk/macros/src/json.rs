//! Pieces of JSON text and the names in it.

/// A JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            control if control.is_control() => json.extend(format!("\\u{:04x}", u32::from(control)).chars()),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

/// JSON text without the whitespace between its tokens.
pub(crate) fn compact(json: &str) -> String {
    let (mut within_text, mut escaped) = (false, false);
    let keep = |character: &char| {
        let keep = within_text || !character.is_whitespace();
        within_text ^= *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        keep
    };
    json.chars().filter(keep).collect()
}

/// `last_days` as `lastDays`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut camel, word| {
        let mut characters = word.chars();
        camel.extend(characters.next().map(|initial| initial.to_ascii_uppercase()));
        camel.push_str(characters.as_str());
        camel
    })
}

/// `HighScore` as `high-score`.
pub(crate) fn kebab_case(name: &str) -> String {
    let mut kebab = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        assert_eq!(quoted("a \"b\" \\d+ \t"), r#""a \"b\" \\d+ \u0009""#);
    }

    #[test]
    fn whitespace_is_removed_except_in_texts() {
        assert_eq!(compact("{ \"a b\" : [1, \"\\\" c\"]\n}"), r#"{"a b":[1,"\" c"]}"#);
    }

    #[test]
    fn names_are_converted_to_camel_and_kebab_case() {
        assert_eq!(camel_case("last_days"), "lastDays");
        assert_eq!(camel_case("days"), "days");
        assert_eq!(kebab_case("HighScore"), "high-score");
    }
}
