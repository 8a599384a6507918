//! `meed user create EMAIL --role ROLE`

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use meed_host::auth::Role;
use meed_host::clock::Clock;
use meed_host::users::{Email, NewUser, Password, User, UserError, UserService};

/// Generates a password of 144 random bits.
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

/// Creates an account in any role, such as the first ADMIN.
pub async fn create(users: &UserService, email: &str, password: SecretString, role: Role) -> Result<User, CreateError> {
    let new = NewUser {
        email: email.parse::<Email>().map_err(CreateError::Email)?,
        password: Password::new(&password).map_err(CreateError::Password)?,
        role,
        invite_code: None,
        confirms_email: false,
    };
    Ok(users.create(new).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_may_be_chosen() {
        assert!(Password::new(&generate_password(&Clock::System)).is_ok());
    }
}
