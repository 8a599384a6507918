//! The client: connections that each send one request after the other, or at the pace of a clock.

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
    /// Over all connections; `None`: as fast as answers come.
    pub per_second: Option<f64>,
}

/// Which request it is: of which connection, and that connection's how manieth.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub connection: usize,
    pub connections: usize,
    pub number: usize,
}

/// A claim to be sent.
pub(crate) struct Claim {
    pub token: Arc<str>,
    pub event_id: Arc<str>,
    /// Whether its answer may come before it is decided.
    pub may_wait: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub granted: usize,
    pub answers: usize,
    /// Answers that were neither 200, 201 nor 202.
    pub failures: usize,
    /// One of them, to look at.
    pub failure: Option<String>,
    /// Microseconds of processor time for each answer.
    pub cpu: Cpu,
}

impl Measured {
    /// Fails when an answer was no grant.
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
    /// Sends what `claim` says for each turn to the servers, each connection to one of them.
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
        // All on this one thread: the servers should have the rest of the machine.
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
            // The timer counts in milliseconds, which would be added to every claim that is due at once.
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

    /// When this request is to be sent. At the pace of a clock a late answer does not delay the next one's due time, so
    /// that a stall counts for everyone who would have met it.
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
