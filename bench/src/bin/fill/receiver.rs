//! A receiver of webhooks that notes when a message arrived.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use axum::Router;
use axum::routing::post;

const PATIENCE: Duration = Duration::from_mins(1);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: String,
    arrived: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let arrived: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let noted = Arc::clone(&arrived);
        let note = move |body: String| async move {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.push((Instant::now(), body));
        };
        let router = Router::new().route("/", post(note));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, arrived })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// When the first message with this text arrived.
    pub(crate) async fn wait_for(&self, text: &str) -> anyhow::Result<Instant> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            {
                let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((at, _)) = arrived.iter().rev().find(|(_, body)| body.contains(text)) {
                    return Ok(*at);
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("no message with {text} arrived")
    }
}
