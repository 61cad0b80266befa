//! Bodies, paths and queries into types; what does not fit is a problem that names the field.

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::StreamExt as _;
use im_protocol::{ErrorCode, WireError};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::Problem;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawBody(text) = RawBody::from_request(request, state).await?;
        let mut source = serde_json::Deserializer::from_str(&text);
        let value = serde_path_to_error::deserialize::<_, T>(&mut source).map_err(|error| {
            let path = error.path().to_string();
            json_problem(Some(path), error.inner())
        })?;
        source.end().map_err(|error| json_problem(None, &error))?;
        Ok(Self(value))
    }
}

/// How many bytes of a body are taken.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit(pub(super) usize);

impl Default for BodyLimit {
    /// What axum takes where a router says nothing: 2 MiB.
    fn default() -> Self {
        Self(2 * 1024 * 1024)
    }
}

/// Bytes over the limit that are read and thrown away. Who is still sending when the connection closes sees a reset in
/// place of the answer.
const DISCARDED: usize = 16 * 1024 * 1024;

/// A body's text, up to the limit.
pub(super) struct RawBody(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let BodyLimit(limit) = request.extensions().get().copied().unwrap_or_default();
        let mut chunks = request.into_body().into_data_stream();
        let mut bytes = Vec::new();
        let mut seen = 0_usize;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| broken(format!("the body cannot be read: {error}")))?;
            seen += chunk.len();
            if seen <= limit {
                bytes.extend_from_slice(&chunk);
            } else if seen > limit + DISCARDED {
                break;
            }
        }
        if seen > limit {
            return Err(Problem::new(WireError::new(ErrorCode::TooLarge, "the body is larger than this path takes")));
        }
        String::from_utf8(bytes).map(Self).map_err(|_| broken("the body is not UTF-8".to_owned()))
    }
}

/// What is wrong with a JSON body: broken JSON is 400, a field that does not fit 422.
fn json_problem(path: Option<String>, error: &serde_json::Error) -> Problem {
    if error.classify() != Category::Data {
        return broken(format!("the body is not JSON: {error}"));
    }
    let said = error.to_string();
    // "at line 1 column 7" helps nobody who sent one line, and the path says more.
    let said = said.split(" at line ").next().unwrap_or_default();
    let path = path.filter(|path| path != "." && path != "?");
    let field = match said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        Some(missing) => Some(path.map_or_else(|| missing.to_owned(), |path| format!("{path}.{missing}"))),
        None => path,
    };
    match field {
        Some(field) => Problem::new(WireError::invalid_field(field, said)),
        None => Problem::new(WireError::invalid_frame(None, format!("the body must be a JSON object: {said}"))),
    }
}

pub(super) fn broken(detail: String) -> Problem {
    Problem::new(WireError::invalid_frame(None, detail)).with_status(StatusCode::BAD_REQUEST)
}

/// Parameters in the path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(rejection) => {
                let names = RawPathParams::from_request_parts(parts, state).await;
                let first = names.ok().and_then(|names| names.iter().next().map(|(name, _)| name.to_owned()));
                Err(path_problem(rejection, first.as_deref().unwrap_or("path")))
            }
        }
    }
}

/// What is wrong with a path; `only` is the parameter's name where the error does not say one, as there is but one.
fn path_problem(rejection: PathRejection, only: &str) -> Problem {
    let wrong = |field: &str, said: String| Problem::new(WireError::invalid_field(field, said));
    match rejection {
        PathRejection::FailedToDeserializePathParams(inner) => match inner.into_kind() {
            ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
                wrong(&key, format!("must be of type {expected_type}"))
            }
            ErrorKind::DeserializeError { key, message, .. } => wrong(&key, message),
            ErrorKind::InvalidUtf8InPathParam { key } => wrong(&key, "is not UTF-8".to_owned()),
            kind => wrong(only, kind.to_string()),
        },
        rejection => {
            tracing::error!(%rejection, "a handler asks for a path that its route does not have");
            Problem::new(WireError::new(ErrorCode::Internal, "the server has a fault; its log has the details"))
        }
    }
}

/// Parameters in the query; an empty one counts as absent.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let given = |pair: &&str| pair.split_once('=').is_some_and(|(_, value)| !value.is_empty());
        let query = parts.uri.query().unwrap_or_default().split('&').filter(given).collect::<Vec<_>>().join("&");
        let source = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(source).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "query".to_owned() } else { path };
            Problem::new(WireError::invalid_field(field, error.inner()))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request as HttpRequest;
    use im_protocol::UserId;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Asked {
        user: UserId,
        count: Option<u32>,
        members: Option<Vec<UserId>>,
    }

    async fn body(text: &str) -> Result<Asked, (u16, String, Option<String>)> {
        let request = HttpRequest::new(axum::body::Body::from(text.to_owned()));
        let told = |Problem(error, status): Problem| (status.as_u16(), error.code.to_string(), error.field);
        Body::<Asked>::from_request(request, &()).await.map(|body| body.0).map_err(told)
    }

    async fn query(query: &str) -> Result<Asked, Option<String>> {
        let (mut parts, ()) = HttpRequest::builder().uri(format!("/?{query}")).body(()).unwrap().into_parts();
        Query::<Asked>::from_request_parts(&mut parts, &())
            .await
            .map(|query| query.0)
            .map_err(|problem| problem.0.field)
    }

    #[tokio::test]
    async fn null_is_absent_and_unknown_fields_are_ignored() {
        let asked = body(r#"{"user":"bob","count":null,"later":[1]}"#).await.unwrap();
        assert_eq!((asked.user.as_str(), asked.count), ("bob", None));
    }

    #[tokio::test]
    async fn broken_json_is_400() {
        for text in ["", "{", "nonsense", r#"{"user":"bob"} x"#, "{\"user\":\"\u{1}\"}"] {
            assert_eq!(body(text).await, Err((400, "invalid_frame".into(), None)), "{text:?}");
        }
    }

    #[tokio::test]
    async fn json_that_is_no_object_is_422() {
        for text in ["3", "null", "\"x\""] {
            assert_eq!(body(text).await, Err((422, "invalid_frame".into(), None)), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_field_that_does_not_fit_is_named_by_its_path() {
        for (text, field) in [
            (r#"{"user":7}"#, "user"),
            (r#"{"user":"a b"}"#, "user"),
            (r#"{"user":null}"#, "user"),
            (r#"{"count":1}"#, "user"),
            (r#"{"user":"bob","count":"1"}"#, "count"),
            (r#"{"user":"bob","members":["x","y z"]}"#, "members[1]"),
        ] {
            assert_eq!(body(text).await, Err((422, "invalid_field".into(), Some(field.into()))), "{text}");
        }
    }

    #[tokio::test]
    async fn an_empty_parameter_is_absent() {
        assert_eq!(query("user=bob&count=&x").await.unwrap().count, None);
        assert_eq!(query("user=bob&count=3").await.unwrap().count, Some(3));
    }

    #[tokio::test]
    async fn a_parameter_that_does_not_fit_is_named() {
        assert_eq!(query("user=bob&count=-1").await.unwrap_err().as_deref(), Some("count"));
        assert_eq!(query("user=b%20b").await.unwrap_err().as_deref(), Some("user"));
    }
}
