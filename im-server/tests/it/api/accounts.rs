//! Accounts and users.

use im_server::api::AddressLimits;
use im_server::chat::Settings;
use serde_json::{Value, json};

use super::harness::{Api, SERVICE_TOKEN, each};

fn account(user: &str, password: &str, name: &str) -> Value {
    json!({"user": user, "password": password, "name": name})
}

#[tokio::test]
async fn an_account_is_made_once_whatever_the_case() {
    let api = Api::new().await;
    let made = api.post("/v1/accounts", "", account("Alice", "long enough", "  Alice A.  ")).await;
    assert_eq!((made.status, made.body), (201, json!({"user": "Alice", "name": "Alice A."})));
    let again = api.post("/v1/accounts", "", account("aLICE", "long enough", "x")).await;
    assert_eq!(again.problem(), (409, "already_exists"));
}

#[tokio::test]
async fn what_is_wrong_with_a_new_account_is_named() {
    let api = Api::new().await;
    for (body, field) in [
        (account("a b", "long enough", "x"), "user"),
        (account("me", "long enough", "x"), "user"),
        (account("", "long enough", "x"), "user"),
        (account(&"x".repeat(65), "long enough", "x"), "user"),
        (account("bob", "short", "x"), "password"),
        (account("bob", &"x".repeat(129), "x"), "password"),
        (account("bob", "long enough", "   "), "name"),
        (account("bob", "long enough", "a\u{7}b"), "name"),
        (account("bob", "long enough", &"x".repeat(101)), "name"),
        (json!({"user": "bob", "password": "long enough"}), "name"),
    ] {
        let answer = api.post("/v1/accounts", "", body.clone()).await;
        assert_eq!(answer.problem(), (422, "invalid_field"), "{body}");
        assert_eq!(answer.body["field"], field, "{body}");
    }
}

#[tokio::test]
async fn where_registration_is_closed_only_a_backend_makes_accounts() {
    let api = Api::with(Settings::default(), AddressLimits::none()).await;
    let refused = api.post("/v1/accounts", "", account("bob", "long enough", "Bob")).await;
    assert_eq!(refused.problem(), (403, "forbidden"));
    assert_eq!(api.post("/v1/accounts", SERVICE_TOKEN, account("bob", "long enough", "Bob")).await.status, 201);
}

#[tokio::test]
async fn the_sixty_first_account_of_a_minute_from_one_address_waits() {
    let settings = Settings { open_registration: true, ..Settings::default() };
    let api = Api::with(settings, AddressLimits::times(1)).await;
    // Refused for its password, so that the test does not wait for sixty hashes; counted all the same.
    let attempt = || api.post("/v1/accounts", "", account("bob", "short", "x"));
    for _ in 0..60 {
        assert_eq!(attempt().await.status, 422);
    }
    let refused = attempt().await;
    assert_eq!(refused.problem(), (429, "rate_limited"));
    assert!(refused.body["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(refused.headers["retry-after"], "1");
}

#[tokio::test]
async fn people_find_each_other_and_show_themselves() {
    let api = Api::new().await;
    let token = api.person("Alice").await;
    api.person("alex").await;
    api.person("bob").await;

    let found = api.get("/v1/users?query=AL", &token).await.ok();
    assert_eq!(each(&found, "user"), ["Alice", "alex"]);
    let first = api.get("/v1/users?query=al&limit=1", &token).await.ok();
    let next = api.get(&format!("/v1/users?query=al&cursor={}", first["next"].as_str().unwrap()), &token).await.ok();
    assert_eq!((each(&first, "user"), each(&next, "user")), (vec!["Alice"], vec!["alex"]));
    assert_eq!(next["next"], Value::Null);

    let avatar = "https://example.org/a.png";
    let changed = api.patch("/v1/users/me", &token, json!({"name": "A. Liddell", "avatar": avatar})).await.ok();
    assert_eq!(changed, json!({"user": "Alice", "name": "A. Liddell", "avatar": avatar}));
    assert_eq!(api.get("/v1/users/me", &token).await.ok(), changed);
    assert_eq!(api.get("/v1/users/ALICE", &token).await.ok(), changed);
    let kept = api.patch("/v1/users/me", &token, json!({"name": null})).await.ok();
    assert_eq!(kept, changed);
    assert_eq!(api.get("/v1/users/nobody", &token).await.problem(), (404, "not_found"));
}
