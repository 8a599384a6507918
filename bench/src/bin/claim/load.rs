//! The client: connections that send requests back to back, or at a fixed rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cpu::Cpu;

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub connections: usize,
    pub seconds: Duration,
    /// Requests per second over all connections; `None`: as fast as responses arrive.
    pub per_second: Option<f64>,
}

/// The position of a request: its connection, and its number on that connection.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub connection: usize,
    pub connections: usize,
    pub number: usize,
}

/// A claim to send.
pub(crate) struct Claim {
    pub token: Arc<str>,
    pub event_id: Arc<str>,
    /// Whether the claim is asynchronous.
    pub may_wait: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub granted: usize,
    pub answers: usize,
    /// Responses other than 200, 201 and 202.
    pub failures: usize,
    /// One of them, as an example.
    pub failure: Option<String>,
    /// Microseconds of processor time per response.
    pub cpu: Cpu,
}

impl Measured {
    /// Fails if a response was not a grant.
    pub(crate) fn granted(self) -> anyhow::Result<Self> {
        ensure!(
            self.granted == self.answers,
            "only {} of {} claims were granted; {:?}",
            self.granted,
            self.answers,
            self.failure
        );
        Ok(self)
    }
}

struct Answer {
    latency: Duration,
    granted: bool,
    failure: Option<String>,
}

impl Load {
    /// Sends the claims of `claim` to the servers. Each connection uses one server.
    pub(crate) async fn run(
        &self,
        servers: &[String],
        claim: impl Fn(Turn) -> Option<Claim>,
    ) -> anyhow::Result<Measured> {
        let claim = &claim;
        let before = Cpu::now();
        let started = Instant::now();
        let connections = (0..self.connections).map(|connection| {
            let server = &servers[connection % servers.len()];
            self.connection(server, connection, started, claim)
        });
        // All connections run on this thread, to leave the rest of the machine to the servers.
        let answers = futures_util::future::try_join_all(connections).await?;
        let elapsed = started.elapsed().min(self.seconds + Duration::from_secs(1));
        let mut answers: Vec<Answer> = answers.into_iter().flatten().collect();
        ensure!(!answers.is_empty(), "no answers");
        answers.sort_by_key(|answer| answer.latency);
        let at = |percent: usize| answers[(answers.len() - 1) * percent / 100].latency;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Measured {
            per_second: answers.len() as f64 / elapsed.as_secs_f64(),
            p50: at(50),
            p99: at(99),
            granted: answers.iter().filter(|answer| answer.granted).count(),
            failures: answers.iter().filter(|answer| answer.failure.is_some()).count(),
            answers: answers.len(),
            cpu: (Cpu::now() - before).each(answers.len()),
            failure: answers.into_iter().find_map(|answer| answer.failure),
        })
    }

    async fn connection(
        &self,
        server: &str,
        connection: usize,
        started: Instant,
        claim: &impl Fn(Turn) -> Option<Claim>,
    ) -> anyhow::Result<Vec<Answer>> {
        let stream = TcpStream::connect(server)
            .await
            .with_context(|| format!("connect to {server}"))?;
        stream.set_nodelay(true)?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        let mut answers = Vec::new();
        for number in 0.. {
            let due = self.due(started, connection, number);
            if due.duration_since(started) >= self.seconds {
                break;
            }
            // The timer has a resolution of milliseconds, which would delay every claim that is due now.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            let turn = Turn {
                connection,
                connections: self.connections,
                number,
            };
            let Some(claim) = claim(turn) else { break };
            let mut request = hyper::Request::post("/reward-requests")
                .header(HOST, server)
                .header(CONTENT_TYPE, "application/json")
                .header(AUTHORIZATION, format!("Bearer {}", claim.token));
            if claim.may_wait {
                request = request.header("prefer", "respond-async");
            }
            let request = request.body(Full::new(Bytes::from(format!(
                "{{\"eventId\":\"{}\"}}",
                claim.event_id
            ))))?;
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            let good = [200, 201, 202].contains(&status.as_u16());
            answers.push(Answer {
                latency: due.elapsed(),
                granted: good && body.windows(18).any(|window| window == b"\"status\":\"GRANTED\""),
                failure: (!good).then(|| format!("{status} {}", String::from_utf8_lossy(&body))),
            });
        }
        Ok(answers)
    }

    /// When to send this request. At a fixed rate, a late response does not delay the due time of the next request, so
    /// that a stall counts for all requests that it delays.
    fn due(&self, started: Instant, connection: usize, number: usize) -> Instant {
        match self.per_second {
            None => Instant::now(),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            Some(per_second) => {
                let turn = number * self.connections + connection;
                started + Duration::from_secs_f64(turn as f64 / per_second)
            }
        }
    }
}
