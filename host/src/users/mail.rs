//! The mails about accounts: their kinds, states and texts. Must not know: how they are sent.

use strum::{Display, EnumString};

use crate::db::text_column;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum MailKind {
    PasswordReset,
    EmailConfirmation,
}

text_column!(MailKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum MailState {
    Pending,
    Sent,
    /// No account needs it.
    Dropped,
    /// The server refused it, or all attempts failed.
    Failed,
}

text_column!(MailState);

impl MailKind {
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::PasswordReset => "Set a new password",
            Self::EmailConfirmation => "Confirm your e-mail address",
        }
    }

    /// `page`: the address of a page that takes the token at its end; empty if there is none.
    pub(super) fn text(self, installation: &str, page: &str, token: &str) -> String {
        let (asked, todo, otherwise) = match self {
            Self::PasswordReset => (
                format!("Someone asked for a new password for your account at {installation}."),
                "set a new password",
                "If it was not you, ignore this mail. Your password stays as it is.",
            ),
            Self::EmailConfirmation => (
                format!("Someone registered an account at {installation} with this e-mail address."),
                "confirm the address",
                "If it was not you, ignore this mail. Nobody can log in to the account.",
            ),
        };
        let how = if page.is_empty() {
            format!("Enter this token to {todo}. It is valid once and for an hour:\n\n{token}")
        } else {
            format!("Open this page to {todo}. The link is valid once and for an hour:\n\n{page}{token}")
        };
        format!("{asked}\n\n{how}\n\n{otherwise}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_what_it_is_about_and_what_to_do() {
        for kind in [MailKind::PasswordReset, MailKind::EmailConfirmation] {
            let text = kind.text("meed", "", "TOKEN");
            assert!(
                text.contains("at meed") && text.contains("\n\nTOKEN\n\nIf it was not you"),
                "{text}"
            );
            let text = kind.text("meed", "https://shop.example.com/token?", "TOKEN");
            assert!(text.contains("\n\nhttps://shop.example.com/token?TOKEN\n\n"), "{text}");
        }
    }
}
