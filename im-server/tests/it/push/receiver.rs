//! A receiver of webhooks: a real HTTP server that keeps what it takes and answers as it is told.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The key of all receivers.
const KEY: &[u8] = b"a key of the tests, long enough";

/// A webhook that came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) id: String,
    pub(super) timestamp: u64,
    pub(super) signature: String,
    pub(super) text: String,
    pub(super) body: Value,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'static str>,
    pub(super) body: &'static str,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self { status, retry_after: None, body: "" }
    }
}

struct Inner {
    taken: Mutex<Vec<Taken>>,
    reply: Mutex<Reply>,
}

pub(super) struct Receiver {
    inner: Arc<Inner>,
    pub(super) url: String,
    serving: Mutex<Option<JoinHandle<()>>>,
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, text: String) -> impl IntoResponse {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json");
    inner.taken.lock().push(Taken {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap(),
        signature: header("webhook-signature"),
        body: serde_json::from_str(&text).unwrap(),
        text,
    });
    let Reply { status, retry_after, body } = *inner.reply.lock();
    let mut headers = HeaderMap::new();
    if let Some(after) = retry_after {
        headers.insert("retry-after", after.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, body)
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let inner = Arc::new(Inner { taken: Mutex::default(), reply: Mutex::new(Reply::status(200)) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
        let app = Router::new().route("/hook", post(take)).with_state(inner.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { inner, url, serving: Mutex::new(Some(serving)) }
    }

    /// The secret of all receivers, as it is set.
    pub(super) fn secret() -> String {
        format!("whsec_{}", STANDARD.encode(KEY))
    }

    /// The signature that a receiver expects.
    pub(super) fn signature(id: &str, timestamp: u64, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// From now on it answers so.
    pub(super) fn answer(&self, reply: Reply) {
        *self.inner.reply.lock() = reply;
    }

    /// What came since the last call.
    pub(super) fn taken(&self) -> Vec<Taken> {
        std::mem::take(&mut self.inner.taken.lock())
    }

    /// Whose devices were told since the last call, in order: `user/device`.
    pub(super) fn whom(&self) -> Vec<String> {
        let of = |told: &Taken| {
            format!("{}/{}", told.body["user"].as_str().unwrap(), told.body["device"].as_str().unwrap_or_default())
        };
        let mut whom: Vec<_> = self.taken().iter().map(of).collect();
        whom.sort();
        whom
    }

    /// Listens no more.
    pub(super) async fn stop(&self) {
        let serving = self.serving.lock().take();
        if let Some(serving) = serving {
            serving.abort();
            // It was cancelled.
            let _ = serving.await;
        }
    }
}
