//! `meed user create EMAIL --role ROLE`

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::auth::Role;
use crate::clock::Clock;
use crate::users::{Email, NewUser, Password, User, UserError, UserService};

/// The first line, without its end; `None` when it is empty.
pub fn read_password(mut input: impl BufRead) -> io::Result<Option<SecretString>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    Ok((!password.is_empty()).then(|| password.into()))
}

/// A password of 144 random bits, for when none was given.
pub fn generate_password(clock: &Clock) -> SecretString {
    URL_SAFE_NO_PAD.encode(clock.random::<18>()).into()
}

#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("The e-mail {0}.")]
    Email(String),
    #[error("The password {0}.")]
    Password(String),
    #[error(transparent)]
    User(#[from] UserError),
}

/// Makes an account in any role: this is how the first ADMIN comes to be.
pub async fn create(users: &UserService, email: &str, password: SecretString, role: Role) -> Result<User, CreateError> {
    let new = NewUser {
        email: email.parse::<Email>().map_err(CreateError::Email)?,
        password: Password::new(password).map_err(CreateError::Password)?,
        role,
        invite_code: None,
    };
    Ok(users.create(new).await?)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

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

    #[test]
    fn a_generated_password_may_be_chosen() {
        assert!(Password::new(generate_password(&Clock::System)).is_ok());
    }
}
