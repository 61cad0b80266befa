//! Probes and metrics.
//!
//! Alive is a process that answers. Ready is one that has read everything it watches, be it the leader or not: one that stands by
//! is as ready to lead as it can be. Neither looks at the API server or at a Kafka, whose outage no restart mends.

mod readiness;

pub use readiness::Readiness;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::telemetry::metrics;

/// What the handlers need.
#[derive(Clone)]
struct Told {
    readiness: Readiness,
    metrics: PrometheusHandle,
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(rendered))
        .with_state(Told { readiness, metrics })
}

async fn ready(State(told): State<Told>) -> Response {
    match told.readiness.waits_for() {
        None => "ok".into_response(),
        Some(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("waits for {what}\n")).into_response(),
    }
}

async fn rendered(State(told): State<Told>) -> Response {
    metrics::ready(told.readiness.waits_for().is_none());
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], told.metrics.render()).into_response()
}
