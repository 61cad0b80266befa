//! One message followed from the send to the push, as a collector sees it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Device, Serve, answer, client};

/// The smallest collector there is.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Starts it; returns where it listens.
    async fn start(&self) -> String {
        async fn take(State(Collector(spans)): State<Collector>, body: Bytes) {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            spans.lock().extend(scopes.flat_map(|scope| scope.spans));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }

    fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.0.lock())
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Runs a server in which a backend that traces sends to bob, who is connected; what was collected.
async fn collected(ratio: &str) -> Vec<Span> {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let serve = Serve::start(&[("IM_OTLP_ENDPOINT", &endpoint), ("IM_TRACE_RATIO", ratio)]);
    let alice = serve.person("alice").await;
    let bob = serve.person("bob").await;
    let mut device = Device::welcomed(serve.tcp, bob["access_token"].as_str().unwrap(), "d1").await;
    let message = json!({"to": "bob", "client_message_id": "1", "kind": "text", "content": {"text": "hi"}});
    let request = client()
        .post(format!("http://{}/v1/messages", serve.http))
        .bearer_auth(alice["access_token"].as_str().unwrap())
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&message);
    assert_eq!(answer(request).await.0, 200);
    device.next("message").await;
    let (ended, log) = tokio::task::spawn_blocking(move || serve.stop()).await.unwrap();
    assert!(ended.success(), "{log:#?}");
    collector.take()
}

#[tokio::test]
async fn a_message_is_followed_from_the_request_of_a_backend_to_the_connection_of_the_reader() {
    let spans = collected("1").await;
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 0xf])
            .filter_map(|half| char::from_digit(half.into(), 16))
            .collect::<String>()
    };
    let of_trace: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let named = |name: &str| {
        let found: Vec<_> = of_trace.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", of_trace.iter().map(|span| &span.name).collect::<Vec<_>>());
        *found[0]
    };
    let request = named("POST /v1/messages");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    let send = named("send");
    let (commit, publish, consume, push) = (named("commit"), named("publish"), named("consume"), named("push"));
    for (child, parent) in [(send, request), (commit, send), (publish, send), (consume, publish), (push, consume)] {
        assert_eq!(child.parent_span_id, parent.span_id, "{} is under {}", child.name, parent.name);
        assert!(child.end_time_unix_nano >= child.start_time_unix_nano && child.start_time_unix_nano > 0);
    }
    assert!(commit.links.iter().any(|link| link.span_id == send.span_id), "a commit is linked with what is in it");
    assert!(spans.iter().any(|span| span.name == "POST /v1/sessions" && hex(&span.trace_id) != TRACE));
    let told = format!("{spans:?}");
    assert!(!told.contains("password-of") && !told.contains("\"hi\""), "{told}");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_followed_whatever_the_caller_says() {
    assert_eq!(collected("0").await, []);
}
