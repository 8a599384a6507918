//! A webhook receiver: an HTTP server that records requests and responds as the test defines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meed_host::clock::{Clock, Timestamp};
use serde_json::Value;
use tokio::sync::watch;

/// A received request.
#[derive(Clone, Debug)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub event: Value,
    /// By the system clock
    pub at: Timestamp,
    /// The status of the response
    pub status: u16,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Verifies the signature like a receiver: one of the signatures covers id, time and body with this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let secret = secret.strip_prefix("whsec_").expect("a secret of the standard");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("base64"));
        let mut signed = format!("{}.{}.", self.id(), self.header("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&self.body);
        self.header("webhook-signature").split(' ').any(|signature| {
            let value = signature.strip_prefix("v1,").expect("version 1");
            hmac::verify(&key, &signed, &STANDARD.decode(value).expect("base64")).is_ok()
        })
    }
}

/// The status, the body and the delay of a response.
pub type Answer = (u16, String, Duration);

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<Got>>>,
    count: watch::Sender<usize>,
    serving: Arc<tokio::task::JoinHandle<()>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if Arc::strong_count(&self.serving) == 1 {
            self.serving.abort();
        }
    }
}

impl Receiver {
    /// Responds 200 to every request.
    pub async fn start() -> Self {
        Self::answering(|_, _| (204, String::new(), Duration::ZERO)).await
    }

    /// Responds depending on the message and on the number of its earlier deliveries.
    pub async fn answering(answer: impl FnMut(&Value, usize) -> Answer + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (count, _) = watch::channel(0);
        let answer = Arc::new(Mutex::new(answer));
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let handler = {
            let (got, count) = (Arc::clone(&got), count.clone());
            move |headers: HeaderMap, body: Bytes| {
                let (got, count, answer) = (Arc::clone(&got), count.clone(), Arc::clone(&answer));
                let counts = Arc::clone(&counts);
                async move {
                    let event: Value = serde_json::from_slice(&body).expect("JSON");
                    let before = {
                        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                        let count = counts.entry(event["id"].to_string()).or_insert(0);
                        *count += 1;
                        *count - 1
                    };
                    let (status, text, delay) = answer.lock().unwrap_or_else(PoisonError::into_inner)(&event, before);
                    let at = Clock::System.now();
                    got.lock().unwrap_or_else(PoisonError::into_inner).push(Got {
                        headers,
                        body,
                        event,
                        at,
                        status,
                    });
                    tokio::time::sleep(delay).await;
                    count.send_modify(|answered| *answered += 1);
                    (StatusCode::from_u16(status).expect("a status"), text).into_response()
                }
            }
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(handler));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self {
            url,
            got,
            count,
            serving: Arc::new(serving),
        }
    }

    /// All received requests, in order.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` requests were received and answered.
    pub async fn wait_for(&self, count: usize) -> Vec<Got> {
        let mut seen = self.count.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(|seen| *seen >= count)).await;
        assert!(
            waited.is_ok(),
            "{} of {count} came: {:#?}",
            self.got().len(),
            self.got()
        );
        self.got()
    }
}
