//! Clients that claim from a fleet and remember every answer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fleet::{self, Fleet};
use crate::support::TestUser;

/// How long a client asks again before the test fails.
const INSISTENCE: Duration = Duration::from_mins(1);

/// What a client wants.
#[derive(Clone, Debug)]
pub struct Ask {
    pub user: Uuid,
    pub token: String,
    pub event: Uuid,
    pub key: Option<String>,
}

impl Ask {
    pub fn new(user: &TestUser, event: &Value) -> Self {
        Self {
            user: user.id.parse().expect("an id"),
            token: user.token.clone(),
            event: id_of(event),
            key: None,
        }
    }

    /// Under an Idempotency-Key.
    pub fn under(self, key: u64) -> Self {
        Self {
            key: Some(key.to_string()),
            ..self
        }
    }
}

pub fn id_of(body: &Value) -> Uuid {
    body["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")
}

/// What a client was told.
#[derive(Clone, Debug)]
pub struct Answer {
    pub ask: Ask,
    pub status: u16,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn is_granted(&self) -> bool {
        self.status == 201 && self.body["status"] == "GRANTED"
    }
}

/// Everything that clients were told in a run.
#[derive(Debug, Default)]
pub struct View {
    pub answers: Vec<Answer>,
}

impl View {
    pub fn granted(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_granted()).count()
    }
}

pub struct Clients<'a> {
    http: reqwest::Client,
    fleet: &'a Fleet,
    /// Requests that broke off, or were answered with 5xx
    broken: AtomicUsize,
    answered: AtomicUsize,
}

impl<'a> Clients<'a> {
    pub fn new(fleet: &'a Fleet) -> Self {
        Self {
            http: fleet::client(),
            fleet,
            broken: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
        }
    }

    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    /// How many claims have been answered.
    pub fn count(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many have been.
    pub async fn answered(&self, count: usize) {
        while self.count() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Asks one process once. An error says nothing of what was done.
    pub async fn ask(&self, address: &str, ask: &Ask) -> Result<Answer, String> {
        let mut request = self
            .http
            .post(format!("{address}/reward-requests"))
            .bearer_auth(&ask.token);
        if let Some(key) = &ask.key {
            request = request.header("idempotency-key", key);
        }
        let answer = async {
            let response = request.json(&json!({"eventId": ask.event})).send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
        };
        let broken = match answer.await {
            Ok((status, text)) if status < 500 => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                return Ok(Answer {
                    ask: ask.clone(),
                    status,
                    body: serde_json::from_str(&text).unwrap_or_default(),
                    text,
                });
            }
            Ok((status, text)) => format!("{status} {text}"),
            Err(error) => format!("{error:?}"),
        };
        self.broken.fetch_add(1, Ordering::Relaxed);
        Err(broken)
    }

    /// Asks one process after the other until it is told something definite.
    pub async fn insist(&self, rng: &mut fastrand::Rng, ask: &Ask) -> Answer {
        let started = Instant::now();
        loop {
            match self.ask(&self.fleet.any(rng), ask).await {
                Ok(answer) => return answer,
                Err(error) => assert!(
                    started.elapsed() < INSISTENCE,
                    "no definite answer after {INSISTENCE:?}; the last: {error}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(5..60))).await;
        }
    }

    /// All of these, in this order, so many at a time; each client insists.
    pub async fn all(&self, rng: &mut fastrand::Rng, asks: &[Ask], width: usize) -> Vec<Answer> {
        let next = AtomicUsize::new(0);
        let workers = (0..width).map(|_| {
            let (next, mut rng) = (&next, rng.fork());
            async move {
                let mut answers = Vec::new();
                while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    answers.push(self.insist(&mut rng, ask).await);
                }
                answers
            }
        });
        join_all(workers).await.concat()
    }
}
