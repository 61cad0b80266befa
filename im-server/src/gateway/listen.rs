//! Accepting connections: HTTP with the upgrade to a WebSocket, and plain TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use im_protocol::close::CloseReason;
use im_protocol::server::GoAway;
use im_protocol::{ErrorCode, WireError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use super::outbox::{Framing, Outbox};
use super::peer::{self, TrustedProxies};
use super::session;
use super::tcp::TcpInput;
use super::websocket::WebSocketInput;
use super::{Admission, Gateway};
use crate::api::{Problem, unknown_method};
use crate::hub::Sink as _;

/// A request's head must arrive within this time, so that a slow one does not hold a socket for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused peer has to read why.
const GOODBYE: Duration = Duration::from_secs(1);

/// After a failed `accept` (no more file descriptors): others may be closed meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// `GET /v1/connect`.
pub fn connect_route(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/v1/connect", get(connect).fallback(unknown_method)).with_state(gateway)
}

async fn connect(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    if let Some(why) = refusal(&gateway) {
        let error = WireError::new(ErrorCode::Unavailable, format!("the server is {why}: connect again"));
        return Problem::new(WireError { retry_after_ms: Some(come_back_ms()), ..error }).into_response();
    }
    if let Err(error) = gateway.admission.limits.handshake(peer.ip()) {
        return Problem::new(error).into_response();
    }
    let head = match tungstenite_request(&request) {
        Ok(head) => head,
        Err(error) => return Problem::new(error).into_response(),
    };
    let response = match tungstenite::handshake::server::create_response(&head) {
        Ok(response) => response.map(|()| axum::body::Body::empty()),
        Err(error) => {
            let detail = format!("this path speaks WebSocket (RFC 6455): {error}");
            let mut response = Problem::new(WireError::invalid_frame(None, detail))
                .with_status(StatusCode::BAD_REQUEST)
                .into_response();
            response.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
            return response;
        }
    };
    let upgrade = hyper::upgrade::on(&mut request);
    gateway.clone().tasks.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("an upgraded connection is no TCP stream");
            return;
        };
        let read = parts.read_buf.to_vec();
        drop(parts.read_buf);
        let outbox = Outbox::new(parts.io.into_inner(), Framing::WebSocket, gateway.bounds);
        let input = WebSocketInput::new(outbox.clone(), read);
        session::run(gateway, outbox, input).await;
    });
    response
}

/// The head of the request, as the handshake wants it.
fn tungstenite_request(request: &Request) -> Result<axum::http::Request<()>, WireError> {
    let mut head =
        axum::http::Request::builder().method(request.method()).uri(request.uri()).version(request.version());
    if let Some(headers) = head.headers_mut() {
        headers.clone_from(request.headers());
    }
    head.body(()).map_err(|e| WireError::invalid_frame(None, e.to_string()))
}

/// Why nobody new is let in, in the word that `goaway` has for it.
fn refusal(gateway: &Gateway) -> Option<&'static str> {
    if !gateway.is_open() {
        Some("draining")
    } else if gateway.is_full() {
        Some("full")
    } else {
        None
    }
}

/// When to try again, for one who is refused: by then a balancer may send it elsewhere.
fn come_back_ms() -> u64 {
    rand::random_range(1_000..5_000)
}

/// Serves HTTP until the task is dropped. Behind `proxies` a request comes from whom they say. While `open` says no, a connection ends with the answer that is under way, so
/// that its next request finds another server.
pub async fn serve_http(listener: TcpListener, app: Router, proxies: TrustedProxies, open: watch::Receiver<bool>) {
    let proxies = Arc::new(proxies);
    loop {
        let (stream, peer) = accept(&listener).await;
        let app = app.clone();
        let proxies = proxies.clone();
        let mut open = open.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let mut request = request.map(axum::body::Body::new);
                let client = SocketAddr::new(proxies.client(peer.ip(), request.headers()), peer.port());
                request.extensions_mut().insert(ConnectInfo(client));
                app.clone().oneshot(request)
            });
            let was_open = *open.borrow();
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .keep_alive(was_open)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let shut = async {
                // A sender that is gone is the end of the process.
                let _ = open.wait_for(|open| !open).await;
            };
            let served = tokio::select! {
                served = connection.as_mut() => Some(served),
                () = shut, if was_open => None,
            };
            let served = if let Some(served) = served {
                served
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %error, "an HTTP connection broke");
            }
        });
    }
}

/// Serves the TCP framing until the task is dropped.
pub async fn serve_tcp(listener: TcpListener, gateway: Arc<Gateway>) {
    loop {
        let (stream, peer) = accept(&listener).await;
        let refused = refusal(&gateway);
        let task = converse(gateway.clone(), stream, peer.ip(), refused);
        gateway.tasks.spawn(task);
    }
}

/// One TCP connection from its first byte.
async fn converse(gateway: Arc<Gateway>, mut stream: TcpStream, peer: IpAddr, refused: Option<&'static str>) {
    let Admission { limits, proxies, proxy_protocol, .. } = &gateway.admission;
    let mut client = peer;
    if *proxy_protocol && proxies.contains(peer) {
        match tokio::time::timeout(HEAD_TIMEOUT, peer::proxied(&mut stream)).await {
            Ok(Ok(said)) => client = said.unwrap_or(peer),
            // Without the header the proxy's whole traffic would count as one address: better to fail in the open.
            Ok(Err(error)) => return tracing::warn!(%peer, %error, "a proxy does not speak the PROXY protocol"),
            Err(_) => return tracing::warn!(%peer, "a proxy did not say whom it speaks for in time"),
        }
    }
    let outbox = Outbox::new(stream, Framing::Tcp, gateway.bounds);
    if let Some(why) = refused {
        outbox.send_away(GoAway { reason: why.to_owned(), reconnect_after_ms: come_back_ms() });
        outbox.finish(CloseReason::GoingAway, GOODBYE).await;
    } else if limits.handshake(client).is_err() {
        outbox.finish(CloseReason::TooManyRequests, GOODBYE).await;
    } else {
        let input = TcpInput::new(outbox.clone());
        session::run(gateway, outbox, input).await;
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Frames are small and wanted at once; a socket that refuses the option still works.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
