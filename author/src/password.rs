//! A password from standard input.

use std::io::{self, BufRead, IsTerminal as _};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};

/// The first line without the line break; `None` if it is empty.
pub fn read_password(mut input: impl BufRead) -> io::Result<Option<SecretString>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| password.into()))
}

/// The password of a signing key. `None` at a terminal, where minisign prompts for it.
pub(crate) fn for_key() -> anyhow::Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let password = read_password(io::stdin().lock()).context("read the password from standard input")?;
    let password = password.context("standard input contains no password; use --no-password for an unencrypted key")?;
    Ok(Some(password.expose_secret().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        let read = |text: &str| {
            let password = read_password(text.as_bytes()).unwrap();
            password.map(|password| password.expose_secret().to_owned())
        };
        assert_eq!(read(" two words \r\nmore\n").as_deref(), Some(" two words "));
        assert_eq!(read("no end").as_deref(), Some("no end"));
        assert_eq!((read(""), read("\n")), (None, None));
    }
}
