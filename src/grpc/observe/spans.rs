//! Spans: one for each call of the bank, for whoever follows a request through many services.
//!
//! They bear the names of OpenTelemetry's conventions for RPC, and continue the trace that the caller names by
//! W3C's `traceparent`. Health checks and reflection have none. **Invariant:** never an amount, a label or an
//! account. Where spans go is not here.

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, TraceId, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use tonic::Code;

use super::tally::{Method, OTHER, Reason};
use super::{code_name, is_servers_fault};
use crate::ledger::RequestId;

/// How much is told of a method that doesn't exist, in bytes.
const MAX_UNKNOWN_BYTES: usize = 128;

/// Begins the spans of calls.
#[derive(Debug)]
pub struct Spans {
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Spans {
    /// Spans that this tracer takes.
    #[must_use]
    pub fn new(tracer: SdkTracer) -> Self {
        Self { tracer, propagator: TraceContextPropagator::new() }
    }

    pub(super) fn begin(&self, path: &str, headers: &HeaderMap) -> CallSpan {
        let method = Method::at(path).name();
        let mut attributes =
            vec![KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method)];
        if method == OTHER {
            let known = path.trim_start_matches('/').chars().take(MAX_UNKNOWN_BYTES);
            attributes.push(KeyValue::new("rpc.method_original", known.collect::<String>()));
        }
        let name = if method == OTHER { "grpc" } else { method };
        let parent = self.propagator.extract_with_context(&Context::new(), &Headers(headers));
        let builder =
            SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &parent);
        CallSpan { tracer: self.tracer.clone(), context: parent.with_span(span) }
    }
}

/// The span of a call.
#[derive(Debug)]
pub(super) struct CallSpan {
    tracer: SdkTracer,
    context: Context,
}

impl CallSpan {
    pub(super) fn trace_id(&self) -> TraceId {
        self.context.span().span_context().trace_id()
    }

    /// A part of the call, which ends when it is dropped; none of a call that is not sampled.
    pub(super) fn part(&self, name: &'static str) -> Option<Part> {
        let is_sampled = self.context.span().is_recording();
        is_sampled.then(|| Part(self.tracer.start_with_context(name, &self.context)))
    }

    pub(super) fn end(&self, code: Code, refused: Option<Reason>, request_id: Option<&RequestId>) {
        let span = self.context.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("rpc.response.status_code", code_name(code)));
        if is_servers_fault(code) {
            span.set_attribute(KeyValue::new("error.type", code_name(code)));
            span.set_status(Status::error(""));
        }
        if let Some(reason) = refused {
            span.set_attribute(KeyValue::new("bank.reason", reason.name()));
        }
        if let Some(id) = request_id {
            span.set_attribute(KeyValue::new("bank.request_id", id.as_str().to_owned()));
        }
        span.end();
    }
}

/// A part of a call that has a span of its own.
#[derive(Debug)]
pub(in crate::grpc) struct Part(SdkSpan);

impl Drop for Part {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
