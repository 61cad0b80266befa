//! Around every request: its id, its time limit, its line in the log, its place in the metrics.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use im_protocol::{ErrorCode, WireError};
use tracing::Instrument;

use super::problem::Problem;
use crate::telemetry::trace;

/// A request that takes longer is given up: by then its caller has.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// W3C Trace Context, 3.2.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a request id that someone else made.
const REQUEST_ID_CHARS: usize = 100;

pub(super) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers().get(REQUEST_ID));
    let method = request.method().clone();
    // The template, not the path: it is few, and holds nobody's data.
    let path = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = %id.to_str().unwrap_or_default(), %method, path);
    let caller = request.headers().get(TRACEPARENT).and_then(|context| context.to_str().ok());
    let mut followed = trace::Span::at_the_edge(|| format!("{} {path}", method_label(&method)), caller);
    let answer = tokio::time::timeout(TIME_LIMIT, next.run(request)).instrument(span.clone());
    let handled = match &followed {
        Some(followed) => trace::within(followed, answer).await,
        None => answer.await,
    };
    let mut response = handled.unwrap_or_else(|_| {
        let detail = "the request took longer than 30 s: try again";
        Problem::new(WireError::new(ErrorCode::Unavailable, detail)).into_response()
    });

    let status = response.status();
    if let Some(followed) = &mut followed {
        followed.note("http.response.status_code", status.as_u16().into());
        if status.is_server_error() {
            followed.fail("server error");
        }
    }
    drop(followed);
    let elapsed = started.elapsed();
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), ?elapsed, "answered");
        } else {
            tracing::debug!(status = status.as_u16(), ?elapsed, "answered");
        }
    });
    let method = method_label(&method);
    metrics::counter!("im_http_requests_total", "method" => method, "path" => path.clone(), "status" => status.as_str().to_owned())
        .increment(1);
    metrics::histogram!("im_http_request_seconds", "method" => method, "path" => path).record(elapsed);

    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // What the API says is about someone, and may be a token.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The caller's id for the request, if it is one that a log can take; else a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'=');
        (1..=REQUEST_ID_CHARS).contains(&id.len()) && id.as_bytes().iter().all(allowed)
    };
    given.filter(sane).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&ulid::Ulid::generate().to_string()).expect("a ULID is letters and digits")
    })
}

/// The methods there are: a label must not be what a stranger makes up.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_is_replaced() {
        let kept = HeaderValue::from_static("4bf92f35-77b3_x.1");
        assert_eq!(request_id(Some(&kept)), kept);
        let long = HeaderValue::from_str(&"x".repeat(101)).unwrap();
        for bad in ["", "a b", "\"quoted\""].map(HeaderValue::from_static).iter().chain([&long]) {
            assert_ne!(request_id(Some(bad)), bad);
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
