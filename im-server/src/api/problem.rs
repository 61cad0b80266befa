//! What went wrong, as RFC 9457 `application/problem+json`.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use im_protocol::{ErrorCode, WireError};
use serde::Serialize;
use utoipa::ToSchema;

/// An error on its way to an HTTP client.
#[derive(Debug, Clone)]
pub struct Problem(pub WireError, pub StatusCode);

/// What a handler answers.
pub(super) type Answer<T> = Result<T, Problem>;

/// A problem's document.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What the code means.
    title: String,
    /// What is wrong here, for a developer.
    detail: String,
    /// One of the closed list of codes; the socket uses the same.
    code: ErrorCode,
    /// The field that is wrong, as a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// When to try again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// A problem with the status that its code has.
    pub fn new(error: WireError) -> Self {
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self(error, status)
    }

    /// The same problem under another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self(self.0, status)
    }
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        Self::new(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(error, status) = self;
        let document = Document {
            status: status.as_u16(),
            title: error.code.meaning().trim().trim_end_matches('.').to_owned(),
            detail: error.message,
            code: error.code,
            field: error.field,
            retry_after_ms: error.retry_after_ms,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = error.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 names a scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer to a path that does not exist.
pub async fn unknown_path() -> Problem {
    Problem::new(WireError::new(ErrorCode::NotFound, "there is no such path: /docs lists those there are"))
}

/// The answer to a method that a path does not have.
pub async fn unknown_method() -> Problem {
    Problem::new(WireError::new(ErrorCode::MethodNotAllowed, "the path exists, the method does not: see /docs"))
}

/// The answer when a handler panicked. The panic itself is in the log.
#[allow(clippy::needless_pass_by_value)] // the layer that calls it gives it away
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(panic = what.as_deref().unwrap_or("without words"), "a handler panicked");
    let detail = "the server has a fault; its log has the details";
    Problem::new(WireError::new(ErrorCode::Internal, detail)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn document(problem: Problem) -> (axum::http::response::Parts, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_says_status_title_detail_and_code() {
        let (parts, body) = document(Problem::new(WireError::new(ErrorCode::NotFound, "gone"))).await;
        assert_eq!(parts.status, 404);
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json");
        let title = "There is no such thing";
        assert_eq!(body, serde_json::json!({"status": 404, "title": title, "detail": "gone", "code": "not_found"}));
    }

    #[tokio::test]
    async fn a_wrong_field_is_named() {
        let (parts, body) = document(WireError::invalid_field("name", "is empty").into()).await;
        assert_eq!((parts.status.as_u16(), &body["field"]), (422, &"name".into()));
    }

    #[tokio::test]
    async fn who_is_too_fast_is_told_to_wait_at_least_a_second() {
        for (ms, seconds) in [(1, "1"), (1000, "1"), (1001, "2")] {
            let (parts, body) = document(WireError::rate_limited("slow down", ms).into()).await;
            assert_eq!(parts.status, 429);
            assert_eq!(parts.headers[header::RETRY_AFTER], seconds);
            assert_eq!(body["retry_after_ms"], ms);
        }
    }

    #[tokio::test]
    async fn a_401_names_the_scheme() {
        let (parts, _) = document(WireError::new(ErrorCode::TokenExpired, "old").into()).await;
        assert_eq!(parts.headers[header::WWW_AUTHENTICATE], "Bearer");
    }
}
