//! The management port, for one gateway or for all played ones.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::life::{DrainOrder, Phase};
use super::one::{Change, Fault, Gateway, Report, Status, StillStarting};
use super::pods::Pods;

/// Who lives behind the port.
#[derive(Clone)]
pub enum Residents {
    /// One gateway, at every address.
    One(Arc<Gateway>),
    /// The gateway of each played pod, at the pod's address.
    Played(Arc<Pods>),
}

/// The address that a connection was made to.
#[derive(Clone, Copy, Debug)]
pub struct Called(Option<SocketAddr>);

impl Connected<IncomingStream<'_, TcpListener>> for Called {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        // None: it was gone before it was looked at.
        Self(stream.io().local_addr().ok())
    }
}

/// The paths of the management port, and `/test`. To be served with [`Called`] as the connect info.
pub fn router(residents: Residents) -> Router {
    let managed = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/drain", post(drain).delete(undo_drain))
        .layer(middleware::from_fn(fail));
    let test = Router::new().route("/test", get(report).put(change));
    managed.merge(test).layer(middleware::from_fn_with_state(residents, find))
}

/// Which pod is meant, where an address may have been another's a moment ago.
#[derive(Deserialize)]
struct Meant {
    pod: Option<String>,
}

/// Finds who is called.
async fn find(
    State(residents): State<Residents>,
    ConnectInfo(Called(address)): ConnectInfo<Called>,
    Query(meant): Query<Meant>,
    mut request: Request,
    next: Next,
) -> Response {
    let gateway = match (residents, address) {
        (Residents::One(gateway), _) => Some(gateway),
        (Residents::Played(pods), Some(address)) => pods.at(address.ip(), meant.pod.as_deref()).await,
        (Residents::Played(_), None) => None,
    };
    let Some(gateway) = gateway else {
        return problem(StatusCode::NOT_FOUND, "not_found", "no pod has this address, or not the one that is meant");
    };
    request.extensions_mut().insert(gateway);
    next.run(request).await
}

/// Does what is wrong with the gateway, if something is.
async fn fail(Extension(gateway): Extension<Arc<Gateway>>, request: Request, next: Next) -> Response {
    match gateway.fault() {
        Fault::None => next.run(request).await,
        Fault::Hang => std::future::pending().await,
        Fault::Error => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the test wants this error"),
    }
}

async fn ready(Extension(gateway): Extension<Arc<Gateway>>) -> Response {
    match gateway.status() {
        Status { phase: Phase::Serving, .. } => "ok".into_response(),
        Status { phase, waits_for: None, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "phase": phase }))).into_response()
        }
        Status { phase, waits_for, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "phase": phase, "waits_for": waits_for }))).into_response()
        }
    }
}

async fn metrics(Extension(gateway): Extension<Arc<Gateway>>) -> Response {
    let Status { phase, connections, .. } = gateway.status();
    let ready = u8::from(phase == Phase::Serving);
    let text =
        format!("# TYPE im_ready gauge\nim_ready {ready}\n# TYPE im_connections gauge\nim_connections {connections}\n");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(Extension(gateway): Extension<Arc<Gateway>>, headers: HeaderMap) -> Response {
    admitted(&gateway, &headers).map(|()| Json(gateway.look())).into_response()
}

async fn drain(Extension(gateway): Extension<Arc<Gateway>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = admitted(&gateway, &headers) {
        return refusal;
    }
    let order: DrainOrder = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", &error.to_string()),
    };
    if order.connections_per_second == 0 {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "connections_per_second: at least 1");
    }
    match gateway.obey(order) {
        Ok(status) => (StatusCode::ACCEPTED, Json(status)).into_response(),
        Err(StillStarting) => still_starting(),
    }
}

async fn undo_drain(Extension(gateway): Extension<Arc<Gateway>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = admitted(&gateway, &headers) {
        return refusal;
    }
    match gateway.undo() {
        Ok(status) => Json(status).into_response(),
        Err(StillStarting) => still_starting(),
    }
}

async fn report(Extension(gateway): Extension<Arc<Gateway>>) -> Json<Report> {
    Json(gateway.report())
}

async fn change(Extension(gateway): Extension<Arc<Gateway>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Change>(&body) {
        Ok(change) => Json(gateway.change(change)).into_response(),
        Err(error) => problem(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", &error.to_string()),
    }
}

/// Whether the caller has the management token.
#[allow(clippy::result_large_err, reason = "the answer is on its way at once")]
fn admitted(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Response> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given.and_then(|given| given.strip_prefix("Bearer ")) {
        Some(token) if gateway.admits(token) => Ok(()),
        _ => Err(problem(StatusCode::UNAUTHORIZED, "unauthorized", "this is not the management token")),
    }
}

fn still_starting() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is still starting: try again")
}

/// As im-server says what is wrong: RFC 9457.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "status": status.as_u16(), "title": title, "detail": detail, "code": code });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
