//! The shop as a webhook receiver, while the demo data is created: it accepts all messages but those about one user.

use std::io;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

const ACCEPTED: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 32\r\n\
    Connection: close\r\n\r\nno such customer in the database";
/// More than any of the messages.
const MOST_BYTES: u64 = 1 << 20;

/// Receives until it is dropped. Afterwards nothing listens at its URL.
pub(super) struct Receiver {
    pub url: String,
    _receiving: DropGuard,
}

impl Receiver {
    /// Refuses messages that contain this text.
    pub(super) async fn start(refused: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("listen on a free port for the webhooks of the demo")?;
        let address = listener.local_addr().context("ask for the address")?;
        let stop = CancellationToken::new();
        let receiving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A sender that gives up is no concern of the receiver.
                let _ = answer(stream, &refused).await;
            }
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(receiving));
        Ok(Self {
            url: format!("http://{address}/meed"),
            _receiving: stop.drop_guard(),
        })
    }
}

/// Reads one request to its end, so that the sender reads the answer, and answers it.
async fn answer(mut stream: TcpStream, refused: &str) -> io::Result<()> {
    let mut request = Vec::new();
    let mut reader = (&mut stream).take(MOST_BYTES);
    while !is_complete(&request) && reader.read_buf(&mut request).await? > 0 {}
    let is_refused = String::from_utf8_lossy(&request).contains(refused);
    stream
        .write_all(if is_refused { REFUSED } else { ACCEPTED }.as_bytes())
        .await?;
    stream.shutdown().await
}

/// Whether the head and as many bytes as it announces are there.
fn is_complete(request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    body.len() >= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_its_body() {
        let head = "POST /meed HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        assert!(!is_complete(head.as_bytes()));
        assert!(!is_complete(format!("{head}abc").as_bytes()));
        assert!(is_complete(format!("{head}abcd").as_bytes()));
    }

    #[test]
    fn the_refusal_announces_its_body() {
        let (_, body) = REFUSED.split_once("\r\n\r\n").unwrap();
        assert!(is_complete(REFUSED.as_bytes()) && !is_complete(&REFUSED.as_bytes()[..REFUSED.len() - 1]));
        assert!(!body.is_empty());
    }
}
