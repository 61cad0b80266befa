//! The management port: probes, metrics, status. On another port than the API, so that an ingress never shows it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use im_protocol::{Epoch, ErrorCode, ServerId, WireError};
use metrics_exporter_prometheus::PrometheusHandle;
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
    /// How many times the id has been taken.
    pub epoch: Epoch,
    /// Where it is in its life.
    pub phase: Phase,
    /// Connections it holds now.
    pub connections: usize,
    /// The name of its topic; null where there is none, as in one process.
    pub topic: Option<String>,
    /// Records of its topic that it has not read; null if unknown.
    pub topic_lag: Option<u64>,
}

/// What the management port shows.
#[derive(Clone)]
pub struct ManagementState {
    /// How the server is at the moment of the call.
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    /// Opens `/status`; without one it stays closed.
    pub token: Option<Secret>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
}

/// The management port's paths.
pub fn management_router(state: ManagementState) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(state)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
}

/// Ready does not ask for database or registry: their outage must not take every server out of service at once.
async fn ready(State(state): State<ManagementState>) -> Response {
    match (state.status)().phase {
        Phase::Serving => "ok".into_response(),
        phase => (StatusCode::SERVICE_UNAVAILABLE, Json(phase)).into_response(),
    }
}

async fn metrics(State(state): State<ManagementState>) -> Response {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], state.metrics.render()).into_response()
}

async fn status(State(state): State<ManagementState>, headers: HeaderMap) -> Answer<Json<Status>> {
    let given = bearer_token(&headers)?;
    if state.token.is_some_and(|token| token.matches(given)) {
        Ok(Json((state.status)()))
    } else {
        Err(WireError::new(ErrorCode::Unauthorized, "this is not the management token").into())
    }
}
