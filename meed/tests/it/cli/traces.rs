//! The spans of a claim that a trace collector receives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tempfile::TempDir;

use super::{Server, demo_with, walk};

/// Receives spans by OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts listening and returns the URL.
    async fn start(&self) -> String {
        let spans = Arc::clone(&self.spans);
        let take = async move |body: Bytes| {
            let told = ExportTraceServiceRequest::decode(body).expect("spans");
            let scopes = told
                .resource_spans
                .into_iter()
                .flat_map(|resource| resource.scope_spans);
            spans
                .lock()
                .expect("spans")
                .extend(scopes.flat_map(|scope| scope.spans));
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/v1/traces")
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("spans").clone()
    }
}

async fn server(directory: &TempDir, endpoint: &str, percent: &str) -> Server {
    let (path, endpoint, percent) = (directory.path().to_owned(), endpoint.to_owned(), percent.to_owned());
    let start = move || {
        let settings = [
            ("MEED__TRACES__ENDPOINT", endpoint.as_str()),
            ("MEED__TRACES__SAMPLE_PERCENT", percent.as_str()),
        ];
        demo_with(&path, &settings)
    };
    tokio::task::spawn_blocking(start).await.expect("the demo starts")
}

async fn stop(server: Server) {
    let stopped = tokio::task::spawn_blocking(|| server.stop()).await.expect("no panic");
    assert!(stopped, "it ends in order");
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_claim_has_spans_for_facts_evaluation_and_commit() {
    let (directory, collector) = (TempDir::new().expect("a directory"), Collector::default());
    let server = server(&directory, &collector.start().await, "100").await;
    let path = directory.path().to_owned();
    let server = tokio::task::spawn_blocking(move || {
        walk(&server, &path);
        server
    })
    .await
    .expect("the walk ends");
    // The remaining spans are sent at the end.
    stop(server).await;
    let spans = collector.spans();
    let mut children: HashMap<&[u8], Vec<&str>> = HashMap::new();
    for span in &spans {
        children.entry(&span.parent_span_id).or_default().push(&span.name);
    }
    let claims: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "POST /reward-requests")
        .collect();
    assert!(!claims.is_empty(), "the walk claims");
    for claim in claims {
        let mut parts = children.remove(&claim.span_id[..]).unwrap_or_default();
        parts.sort_unstable();
        assert_eq!(parts, ["commit", "evaluate", "facts"]);
        assert!(attribute(claim, "request.id").is_some_and(|id| !id.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_of_a_client_is_continued_without_overriding_sampling() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let ask = async |server: &Server| {
        let line = server
            .printed
            .lines()
            .find_map(|line| line.split_once("http://127.0.0.1:"));
        let port: String = line
            .expect("an address")
            .1
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        let request = reqwest::Client::new().get(format!("http://127.0.0.1:{port}/events/active"));
        let request = request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
        request
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .expect("an answer");
    };
    for (percent, kept) in [("100", 1), ("0", 0)] {
        let (directory, collector) = (TempDir::new().expect("a directory"), Collector::default());
        let server = server(&directory, &collector.start().await, percent).await;
        ask(&server).await;
        stop(server).await;
        let spans = collector.spans();
        let continued: Vec<&Span> = spans
            .iter()
            .filter(|span| span.name == "GET /events/active" && hex::encode(&span.trace_id) == TRACE)
            .collect();
        assert_eq!(continued.len(), kept, "{percent} %");
        assert!(
            continued
                .iter()
                .all(|span| hex::encode(&span.parent_span_id) == "b7ad6b7169203331")
        );
    }
}
