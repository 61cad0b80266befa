//! Friends, requests, blocks.

use serde_json::{Value, json};

use super::harness::{Api, each};

#[tokio::test]
async fn a_request_is_told_accepted_and_makes_two_friends() {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("Bob").await);
    let asked = api.post("/v1/friend-requests", &alice, json!({"user": "bob", "message": "hi"})).await;
    assert_eq!(asked.status, 201);
    let asked = asked.body;
    assert_eq!((&asked["from"], &asked["to"], &asked["message"]), (&json!("alice"), &json!("Bob"), &json!("hi")));
    assert_eq!(api.published.take(), ["Bob friend_request"]);

    let open = api.get("/v1/friend-requests", &bob).await.ok();
    assert_eq!(open["items"], json!([asked]));
    let accept = format!("/v1/friend-requests/{}/accept", asked["id"].as_str().unwrap());
    assert_eq!(
        api.post(&accept, &alice, Value::Null).await.problem(),
        (404, "not_found"),
        "only the asked one answers"
    );
    assert_eq!(api.post(&accept, &bob, Value::Null).await.status, 204);
    assert_eq!(api.published.take(), ["alice friend_accepted"]);
    assert_eq!(api.post(&accept, &bob, Value::Null).await.status, 404);

    assert_eq!(each(&api.get("/v1/friends", &alice).await.ok(), "user"), ["Bob"]);
    assert_eq!(each(&api.get("/v1/friends", &bob).await.ok(), "user"), ["alice"]);
    let again = api.post("/v1/friend-requests", &bob, json!({"user": "alice"})).await;
    assert_eq!(again.problem(), (409, "already_exists"));
}

#[tokio::test]
async fn a_rejected_request_tells_nobody() {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("bob").await);
    let asked = api.post("/v1/friend-requests", &alice, json!({"user": "bob"})).await.ok();
    api.published.take();
    let reject = format!("/v1/friend-requests/{}/reject", asked["id"].as_str().unwrap());
    assert_eq!(api.post(&reject, &bob, Value::Null).await.status, 204);
    assert!(api.published.take().is_empty());
    assert_eq!(api.get("/v1/friends", &alice).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn nobody_asks_themself_or_someone_who_is_not_there() {
    let api = Api::new().await;
    let alice = api.person("alice").await;
    let oneself = api.post("/v1/friend-requests", &alice, json!({"user": "ALICE"})).await;
    assert_eq!((oneself.problem(), &oneself.body["field"]), ((422, "invalid_field"), &json!("user")));
    let nobody = api.post("/v1/friend-requests", &alice, json!({"user": "nobody"})).await;
    assert_eq!(nobody.problem(), (404, "not_found"));
    let wordy = api.post("/v1/friend-requests", &alice, json!({"user": "bob", "message": "x".repeat(201)})).await;
    assert_eq!(wordy.body["field"], "message");
}

#[tokio::test]
async fn a_friend_gets_a_remark_and_leaves() {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("bob").await);
    api.befriend(("alice", &alice), ("bob", &bob)).await;
    assert_eq!(api.patch("/v1/friends/BOB", &alice, json!({"remark": "Bobby"})).await.status, 204);
    let friends = api.get("/v1/friends", &alice).await.ok();
    assert_eq!(friends["items"], json!([{"user": "bob", "name": "N bob", "remark": "Bobby"}]));
    assert_eq!(api.delete("/v1/friends/bob", &alice).await.status, 204);
    assert_eq!(api.get("/v1/friends", &bob).await.ok()["items"], json!([]));
    assert_eq!(api.delete("/v1/friends/bob", &alice).await.problem(), (404, "not_found"));
    assert_eq!(api.patch("/v1/friends/bob", &alice, json!({"remark": "x"})).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn who_is_blocked_cannot_ask_write_or_invite() {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("bob").await);
    api.befriend(("alice", &alice), ("bob", &bob)).await;
    assert_eq!(api.put("/v1/blocks/alice", &bob, Value::Null).await.status, 204);
    assert_eq!(api.put("/v1/blocks/alice", &bob, Value::Null).await.status, 204);
    assert_eq!(each(&api.get("/v1/blocks", &bob).await.ok(), "user"), ["alice"]);

    let message = json!({"to": "bob", "client_message_id": "1", "kind": "text", "content": {"text": "x"}});
    assert_eq!(api.post("/v1/messages", &alice, message.clone()).await.problem(), (403, "blocked"));
    let group = api.post("/v1/groups", &alice, json!({"members": ["bob"]})).await;
    assert_eq!(group.problem(), (403, "blocked"));
    api.delete("/v1/friends/bob", &alice).await.ok();
    assert_eq!(api.post("/v1/friend-requests", &alice, json!({"user": "bob"})).await.problem(), (403, "blocked"));

    assert_eq!(api.delete("/v1/blocks/alice", &bob).await.status, 204);
    assert_eq!(api.post("/v1/messages", &alice, message).await.problem(), (403, "not_friends"));
    assert_eq!(api.put("/v1/blocks/bob", &bob, Value::Null).await.problem(), (422, "invalid_field"));
}
