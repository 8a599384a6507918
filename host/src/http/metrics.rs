//! Metrics in the Prometheus text format, which the admin listener serves.
//! `docs/operations.md` lists all of them; a test compares it with the code.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

const SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0,
];
const CLAIMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
const FUEL: &[f64] = &[1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 1e7];

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    gauges: Arc<dyn Fn() + Send + Sync>,
}

/// Installs the recorder, once in a process. `gauges` sets the gauges that are computed at each scrape.
pub fn install(gauges: impl Fn() + Send + Sync + 'static) -> Result<Metrics, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_fuel".to_owned()), FUEL)?
        .set_buckets_for_metric(Matcher::Suffix("_claims".to_owned()), CLAIMS)?
        .install_recorder()?;
    Ok(Metrics {
        handle,
        gauges: Arc::new(gauges),
    })
}

impl Metrics {
    pub fn render(&self) -> String {
        (self.gauges)();
        self.handle.render()
    }

    /// To be called every few seconds: histograms keep every value in memory until then.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Counts every answered request by its route's pattern, never by its path.
pub async fn layer(request: Request, next: Next) -> Response {
    // Clients can invent methods; these must not create new series.
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let method = known
        .into_iter()
        .find(|known| *known == request.method().as_str())
        .unwrap_or("OTHER");
    let route: Arc<str> = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".into(), |path| path.as_str().into());
    let started = std::time::Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::histogram!("meed_http_request_seconds", "method" => method, "route" => Arc::clone(&route))
        .record(started.elapsed().as_secs_f64());
    metrics::counter!("meed_http_requests_total", "method" => method, "route" => route, "status" => status)
        .increment(1);
    response
}
