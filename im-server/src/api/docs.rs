//! `/openapi.json`, and `/docs`: the document for people, without assets from elsewhere.

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use utoipa::openapi::OpenApi;

use super::web::page;

pub(super) fn router(document: &OpenApi) -> Router {
    let json = document.to_pretty_json().expect("an OpenAPI document is JSON");
    Router::new()
        .route("/openapi.json", asset("application/json", json))
        .route("/docs", asset("text/html", include_str!("docs/index.html")))
        .route("/docs/docs.js", asset("text/javascript", include_str!("docs/docs.js")))
        .route("/docs/docs.css", asset("text/css", include_str!("docs/docs.css")))
}

fn asset(mime: &'static str, content: impl Into<Bytes>) -> axum::routing::MethodRouter {
    let content: Bytes = content.into();
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(&content)));
    get(move |headers: HeaderMap| async move { page(mime, &etag, content, &headers).into_response() })
}
