//! Traces: one message followed from its send through the commit and the bus to the connections, on whatever servers, by
//! the W3C trace context that its records carry.
//!
//! ```text
//! POST /v1/messages ─ send ┬ commit      (one for a batch; linked with every send in it)
//!                          └ publish ─ consume ─ push      (the last two on each server with a recipient)
//! ```
//!
//! Where nobody collects, and for a message that is not sampled, nothing is made: a look at one static, or a random number.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use im_protocol::ServerId;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use crate::config::TraceSettings;

/// How long the collector has to take a batch: it must never hold the server up, and what it does not take is lost.
const EXPORT: Duration = Duration::from_secs(5);

/// Where OTLP over HTTP takes traces (OTLP 1.0, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

struct Tracing {
    tracer: SdkTracer,
    /// The share of messages that is followed.
    ratio: f64,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Sends traces to a collector until it is stopped.
pub struct Exporting(SdkTracerProvider);

/// Starts to trace, for the whole process, if a collector is named.
pub fn start(settings: &TraceSettings, server: ServerId) -> anyhow::Result<Option<Exporting>> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    // The first one that is installed stays; whichever it is, it is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().connect_timeout(EXPORT).timeout(EXPORT).build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("im-server")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", server.to_string()))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build())
        // What is not to be sampled never gets here.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource)
        .build();
    let tracing = Tracing { tracer: provider.tracer("im-server"), ratio: settings.trace_ratio };
    if TRACING.set(tracing).is_err() {
        anyhow::bail!("this process traces already");
    }
    Ok(Some(Exporting(provider)))
}

impl Exporting {
    /// Sends what is still here.
    pub async fn stop(self) {
        // The provider blocks while the collector is asked.
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be handed to the collector");
        }
    }
}

/// A stretch of a message's way; it ends when it is dropped.
pub struct Span(opentelemetry_sdk::trace::Span);

/// Whose part a stretch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// An answer to somebody outside.
    Answer,
    /// Inside this process.
    Inside,
    /// To other servers.
    Producer,
    /// From other servers.
    Consumer,
}

impl Span {
    /// Begins at the edge, if this one is sampled; `caller` is the trace context that somebody outside sent along. Whether
    /// it is sampled is not theirs to say.
    pub fn at_the_edge(name: impl FnOnce() -> String, caller: Option<&str>) -> Option<Self> {
        let tracing = TRACING.get()?;
        let sampled = tracing.ratio >= 1.0 || rand::random::<f64>() < tracing.ratio;
        sampled.then(|| Self::build(tracing, name(), Part::Answer, caller.and_then(parse)))
    }

    /// Goes on with what is followed already.
    pub fn under(parent: Option<&str>, name: &'static str, part: Part) -> Option<Self> {
        let parent = parent?;
        let tracing = TRACING.get()?;
        Some(Self::build(tracing, name.to_owned(), part, Some(parse(parent)?)))
    }

    fn build(tracing: &Tracing, name: String, part: Part, parent: Option<SpanContext>) -> Self {
        let kind = match part {
            Part::Answer => SpanKind::Server,
            Part::Inside => SpanKind::Internal,
            Part::Producer => SpanKind::Producer,
            Part::Consumer => SpanKind::Consumer,
        };
        let parent = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        Self(tracing.tracer.build_with_context(builder, &parent))
    }

    /// What goes on under it is given this: a W3C `traceparent`.
    pub fn context(&self) -> Arc<str> {
        let context = self.0.span_context();
        format!("00-{}-{}-01", context.trace_id(), context.span_id()).into()
    }

    /// Says that it has to do with another.
    pub fn link(&mut self, other: &str) {
        if let Some(other) = parse(other) {
            self.0.add_link(other, Vec::new());
        }
    }

    /// Notes a number.
    pub fn note(&mut self, name: &'static str, number: u64) {
        self.0.set_attribute(KeyValue::new(name, i64::try_from(number).unwrap_or(i64::MAX)));
    }

    /// It did not go well; `code` is one of a short list, nothing that a person wrote.
    pub fn fail(&mut self, code: &'static str) {
        self.0.set_status(Status::error(code));
    }
}

tokio::task_local! {
    /// What the request is followed as, that this task answers.
    static REQUEST: Arc<str>;
}

/// Runs `answer` as a part of `request`.
pub async fn within<T>(request: &Span, answer: impl Future<Output = T>) -> T {
    REQUEST.scope(request.context(), answer).await
}

/// A send: a part of the request that is being answered, or at the edge itself.
pub fn send() -> Option<Span> {
    TRACING.get()?;
    match REQUEST.try_with(Arc::clone) {
        Ok(request) => Span::under(Some(&request), "send", Part::Inside),
        Err(_) => Span::at_the_edge(|| "send".to_owned(), None),
    }
}

/// `00-<trace id>-<span id>-<flags>` (W3C Trace Context, 3.2.2.1); later versions may have more behind it.
fn parse(text: &str) -> Option<SpanContext> {
    let mut parts = text.trim().splitn(5, '-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lower = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    let whole = lower(version, 2) && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
    if !whole || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_read_as_the_w3c_writes_it() {
        let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033310-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_followed() {
        assert!(send().is_none());
        assert!(Span::at_the_edge(|| "POST /v1/messages".to_owned(), None).is_none());
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(Span::under(Some(parent), "consume", Part::Consumer).is_none());
    }
}
