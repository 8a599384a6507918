//! Clients that claim from a fleet, operators who reverse grants, and all responses that they received.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fleet::{self, Fleet};
use crate::support::TestUser;

/// How long a client retries before the test fails. No fault may last longer for a client.
const INSISTENCE: Duration = Duration::from_secs(45);

/// A claim of a client.
#[derive(Clone, Debug)]
pub struct Ask {
    pub user: Uuid,
    pub token: String,
    pub event: Uuid,
    pub key: Option<String>,
    /// With `Prefer: respond-async`
    pub is_async: bool,
}

impl Ask {
    pub fn new(user: &TestUser, event: &Value) -> Self {
        Self {
            user: user.id.parse().expect("an id"),
            token: user.token.clone(),
            event: id_of(event),
            key: None,
            is_async: false,
        }
    }

    /// Sends the claim with `Prefer: respond-async`.
    pub fn without_waiting(self) -> Self {
        Self { is_async: true, ..self }
    }

    /// Sends the claim with an Idempotency-Key.
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

/// A response to a claim.
#[derive(Clone, Debug)]
pub struct Answer {
    pub ask: Ask,
    /// When the claim was first sent, and when this response arrived
    pub sent_at: Instant,
    pub answered_at: Instant,
    pub status: u16,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn is_granted(&self) -> bool {
        self.status == 201 && self.body["status"] == "GRANTED"
    }

    /// The host rejected the claim, because the stock or the budget is used up.
    pub fn is_turned_away(&self) -> bool {
        let reason = &self.body["reasons"][0];
        self.body["status"] == "REJECTED"
            && reason["source"] == "HOST"
            && (reason["code"] == "sold-out" || reason["code"] == "budget-spent")
    }
}

/// A response to a reversal.
#[derive(Clone, Debug)]
pub struct ReversedGrant {
    pub request: Uuid,
    /// The process that answered
    pub by: String,
    pub status: u16,
    pub body: Value,
}

/// All responses that clients received in a run.
#[derive(Debug, Default)]
pub struct View {
    pub answers: Vec<Answer>,
    pub reversals: Vec<ReversedGrant>,
    /// Requests and reversals whose receipts were checked before; receipts are immutable.
    pub looked_at: Mutex<BTreeSet<Uuid>>,
}

impl View {
    pub fn of(answers: Vec<Answer>) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }

    pub fn granted(&self) -> usize {
        self.answers.iter().filter(|answer| answer.is_granted()).count()
    }

    pub fn reversed(&self) -> usize {
        self.reversals.iter().filter(|reversal| reversal.status == 201).count()
    }

    pub fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.reversals.extend(other.reversals);
    }
}

pub struct Clients<'a> {
    http: reqwest::Client,
    fleet: &'a Fleet,
    /// Requests that failed, or had a 5xx response
    broken: Mutex<Vec<String>>,
    answered: AtomicUsize,
}

impl<'a> Clients<'a> {
    pub fn new(fleet: &'a Fleet) -> Self {
        Self {
            http: fleet::client(),
            fleet,
            broken: Mutex::default(),
            answered: AtomicUsize::new(0),
        }
    }

    pub fn broken(&self) -> usize {
        self.broken.lock().expect("no panic before").len()
    }

    /// Asserts that every request was answered, for runs without a fault of a process or its database.
    pub fn are_all_answered(&self) {
        let broken = self.broken.lock().expect("no panic before");
        assert!(
            broken.is_empty(),
            "{} claims were not answered: {broken:#?}",
            broken.len()
        );
    }

    /// The number of answered claims.
    pub fn count(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `count` claims were answered.
    pub async fn answered(&self, count: usize) {
        while self.count() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Sends a claim to one process once. After an error the outcome is unknown.
    pub async fn ask(&self, address: &str, ask: &Ask) -> Result<Answer, String> {
        let sent_at = Instant::now();
        let mut request = self
            .http
            .post(format!("{address}/reward-requests"))
            .bearer_auth(&ask.token);
        if let Some(key) = &ask.key {
            request = request.header("idempotency-key", key);
        }
        if ask.is_async {
            request = request.header("prefer", "respond-async");
        }
        let (status, text) = self.send(request.json(&json!({"eventId": ask.event}))).await?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(Answer {
            ask: ask.clone(),
            sent_at,
            answered_at: Instant::now(),
            status,
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        })
    }

    /// Retries a claim on different processes until the response is final.
    pub async fn insist(&self, rng: &mut fastrand::Rng, ask: &Ask) -> Answer {
        let sent_at = Instant::now();
        loop {
            match self.ask(&self.fleet.any(rng), ask).await {
                // Another claim of the same user is being decided.
                Ok(answer) if answer.body["code"] == "claim-pending" => {
                    self.try_again(rng, sent_at, &answer.text).await;
                }
                Ok(answer) => return Answer { sent_at, ..answer },
                Err(error) => self.try_again(rng, sent_at, &error).await,
            }
        }
    }

    /// Polls a request until it is decided.
    pub async fn decided(&self, rng: &mut fastrand::Rng, first: &Answer) -> Answer {
        if first.status != 202 {
            return first.clone();
        }
        let started = Instant::now();
        let request = id_of(&first.body);
        loop {
            let call = self
                .http
                .get(format!("{}/reward-requests/{request}", self.fleet.any(rng)));
            match self.send(call.bearer_auth(&first.ask.token)).await {
                Ok((status, text)) => {
                    let body: Value = serde_json::from_str(&text).unwrap_or_default();
                    assert_eq!(status, 200, "a queued claim is lost: {text}");
                    if body["status"] != "RECEIVED" {
                        let answered_at = Instant::now();
                        return Answer {
                            answered_at,
                            status: 201,
                            text,
                            body,
                            ..first.clone()
                        };
                    }
                    self.try_again(rng, started, "RECEIVED").await;
                }
                Err(error) => self.try_again(rng, started, &error).await,
            }
        }
    }

    /// Reverses a request, and retries until the response is final.
    pub async fn reverse(&self, rng: &mut fastrand::Rng, operator: &str, request: Uuid) -> ReversedGrant {
        let started = Instant::now();
        loop {
            let by = self.fleet.any(rng);
            let call = self.http.post(format!("{by}/reward-requests/{request}/reversal"));
            let call = call.bearer_auth(operator).json(&json!({"reason": "A fault test"}));
            match self.send(call).await {
                Ok((status, text)) => {
                    let body = serde_json::from_str(&text).unwrap_or_default();
                    return ReversedGrant {
                        request,
                        by,
                        status,
                        body,
                    };
                }
                Err(error) => self.try_again(rng, started, &error).await,
            }
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, String), String> {
        let answer = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
        };
        let broken = match answer.await {
            Ok((status, text)) if status < 500 => return Ok((status, text)),
            Ok((status, text)) => format!("{status} {text}"),
            Err(error) => format!("{error:?}"),
        };
        self.broken.lock().expect("no panic before").push(broken.clone());
        Err(broken)
    }

    async fn try_again(&self, rng: &mut fastrand::Rng, started: Instant, error: &str) {
        assert!(
            started.elapsed() < INSISTENCE,
            "no definite answer after {INSISTENCE:?}; the last: {error}"
        );
        tokio::time::sleep(Duration::from_millis(rng.u64(5..60))).await;
    }

    /// Sends all claims in this order, `width` at a time; each client retries.
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
