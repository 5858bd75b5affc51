//! Where spans go: to a collector, by OTLP over gRPC, in batches, from a thread of their own.
//!
//! **Invariant:** a collector that is slow or away costs the bank nothing but the memory of a bounded queue;
//! what doesn't fit is dropped. The libraries' own settings `OTEL_RESOURCE_ATTRIBUTES`, for what the bank
//! runs on, and `OTEL_EXPORTER_OTLP_HEADERS`, for what the collector asks for, are heeded.

use std::fmt::Display;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tonic::transport::{ClientTlsConfig, Endpoint};
use uuid::Uuid;

use crate::config::Collector;
use crate::grpc::Spans;

/// How many spans wait, at the most: some megabytes.
const QUEUE: usize = 8192;
const BATCH: usize = 512;
/// How long a span waits for others to go with it.
const DELAY: Duration = Duration::from_secs(1);
/// How long making a connection, and sending a batch, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last spans may take when the bank ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to a collector.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Begins to send to a collector, whether or not it can be reached. Must be called inside the runtime.
    /// Where a caller doesn't say whether its trace is to be kept, `ratio` of them are, 0 to 1.
    ///
    /// # Errors
    ///
    /// One phrase that says which setting of the libraries is wrong.
    pub fn start(collector: Collector, ratio: f64) -> Result<Self, String> {
        let unusable = |error: &dyn Display| format!("traces can't be sent: {error}");
        let mut endpoint = Endpoint::from(collector.endpoint)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT);
        if let Some(roots) = collector.roots {
            let tls = ClientTlsConfig::new().trust_anchors(roots.roots);
            endpoint = endpoint.tls_config(tls).map_err(|error| unusable(&error))?;
        }
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(endpoint.connect_lazy())
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| unusable(&error))?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let resource = Resource::builder()
            .with_service_name("bank")
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                // Which of several processes it was.
                KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(batches).build(),
            )
            .build();
        Ok(Self { provider })
    }

    /// What begins spans that go this way.
    #[must_use]
    pub fn spans(&self) -> Spans {
        Spans::new(self.provider.tracer("bank"))
    }

    /// Sends what waits to be sent, if the collector takes it in time.
    pub async fn end(self) {
        // It waits for the thread that sends.
        let flushed =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = flushed.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
