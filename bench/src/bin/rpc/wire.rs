//! The requests of each protocol, written by hyper.

use std::convert::Infallible;

use anyhow::{Context as _, bail, ensure};
use buffa::Message;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use meed_proto::v1::{
    Activity, ClaimRequest, ClaimResponse, IngestRequest, IngestResponse, RecordActivitiesRequest,
    RecordActivitiesResponse,
};
use tokio::net::TcpStream;

type Body = UnsyncBoxBody<Bytes, Infallible>;

const CLAIM: &str = "/meed.v1.ClaimService/Claim";
const RECORD: &str = "/meed.v1.ActivityService/RecordActivities";
const INGEST: &str = "/meed.v1.ActivityService/Ingest";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rest,
    ConnectJson,
    Connect,
    Grpc,
}

impl Protocol {
    /// The baseline first.
    pub(crate) const ALL: [Self; 4] = [Self::Rest, Self::ConnectJson, Self::Connect, Self::Grpc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rest => "REST",
            Self::ConnectJson => "Connect, JSON",
            Self::Connect => "Connect, binary",
            Self::Grpc => "gRPC",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Rest | Self::ConnectJson => "application/json",
            Self::Connect => "application/proto",
            Self::Grpc => "application/grpc+proto",
        }
    }
}

/// Where requests go.
pub(crate) struct Wire {
    address: String,
    protocol: Protocol,
    /// Of gRPC: its streams share one connection.
    shared: Option<http2::SendRequest<Body>>,
}

impl Wire {
    pub(crate) async fn connect(address: &str, protocol: Protocol) -> anyhow::Result<Self> {
        let mut shared = None;
        if protocol == Protocol::Grpc {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp(address).await?)).await?;
            tokio::spawn(driver);
            shared = Some(sender);
        }
        let address = address.to_owned();
        Ok(Self {
            address,
            protocol,
            shared,
        })
    }

    pub(crate) fn another(&self) -> Self {
        Self {
            address: self.address.clone(),
            protocol: self.protocol,
            shared: self.shared.clone(),
        }
    }

    pub(crate) async fn open(&mut self) -> anyhow::Result<Connection> {
        let sender = if let Some(shared) = self.shared.take() {
            Sender::Two(shared)
        } else {
            let (sender, driver) = http1::handshake(TokioIo::new(tcp(&self.address).await?)).await?;
            tokio::spawn(driver);
            Sender::One(sender)
        };
        Ok(Connection {
            address: self.address.clone(),
            protocol: self.protocol,
            sender,
        })
    }
}

async fn tcp(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

pub(crate) struct Connection {
    address: String,
    protocol: Protocol,
    sender: Sender,
}

impl Connection {
    /// Fails unless the claim is granted.
    pub(crate) async fn claim(&mut self, token: &str, event: &str) -> anyhow::Result<()> {
        let message = ClaimRequest {
            event_id: event.to_owned(),
            ..ClaimRequest::default()
        };
        let granted = match self.protocol {
            Protocol::Rest => {
                let body = format!("{{\"eventId\":\"{event}\"}}");
                let answer = self.send(token, "/reward-requests", body.into()).await?;
                answer.windows(18).any(|window| window == b"\"status\":\"GRANTED\"")
            }
            Protocol::ConnectJson => {
                let answer = self.send(token, CLAIM, serde_json::to_vec(&message)?.into()).await?;
                answer.windows(18).any(|window| window == b"\"status\":\"GRANTED\"")
            }
            Protocol::Connect | Protocol::Grpc => {
                let answer = self.send(token, CLAIM, self.framed(&message)).await?;
                let answer = ClaimResponse::decode_from_slice(self.message(&answer)?)?;
                !answer.reward_request.grants.is_empty()
            }
        };
        ensure!(granted, "a claim was not granted");
        Ok(())
    }

    /// Fails unless each activity is new.
    pub(crate) async fn record(&mut self, key: &str, activities: Vec<Activity>) -> anyhow::Result<()> {
        let count = activities.len();
        let recorded = match self.protocol {
            Protocol::Rest => {
                let body = serde_json::to_vec(&activities)?;
                let answer = self.send(key, "/activities", body.into()).await?;
                serde_json::from_slice::<serde_json::Value>(&answer)?["recorded"]
                    .as_u64()
                    .context("a number")?
            }
            Protocol::ConnectJson => {
                let message = RecordActivitiesRequest { activities };
                let answer = self.send(key, RECORD, serde_json::to_vec(&message)?.into()).await?;
                u64::from(serde_json::from_slice::<RecordActivitiesResponse>(&answer)?.recorded)
            }
            Protocol::Connect | Protocol::Grpc => {
                let message = RecordActivitiesRequest { activities };
                let answer = self.send(key, RECORD, self.framed(&message)).await?;
                u64::from(RecordActivitiesResponse::decode_from_slice(self.message(&answer)?)?.recorded)
            }
        };
        ensure!(recorded == count as u64, "{recorded} of {count} were recorded");
        Ok(())
    }

    /// Sends the parts one after another, as fast as the server takes them. Fails unless each activity is new.
    pub(crate) async fn ingest(&mut self, key: &str, parts: impl Iterator<Item = Vec<Activity>>) -> anyhow::Result<()> {
        let mut count = 0;
        let mut pieces = Vec::new();
        for activities in parts {
            count += activities.len() as u64;
            if self.protocol == Protocol::Rest {
                let mut lines = Vec::new();
                for activity in &activities {
                    serde_json::to_writer(&mut lines, activity)?;
                    lines.push(b'\n');
                }
                pieces.push(Bytes::from(lines));
            } else {
                pieces.push(self.framed(&IngestRequest {
                    activities,
                    ..Default::default()
                }));
            }
        }
        let frames = stream::iter(pieces).map(|piece| Ok(Frame::data(piece)));
        let body = StreamBody::new(frames).boxed_unsync();
        let recorded = if self.protocol == Protocol::Rest {
            let answer = self.request(key, "/activities", "application/x-ndjson", body).await?;
            let last = answer
                .trim_ascii_end()
                .rsplit(|byte| *byte == b'\n')
                .next()
                .context("a line")?;
            serde_json::from_slice::<serde_json::Value>(last)?["recorded"]
                .as_u64()
                .context("a number")?
        } else {
            let answer = self.request(key, INGEST, self.protocol.content_type(), body).await?;
            let (mut rest, mut recorded) = (&answer[..], 0);
            while let [_, a, b, c, d, after @ ..] = rest {
                let (message, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
                recorded = IngestResponse::decode_from_slice(message)?.recorded;
                rest = next;
            }
            recorded
        };
        ensure!(recorded == count, "{recorded} of {count} were recorded");
        Ok(())
    }

    /// A message in the envelope of gRPC, or as it is.
    fn framed(&self, message: &impl Message) -> Bytes {
        let bytes = message.encode_to_vec();
        if self.protocol != Protocol::Grpc {
            return bytes.into();
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[0][..], &length, &bytes].concat().into()
    }

    fn message<'a>(&self, answer: &'a [u8]) -> anyhow::Result<&'a [u8]> {
        if self.protocol != Protocol::Grpc {
            return Ok(answer);
        }
        answer.get(5..).context("an answer without a message")
    }

    async fn send(&mut self, token: &str, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let kind = self.protocol.content_type();
        self.request(token, path, kind, Full::new(body).boxed_unsync()).await
    }

    async fn request(&mut self, token: &str, path: &str, kind: &str, body: Body) -> anyhow::Result<Bytes> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", kind);
        let request = match (self.protocol, kind) {
            (Protocol::Grpc, _) => request.header("te", "trailers"),
            (_, "application/x-ndjson") => request.header("prefer", "handling=lenient"),
            _ => request,
        };
        let response = match &mut self.sender {
            Sender::One(sender) => {
                let (mut head, body) = request.header("host", &self.address).body(body)?.into_parts();
                head.uri = path.parse()?;
                sender.ready().await?;
                sender.send_request(Request::from_parts(head, body)).await?
            }
            Sender::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request.body(body)?).await?
            }
        };
        let status = response.status();
        let answer = response.into_body().collect().await?;
        let trailer = answer
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .cloned();
        let answer = answer.to_bytes();
        if !status.is_success() || trailer.as_ref().is_some_and(|code| code != "0") {
            bail!("{path}: {status} {trailer:?} {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }
}
