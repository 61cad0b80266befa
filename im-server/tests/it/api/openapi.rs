//! The `OpenAPI` document and the page that shows it.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;

use super::harness::Api;

/// The endpoints of `docs/protocol.md` that there are.
const ENDPOINTS: &str = "
    POST /v1/accounts
    POST /v1/sessions · GET /v1/sessions · POST /v1/sessions/refresh
    DELETE /v1/sessions/current · DELETE /v1/sessions/{id}
    GET /v1/users · GET /v1/users/{user} · GET /v1/users/me · PATCH /v1/users/me
    POST /v1/friend-requests · GET /v1/friend-requests
    POST /v1/friend-requests/{id}/accept · POST /v1/friend-requests/{id}/reject
    GET /v1/friends · PATCH /v1/friends/{user} · DELETE /v1/friends/{user}
    GET /v1/blocks · PUT /v1/blocks/{user} · DELETE /v1/blocks/{user}
    POST /v1/groups · GET /v1/groups · GET /v1/groups/search
    GET /v1/groups/{group} · PATCH /v1/groups/{group} · DELETE /v1/groups/{group}
    GET /v1/groups/{group}/members · POST /v1/groups/{group}/members
    PATCH /v1/groups/{group}/members/{user} · DELETE /v1/groups/{group}/members/{user}
    POST /v1/groups/{group}/join-requests · GET /v1/groups/{group}/join-requests
    POST /v1/groups/{group}/join-requests/{id}/accept · POST /v1/groups/{group}/join-requests/{id}/reject
    POST /v1/rooms
    POST /v1/messages
    GET /v1/conversations · GET /v1/conversations/{conversation}
    PATCH /v1/conversations/{conversation} · DELETE /v1/conversations/{conversation}
    PUT /v1/conversations/{conversation}/read
    GET /v1/conversations/{conversation}/messages
    GET /v1/conversations/{conversation}/messages/{seq}/readers
    DELETE /v1/conversations/{conversation}/messages/{seq}";

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

async fn document(api: &Api) -> Value {
    api.get("/openapi.json", "").await.ok()
}

/// `METHOD path` of every operation.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |verb| format!("{} {path}", verb.to_uppercase()))
        })
        .collect()
}

#[tokio::test]
async fn the_document_names_every_endpoint_and_no_other() {
    let api = Api::new().await;
    let document = document(&api).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let endpoints: BTreeSet<String> =
        ENDPOINTS.split(['\n', '·']).map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    assert_eq!(operations(&document), endpoints);
}

#[tokio::test]
async fn what_the_document_names_is_routed_and_what_it_does_not_name_is_not() {
    let api = Api::new().await;
    let document = document(&api).await;
    let named = operations(&document);
    for path in document["paths"].as_object().unwrap().keys() {
        let concrete = path.replace("{conversation}", "g:x").replace("{seq}", "1").replace(['{', '}'], "");
        for method in METHODS {
            let answer = api.call(method.clone(), &concrete, "", Value::Null).await;
            assert_eq!(
                answer.status != 405,
                named.contains(&format!("{method} {path}")),
                "{method} {path}: {answer:?}"
            );
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn every_operation_says_who_may_and_how_it_fails() {
    let api = Api::new().await;
    let document = document(&api).await;
    let open = ["POST /v1/sessions", "POST /v1/sessions/refresh"];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", verb.to_uppercase());
            assert_eq!(operation["security"].is_array(), !open.contains(&name.as_str()), "{name}");
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{name}");
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{name}");
            let ids: Vec<&str> = path.split('/').filter(|part| part.starts_with('{')).collect();
            let described = operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path");
            assert_eq!(described.count(), ids.len(), "{name}");
        }
    }
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    fn references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                into.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, into));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, into)),
            _ => {}
        }
    }
    let document = document(&Api::new().await).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_docs_page_loads_only_what_its_policy_allows() {
    let api = Api::new().await;
    let page = api.get("/docs", "").await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"));
    let html = page.body.as_str().unwrap();
    assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("://"));
    for (asset, mime) in
        [("/docs/docs.js", "text/javascript; charset=utf-8"), ("/docs/docs.css", "text/css; charset=utf-8")]
    {
        assert!(html.contains(asset));
        assert_eq!(api.get(asset, "").await.headers["content-type"], mime);
    }
}
