//! `/` and `/web/…`: the web client, embedded. In debug builds it is read from the disk, so that a reload shows an edit.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_embed::{Embed, EmbeddedFile};

use super::problem::unknown_path;

/// Only what this server serves is loaded, run or talked to; nothing inline, nobody may frame it.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; \
     font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

#[derive(Embed)]
#[folder = "../web"]
#[exclude = "test/*"]
#[exclude = "tests/*"]
#[exclude = "node_modules/*"]
#[exclude = "tsconfig*.json"]
#[exclude = "package*.json"]
#[exclude = "*.test.js"]
struct Web;

pub(super) fn router() -> Router {
    Router::new().route("/", get(file)).route("/web/{*path}", get(file))
}

async fn file(request: Request) -> Response {
    let path = request.uri().path();
    let name = if path == "/" { "index.html" } else { path.trim_start_matches("/web/") };
    match Web::get(name) {
        Some(file) => page(file.metadata.mimetype(), &etag(&file), file.data.into_owned(), request.headers()),
        None => unknown_path().await.into_response(),
    }
}

fn etag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(file.metadata.sha256_hash()))
}

/// A file for a browser: asked for again each time, sent again only when it changed.
pub(super) fn page(mime: &str, etag: &str, content: impl Into<axum::body::Body>, asked: &HeaderMap) -> Response {
    let known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        // Weak comparison (RFC 9110 §13.1.2): a proxy that compresses marks the tag as weak.
        .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag);
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(content.into()) };
    let headers = response.headers_mut();
    if !known {
        let text = mime.starts_with("text/") || mime.contains("javascript") || mime.contains("svg");
        let mime = if text { format!("{mime}; charset=utf-8") } else { mime.to_owned() };
        headers.extend(HeaderValue::from_str(&mime).map(|mime| (header::CONTENT_TYPE, mime)));
    }
    headers.extend(HeaderValue::from_str(etag).map(|etag| (header::ETAG, etag)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    response
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    async fn call(path: &str, etag: Option<&str>) -> Response {
        let mut request = Request::get(path);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        router().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn the_page_comes_with_its_policy() {
        let page = call("/", None).await;
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let etag = call("/", None).await.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert_eq!(call("/", Some(&etag)).await.status(), 304);
        assert_eq!(call("/", Some(&format!("\"other\", W/{etag}"))).await.status(), 304);
        assert_eq!(call("/", Some("\"other\"")).await.status(), 200);
    }

    #[tokio::test]
    async fn what_is_not_the_page_is_not_served() {
        for path in [
            "/web/nothing.js",
            "/web/tsconfig.json",
            "/web/../Cargo.toml",
            "/web/%2e%2e/Cargo.toml",
            "/web//etc/passwd",
        ] {
            assert_eq!(call(path, None).await.status(), 404, "{path}");
        }
    }
}
