//! Sets up logging and, with the feature `otel`, traces to an OpenTelemetry collector by OTLP over HTTP.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, registry};

use meed_host::config::{Config, LogFormat};

/// Flushes the traces when dropped. Do not drop it in the async runtime, because it waits for the collector.
#[must_use = "traces end with it"]
pub(super) struct Started {
    #[cfg(feature = "otel")]
    _traces: Option<traces::Traces>,
}

/// Starts logging.
pub(super) fn start(config: &Config) -> anyhow::Result<Started> {
    let filter =
        EnvFilter::try_new(&config.log.filter).with_context(|| format!("log.filter is {:?}", config.log.filter))?;
    let log = fmt::layer()
        // The default would panic if it cannot write; a full disk must not fail the request as well.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let log = match config.log.format {
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    let registry = registry().with(log.with_filter(filter));
    #[cfg(feature = "otel")]
    {
        let traces = traces::Traces::start(&config.traces)?;
        registry.with(traces.as_ref().map(traces::Traces::layer)).init();
        Ok(Started { _traces: traces })
    }
    #[cfg(not(feature = "otel"))]
    {
        registry.init();
        Ok(Started {})
    }
}

#[cfg(feature = "otel")]
mod traces {
    use anyhow::Context as _;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::{Level, Subscriber};
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::registry::LookupSpan;

    use meed_host::config;

    const NAME: &str = "meed";

    pub(super) struct Traces(SdkTracerProvider);

    impl Traces {
        /// `None` without a collector.
        pub(super) fn start(settings: &config::Traces) -> anyhow::Result<Option<Self>> {
            if settings.endpoint.is_empty() {
                return Ok(None);
            }
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(&settings.endpoint)
                .build()
                .with_context(|| format!("traces.endpoint is {:?}", settings.endpoint))?;
            let provider = SdkTracerProvider::builder()
                // A separate thread sends spans from a bounded queue: if the collector is slow or unreachable, spans
                // are lost and requests do not wait.
                .with_batch_exporter(exporter)
                // Sampling depends only on the trace id, so all processes keep the same traces, and clients cannot
                // force sampling.
                .with_sampler(Sampler::TraceIdRatioBased(f64::from(settings.sample_percent) / 100.0))
                .with_resource(Resource::builder().with_service_name(NAME).build())
                .build();
            opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
            Ok(Some(Self(provider)))
        }

        pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
        where
            S: Subscriber + for<'span> LookupSpan<'span>,
        {
            tracing_opentelemetry::layer()
                .with_tracer(self.0.tracer(NAME))
                .with_location(false)
                .with_threads(false)
                .with_filter(Targets::new().with_target("meed", Level::DEBUG))
        }
    }

    impl Drop for Traces {
        fn drop(&mut self) {
            // The process is about to end, so the error is ignored.
            self.0.shutdown().ok();
        }
    }
}
