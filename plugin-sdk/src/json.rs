//! Parses the part of JSON that params need.
//!
//! We have our own parser because parsing is the largest part of a small plugin: a general parser with a tree of values
//! is 18 KiB of Wasm (measured with miniserde), this one is 3 KiB. It does not recurse, so the input cannot exhaust the
//! stack. The server has parsed and validated the text before, so an error here is an issue without line and column.

use crate::Issue;

/// What is wrong with the value at the reader's path.
#[doc(hidden)]
pub type Fault = &'static str;

/// A JSON text that is read from left to right.
#[doc(hidden)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// JSON Pointer to the value that is being read.
    path: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self {
            rest: text,
            path: Vec::with_capacity(64),
        }
    }

    /// The issue with the value that was read last.
    pub(crate) fn issue(self, fault: Fault) -> Issue {
        Issue::at(String::from_utf8(self.path).unwrap_or_default(), fault)
    }

    /// Enters a member or an element. After an error the path stays there; otherwise `leave` restores it.
    #[inline(never)]
    pub(crate) fn enter(&mut self, key: &str) -> usize {
        let outside = self.path.len();
        self.path.push(b'/');
        for &byte in key.as_bytes() {
            match byte {
                b'~' => self.path.extend_from_slice(b"~0"),
                b'/' => self.path.extend_from_slice(b"~1"),
                other => self.path.push(other),
            }
        }
        outside
    }

    pub(crate) fn leave(&mut self, outside: usize) {
        self.path.truncate(outside);
    }

    /// Fails if more text follows.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err("This must be one JSON value and no more.")
        }
    }

    /// Enters an object or array; returns whether it is not empty.
    pub fn open(&mut self, open: u8, close: u8) -> Result<bool, Fault> {
        if !self.accept(open) {
            return Err(if open == b'{' {
                "This must be an object."
            } else {
                "This must be an array."
            });
        }
        Ok(!self.accept(close))
    }

    /// Continues after an element; returns whether there is another.
    pub fn more(&mut self, close: u8) -> Result<bool, Fault> {
        if self.accept(b',') {
            return Ok(true);
        }
        if self.accept(close) {
            Ok(false)
        } else {
            Err("This must be valid JSON.")
        }
    }

    /// The name of the next member of an object.
    pub fn key(&mut self) -> Result<String, Fault> {
        let key = self.string()?;
        if self.accept(b':') {
            Ok(key)
        } else {
            Err("This must be valid JSON.")
        }
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Fault> {
        self.skip_whitespace();
        let (flag, rest) = match self.rest {
            [b't', b'r', b'u', b'e', rest @ ..] => (true, rest),
            [b'f', b'a', b'l', b's', b'e', rest @ ..] => (false, rest),
            _ => return Err("This must be true or false."),
        };
        self.rest = rest;
        Ok(flag)
    }

    /// A whole number. For JSON Schema 7.0 is one, so a fraction of zeros is fine; an exponent is not.
    pub(crate) fn integer(&mut self) -> Result<i64, Fault> {
        let negative = self.accept(b'-');
        self.whole_number(negative)
            .ok_or("This must be a whole number, written in digits.")
    }

    fn whole_number(&mut self, negative: bool) -> Option<i64> {
        // Summed as a negative number, because the negative range has one more value.
        let mut number = 0i64;
        let mut digits = 0;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            number = number.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
            digits += 1;
            self.rest = rest;
        }
        if let [b'.', b'0', rest @ ..] = self.rest {
            self.rest = rest;
            while let [b'0', rest @ ..] = self.rest {
                self.rest = rest;
            }
        }
        if digits == 0 || matches!(self.rest, [b'.' | b'e' | b'E' | b'0'..=b'9', ..]) {
            return None;
        }
        if negative { Some(number) } else { number.checked_neg() }
    }

    pub(crate) fn string(&mut self) -> Result<String, Fault> {
        let text = if self.accept(b'"') { self.rest_of_string() } else { None };
        text.ok_or("This must be a text.")
    }

    fn rest_of_string(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            let special = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            let (plain, rest) = self.rest.split_at_checked(special)?;
            text.extend_from_slice(plain);
            self.rest = rest;
            if self.next()? == b'"' {
                return String::from_utf8(text).ok();
            }
            text.extend_from_slice(self.escaped()?.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The character after a backslash.
    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.code_unit()?;
                let code = if first & 0xfc00 == 0xd800 && self.next()? == b'\\' && self.next()? == b'u' {
                    // A character above U+FFFF is written as two surrogates.
                    let second = self.code_unit()?;
                    0x1_0000 + ((first - 0xd800) << 10) + second.checked_sub(0xdc00).filter(|low| *low < 0x400)?
                } else {
                    first
                };
                char::from_u32(code)?
            }
            other @ (b'"' | b'\\' | b'/') => char::from(other),
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn code_unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |code, _| Some(code * 16 + char::from(self.next()?).to_digit(16)?))
    }

    #[inline(never)]
    fn accept(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn skip_whitespace(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_unescaped() {
        let text = r#" "a\"b\\\/\n\t\u00e9\ud83d\ude00é" "#;
        let mut reader = Reader::new(text.as_bytes());
        assert_eq!(reader.string().unwrap(), "a\"b\\/\n\té😀é");
        reader.end().unwrap();
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            r#""a"#,
            r#""\x""#,
            r#""\u12""#,
            r#""\ud83d""#,
            r#""\ud83d\u0041""#,
            r#""\udc00\ud800""#,
            "7",
            "",
        ] {
            assert!(Reader::new(text.as_bytes()).string().is_err(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_parsed() {
        for (text, number) in [
            ("0", 0),
            (" -7", -7),
            ("7.00", 7),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(Reader::new(text.as_bytes()).integer().unwrap(), number);
        }
        for text in [
            "7.5",
            "7.",
            "1e3",
            "1.0e3",
            "9223372036854775808",
            "-",
            "",
            "\"7\"",
            "true",
        ] {
            assert!(Reader::new(text.as_bytes()).integer().is_err(), "{text}");
        }
    }

    #[test]
    fn trailing_text_is_refused() {
        let mut reader = Reader::new(b"true false");
        assert!(reader.boolean().unwrap());
        assert!(reader.end().is_err());
    }
}
