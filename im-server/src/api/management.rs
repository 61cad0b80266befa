//! The management port: probes, metrics, status. On another port than the API, so that an ingress never shows it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use im_protocol::{Epoch, ErrorCode, ServerId, WireError};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use serde::Serialize;

use super::auth::bearer_token;
use super::problem::{Answer, unknown_method, unknown_path};
use crate::chat::Secret;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Takes connections.
    Serving,
    /// Takes no new ones.
    Draining,
    /// Another process has taken its server id.
    Fenced,
}

/// How a server is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its id.
    pub server: ServerId,
    /// How many times the id has been taken; 0 before this process has taken it.
    pub epoch: Epoch,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the start waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Connections it holds now.
    pub connections: usize,
    /// The name of its topic; null where there is none, as in one process.
    pub topic: Option<String>,
    /// Records of its topic that it has not read; null if unknown.
    pub topic_lag: Option<u64>,
}

/// How the server is at the moment of the call.
pub type StatusNow = Arc<dyn Fn() -> Status + Send + Sync>;

/// The management port. It is there before the server is, so that a start that has to wait can be seen from outside.
pub struct Management {
    server: ServerId,
    token: Option<Secret>,
    metrics: PrometheusHandle,
    stage: Mutex<Stage>,
}

enum Stage {
    Starting { waits_for: Option<String> },
    Running(StatusNow),
}

impl Management {
    /// The management port of a server that is about to start. `token` opens `/status`; without one it stays closed.
    pub fn new(server: ServerId, token: Option<Secret>, metrics: PrometheusHandle) -> Arc<Self> {
        Arc::new(Self { server, token, metrics, stage: Mutex::new(Stage::Starting { waits_for: None }) })
    }

    /// What the process counts and times.
    pub fn metrics(&self) -> &PrometheusHandle {
        &self.metrics
    }

    /// Tells what the start waits for now.
    pub fn waits_for(&self, what: Option<String>) {
        *self.stage.lock() = Stage::Starting { waits_for: what };
    }

    /// The start is over: from now on the server speaks for itself.
    pub fn started(&self, status: StatusNow) {
        *self.stage.lock() = Stage::Running(status);
    }

    pub(crate) fn status(&self) -> Status {
        let status = match &*self.stage.lock() {
            Stage::Running(status) => status.clone(),
            Stage::Starting { waits_for } => {
                return Status {
                    server: self.server,
                    epoch: Epoch(0),
                    phase: Phase::Starting,
                    waits_for: waits_for.clone(),
                    connections: 0,
                    topic: None,
                    topic_lag: None,
                };
            }
        };
        status()
    }
}

/// The management port's paths.
pub fn management_router(management: Arc<Management>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(management)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
}

/// Why a server is not ready.
#[derive(Serialize)]
struct NotReady {
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
}

/// Ready does not ask for database or registry: their outage must not take every server out of service at once.
async fn ready(State(management): State<Arc<Management>>) -> Response {
    match management.status() {
        Status { phase: Phase::Serving, .. } => "ok".into_response(),
        Status { phase, waits_for, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { phase, waits_for })).into_response()
        }
    }
}

async fn metrics(State(management): State<Arc<Management>>) -> Response {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], management.metrics.render()).into_response()
}

async fn status(State(management): State<Arc<Management>>, headers: HeaderMap) -> Answer<Json<Status>> {
    let given = bearer_token(&headers)?;
    if management.token.as_ref().is_some_and(|token| token.matches(given)) {
        Ok(Json(management.status()))
    } else {
        Err(WireError::new(ErrorCode::Unauthorized, "this is not the management token").into())
    }
}
