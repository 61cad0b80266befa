//! The management port: probes, metrics, status. On another port than the API, so that an ingress never shows it.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use im_protocol::{Epoch, ErrorCode, ServerId, TimeMs, WireError};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::auth::bearer_token;
use super::extract::Body;
use super::problem::{Answer, Problem, unknown_method, unknown_path};
use crate::chat::Secret;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Takes connections.
    Serving,
    /// Sends its connections away, and takes no new ones in a moment.
    Draining,
    /// Has sent everyone away.
    Drained,
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
    /// The drain under way, or done.
    pub drain: Option<DrainStatus>,
}

/// How a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DrainStatus {
    /// When whoever is left is sent away at once: Unix milliseconds.
    pub deadline: TimeMs,
    /// Connections still to go.
    pub remaining: usize,
}

/// The body of `POST /drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct DrainRequest {
    /// Seconds until whoever is left is sent away at once; from the first order on, if there was one.
    pub deadline_seconds: u32,
    /// Connections sent away per second until then; at least 1.
    pub connections_per_second: u32,
}

/// A server as the management port sees it.
pub trait Managed: Send + Sync {
    /// How it is at the moment of the call.
    fn status(&self) -> Status;
    /// Begins to drain, or goes on with other values.
    fn drain(&self, request: DrainRequest);
    /// Takes the drain back.
    fn undo_drain(&self);
}

/// The management port. It is there before the server is, so that a start that has to wait can be seen from outside.
pub struct Management {
    server: ServerId,
    token: Option<Secret>,
    metrics: PrometheusHandle,
    stage: Mutex<Stage>,
}

enum Stage {
    Starting { waits_for: Option<String> },
    Running(Arc<dyn Managed>),
}

impl Management {
    /// The management port of a server that is about to start. `token` opens `/status` and `/drain`; without one they stay closed.
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
    pub fn started(&self, server: Arc<dyn Managed>) {
        *self.stage.lock() = Stage::Running(server);
    }

    /// How the server is, started or not.
    pub fn status(&self) -> Status {
        let server = match &*self.stage.lock() {
            Stage::Running(server) => server.clone(),
            Stage::Starting { waits_for } => {
                return Status {
                    server: self.server,
                    epoch: Epoch(0),
                    phase: Phase::Starting,
                    waits_for: waits_for.clone(),
                    connections: 0,
                    topic: None,
                    topic_lag: None,
                    drain: None,
                };
            }
        };
        server.status()
    }

    /// The server, once it can be told what to do.
    fn server(&self) -> Result<Arc<dyn Managed>, WireError> {
        match &*self.stage.lock() {
            Stage::Running(server) => Ok(server.clone()),
            Stage::Starting { .. } => Err(WireError {
                retry_after_ms: Some(1_000),
                ..WireError::new(ErrorCode::Unavailable, "the server is still starting: try again")
            }),
        }
    }
}

/// One who has the management token.
struct Admitted;

impl FromRequestParts<Arc<Management>> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, management: &Arc<Management>) -> Result<Self, Problem> {
        let given = bearer_token(&parts.headers)?;
        if management.token.as_ref().is_some_and(|token| token.matches(given)) {
            Ok(Self)
        } else {
            Err(WireError::new(ErrorCode::Unauthorized, "this is not the management token").into())
        }
    }
}

/// The management port's paths.
pub fn management_router(management: Arc<Management>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/drain", post(drain).delete(undo_drain))
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
    let Status { phase, connections, .. } = management.status();
    metrics::gauge!("im_ready").set(if phase == Phase::Serving { 1.0 } else { 0.0 });
    // Connections are far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    metrics::gauge!("im_connections").set(connections as f64);
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], management.metrics.render()).into_response()
}

async fn status(_: Admitted, State(management): State<Arc<Management>>) -> Json<Status> {
    Json(management.status())
}

async fn drain(
    _: Admitted,
    State(management): State<Arc<Management>>,
    Body(request): Body<DrainRequest>,
) -> Answer<(StatusCode, Json<Status>)> {
    if request.connections_per_second == 0 {
        return Err(WireError::invalid_field("connections_per_second", "at least 1").into());
    }
    let server = management.server()?;
    server.drain(request);
    Ok((StatusCode::ACCEPTED, Json(server.status())))
}

async fn undo_drain(_: Admitted, State(management): State<Arc<Management>>) -> Answer<Json<Status>> {
    let server = management.server()?;
    server.undo_drain();
    Ok(Json(server.status()))
}
