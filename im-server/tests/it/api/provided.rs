//! The API where an identity provider signs people in.

use im_server::api::AddressLimits;
use im_server::chat::{Checks, ProviderKeys, Refresher, Settings, Tokens};
use serde_json::{Value, json};

use super::harness::{Api, SERVICE_TOKEN};
use crate::provider::{ProviderKey, key_set};

async fn provided() -> (Api, ProviderKey, Refresher) {
    let key = ProviderKey::new("k1");
    let keys = ProviderKeys::parse(key_set(&[&key]).as_bytes()).unwrap();
    let (tokens, refresher) = Tokens::of_provider(keys, &Checks::default());
    let settings = Settings { open_registration: true, ..Settings::default() };
    (Api::with_tokens(settings, AddressLimits::none(), tokens).await, key, refresher)
}

#[tokio::test]
async fn an_account_is_made_by_the_first_call_under_the_provider_s_name() {
    let (api, key, _refresher) = provided().await;
    for (user, name, shown) in [
        ("alice", json!("Alice A."), "Alice A."),
        ("bob", Value::Null, "bob"),
        ("carol", json!("\u{7}"), "carol"),
        ("dave", json!(["Dave"]), "dave"),
    ] {
        let me = api.get("/v1/users/me", &key.token(user, &json!({ "name": name }))).await.ok();
        assert_eq!((&me["user"], &me["name"]), (&json!(user), &json!(shown)));
    }
    let token = key.token("alice", &json!({"name": "Alice B."}));
    api.patch("/v1/users/me", &token, json!({"name": "Ali"})).await.ok();
    assert_eq!(api.get("/v1/users/me", &token).await.ok()["name"], "Ali", "a name that was changed here stays");
}

#[tokio::test]
async fn nobody_comes_in_as_someone_who_is_spelled_almost_alike() {
    let (api, key, _refresher) = provided().await;
    api.get("/v1/users/me", &key.token("alice", &Value::Null)).await.ok();
    let answer = api.get("/v1/users/me", &key.token("Alice", &Value::Null)).await;
    assert_eq!(answer.problem(), (401, "unauthorized"));
}

#[tokio::test]
async fn a_token_that_is_not_good_says_why() {
    let (api, key, _refresher) = provided().await;
    let answer = api.get("/v1/users/me", &key.token("auth0|1", &Value::Null)).await;
    assert_eq!(answer.problem(), (401, "unauthorized"));
    assert!(answer.body["detail"].as_str().unwrap().contains("sub"), "{answer:?}");
    assert_eq!(
        api.get("/v1/users/me", &key.token("alice", &json!({"exp": 1_600_000_000}))).await.problem(),
        (401, "token_expired")
    );
    let other = ProviderKey::new("k1").token("alice", &Value::Null);
    assert_eq!(api.get("/v1/users/me", &other).await.problem(), (401, "unauthorized"));
}

#[tokio::test]
async fn passwords_and_refresh_tokens_are_the_provider_s() {
    let (api, key, _refresher) = provided().await;
    let sign_in = json!({"user": "alice", "password": "password of alice", "terminal": "web", "device": "d"});
    assert_eq!(api.post("/v1/sessions", "", sign_in).await.problem(), (403, "forbidden"));
    let refresh = json!({"refresh_token": "x"});
    assert_eq!(api.post("/v1/sessions/refresh", "", refresh).await.problem(), (401, "unauthorized"));
    let mut account = json!({"user": "alice", "name": "Alice", "password": "password of alice"});
    assert_eq!(api.post("/v1/accounts", "", account.clone()).await.problem(), (403, "forbidden"));
    let with_password = api.post("/v1/accounts", SERVICE_TOKEN, account.clone()).await;
    assert_eq!((with_password.problem(), &with_password.body["field"]), ((422, "invalid_field"), &json!("password")));

    account.as_object_mut().unwrap().remove("password");
    assert_eq!(api.post("/v1/accounts", SERVICE_TOKEN, account).await.status, 201, "before she first comes");
    let token = key.token("alice", &json!({"name": "Other"}));
    assert_eq!(api.get("/v1/users/me", &token).await.ok()["name"], "Alice");
    assert_eq!(api.get("/v1/sessions", &token).await.ok()["items"], json!([]), "no device has said hello");
    assert_eq!(api.delete("/v1/sessions/current", &token).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn where_passwords_are_used_an_account_needs_one() {
    let api = Api::new().await;
    let account = api.post("/v1/accounts", SERVICE_TOKEN, json!({"user": "alice", "name": "Alice"})).await;
    assert_eq!((account.problem(), &account.body["field"]), ((422, "invalid_field"), &json!("password")));
}
