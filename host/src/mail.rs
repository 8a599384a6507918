//! Hands mails to an SMTP server, one connection per mail. The only module that uses the SMTP client.
//!
//! Must not know: what mails are about, or when to try again.

use std::error::Error;
use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{Address, AsyncTransport as _, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::config::{self, MailEncryption};

/// For a whole mail, from the connection to the last answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For the connection alone, to each address of the server, so that another one is tried in time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a server's answer is kept.
const ANSWER_CHARS: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum MailSettingError {
    #[error("mail.from = {0:?} is not an address such as \"Meed <meed@example.com>\": {1}")]
    From(String, String),
    #[error("TLS for mail.server cannot be set up: {0}")]
    Tls(#[from] smtp::Error),
}

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The server will never take it.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

/// A mail in plain text. Not printable, because the text contains the secret.
pub struct Mail {
    /// The same at every attempt, so that the receiver can recognise a repetition.
    pub id: Uuid,
    pub to: String,
    pub subject: &'static str,
    pub text: String,
    /// A part of the text that no error may repeat.
    pub secret: SecretString,
}

#[derive(Clone, Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// `None` if no server is set.
    pub fn new(settings: &config::Mail) -> Result<Option<Self>, MailSettingError> {
        let Some((host, port)) = &settings.server else {
            return Ok(None);
        };
        let from: Mailbox = settings.from.parse().map_err(|error: lettre::address::AddressError| {
            MailSettingError::From(settings.from.clone(), error.to_string())
        })?;
        let tls = || TlsParameters::new(host.clone());
        let tls = match settings.encryption {
            MailEncryption::Off => Tls::None,
            MailEncryption::Starttls => Tls::Required(tls()?),
            MailEncryption::Tls => Tls::Wrapper(tls()?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.clone())
            .port(*port)
            .tls(tls)
            .timeout(Some(CONNECT_TIMEOUT));
        if !settings.username.is_empty() {
            let password = settings.password.expose_secret().to_owned();
            transport = transport.credentials(Credentials::new(settings.username.clone(), password));
        }
        Ok(Some(Self {
            transport: transport.build(),
            from,
        }))
    }

    pub async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let secret = mail.secret;
        let described = |error: &dyn Error| described(error, &secret);
        let to: Address = mail.to.parse().map_err(|error| MailError::Refused(described(&error)))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject)
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text)
            .map_err(|error| MailError::Refused(described(&error)))?;
        match tokio::time::timeout(TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            // A wrong password is a 5xx answer, too, but concerns the settings and not this mail.
            Ok(Err(error)) if error.is_permanent() && !is_about_authentication(&error) => {
                Err(MailError::Refused(described(&error)))
            }
            Ok(Err(error)) => Err(MailError::Failed(described(&error))),
            Err(_) => Err(MailError::Failed(format!("not taken within {} s", TIMEOUT.as_secs()))),
        }
    }
}

/// Codes 530 to 538 (RFC 4954).
fn is_about_authentication(error: &smtp::Error) -> bool {
    error
        .status()
        .is_some_and(|code| (530..=538).contains(&u16::from(code)))
}

/// The error with its causes, without the secret and control characters, and bounded, because the server wrote part of it.
fn described(error: &dyn Error, secret: &SecretString) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    let text = text.replace(secret.expose_secret(), "[secret]");
    let printable = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    printable.take(ANSWER_CHARS).collect()
}
