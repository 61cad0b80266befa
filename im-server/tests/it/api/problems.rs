//! Whatever is wrong, the answer is a problem.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::harness::Api;

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems_too() {
    let api = Api::new().await;
    for path in ["/v2", "/v1", "/v1/nothing", "/web/nothing.js", "/v1/users/bob/more", "/v1/search/messages"] {
        assert_eq!(api.get(path, "").await.problem(), (404, "not_found"), "{path}");
    }
    for (method, path) in [
        (Method::GET, "/v1/accounts"),
        (Method::PUT, "/v1/users/me"),
        (Method::POST, "/"),
        (Method::DELETE, "/openapi.json"),
        (Method::PATCH, "/v1/conversations/g:x/messages/1"),
    ] {
        let answer = api.call(method, path, "", Value::Null).await;
        assert_eq!(answer.problem(), (405, "method_not_allowed"), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_not_sniffed() {
    let api = Api::new().await;
    let made = api.get("/nothing", "").await;
    assert!(!made.headers["x-request-id"].is_empty());
    assert_eq!(made.headers["x-content-type-options"], "nosniff");
    assert_eq!(made.headers["cache-control"], "no-store");
    let request = Request::get("/v1/users/me").header("x-request-id", "trace-7").body(Body::empty()).unwrap();
    assert_eq!(api.raw(request).await.headers["x-request-id"], "trace-7");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_parsed() {
    let api = Api::new().await;
    let body = format!(r#"{{"user":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(api.post("/v1/sessions", "", json!(body)).await.problem(), (413, "too_large"));
}

#[tokio::test]
async fn ten_thousand_members_in_one_call_are_too_many() {
    let api = Api::new().await;
    let token = api.person("alice").await;
    let members: Vec<String> = (0..10_000).map(|n| format!("u{n}")).collect();
    assert_eq!(api.post("/v1/groups", &token, json!({"members": members})).await.problem(), (413, "too_large"));
}

#[tokio::test]
async fn bytes_that_are_not_text_are_broken_json() {
    let api = Api::new().await;
    let token = api.person("alice").await;
    for path in ["/v1/messages", "/v1/groups"] {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(&b"{\"to\":\"\xff\xfe\"}"[..]))
            .unwrap();
        assert_eq!(api.raw(request).await.problem(), (400, "invalid_frame"), "{path}");
    }
}
