//! An SMTP server for one test: aiosmtpd, by the script beside this file.
//!
//! `cargo xtask test` sets `MEED_TEST_SMTP` to a Python that has aiosmtpd. Without it the tests fail; they are not skipped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::redis::free_port;

const PATIENCE: Duration = Duration::from_secs(30);

/// A mail that the server took.
#[derive(Clone, Debug, Deserialize)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// Headers and text.
    pub content: String,
    pub encrypted: bool,
    pub authenticated: bool,
}

impl Taken {
    /// The only line of the text that can be a token.
    pub fn token(&self) -> &str {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        let mut lines = self.content.lines().map(str::trim);
        lines
            .find(|line| line.len() == 64 && line.chars().all(is_part))
            .unwrap_or_else(|| panic!("no token in {}", self.content))
    }
}

pub struct SmtpServer {
    port: u16,
    process: Child,
    printed: Receiver<String>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl SmtpServer {
    /// With the options of `smtp.py`.
    pub fn start(options: &Value) -> Self {
        Self::start_at(free_port(), options)
    }

    pub fn start_at(port: u16, options: &Value) -> Self {
        let python = std::env::var("MEED_TEST_SMTP")
            .expect("MEED_TEST_SMTP is not set: run the tests with `cargo xtask test`, which installs aiosmtpd");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/smtp.py");
        let mut process = Command::new(python)
            .arg(script)
            .args([port.to_string(), options.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the SMTP server starts");
        let stdout = process.stdout.take().expect("a pipe");
        let (send, printed) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let server = Self { port, process, printed };
        assert_eq!(server.printed.recv_timeout(PATIENCE).expect("it starts"), "ready");
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mail.server` for it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The next mail.
    pub fn next(&self) -> Taken {
        let line = self.printed.recv_timeout(PATIENCE).expect("a mail");
        serde_json::from_str(&line).expect("JSON")
    }

    /// Whether it took no further mail so far.
    pub fn is_quiet(&self) -> bool {
        matches!(
            self.printed.recv_timeout(Duration::from_millis(100)),
            Err(RecvTimeoutError::Timeout)
        )
    }
}
