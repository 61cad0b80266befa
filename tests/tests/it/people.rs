//! Friends, requests, blocks, profiles.

use imcluster_tests::client::fresh;
use imcluster_tests::stage::Stage;
use serde_json::{Value, json};

#[tokio::test]
async fn a_friend_request_is_pushed_listed_accepted_and_gone() {
    let [alice, bob] = Stage::shared().people().await;
    let (a, b) = (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    let reply = alice.http.call("POST", "/v1/friend-requests", &json!({"user": bob.id, "message": "hello"})).await;
    let request = reply.expect(201, "a request");
    assert_eq!(
        (&request["from"], &request["to"], &request["message"]),
        (&json!(alice.id), &json!(bob.id), &json!("hello"))
    );
    b.event("friend_request", |_| true).await;
    let open = bob.http.get("/v1/friend-requests").await;
    assert_eq!(open["items"], json!([request]), "{open}");
    assert_eq!(alice.http.get("/v1/friend-requests").await["items"], json!([]), "the list is of those to me");
    let id = request["id"].as_str().expect("an id");
    alice.http.call("POST", &format!("/v1/friend-requests/{id}/accept"), &Value::Null).await;
    assert_eq!(alice.http.get("/v1/friends").await["items"], json!([]), "nobody accepts their own request");
    bob.http.post(&format!("/v1/friend-requests/{id}/accept"), Value::Null).await;
    a.event("friend_accepted", |_| true).await;
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        let friends = one.http.get("/v1/friends").await;
        assert_eq!((&friends["items"][0]["user"], &friends["next"]), (&json!(other.id), &Value::Null), "{friends}");
    }
    assert_eq!(bob.http.get("/v1/friend-requests").await["items"], json!([]));
    alice
        .http
        .call("POST", "/v1/friend-requests", &json!({"user": bob.id, "message": ""}))
        .await
        .problem(409, "already_exists");
}

#[tokio::test]
async fn a_rejected_request_makes_no_friends() {
    let [alice, bob] = Stage::shared().people().await;
    let request = alice.http.post("/v1/friend-requests", json!({"user": bob.id, "message": ""})).await;
    let id = request["id"].as_str().expect("an id");
    bob.http.post(&format!("/v1/friend-requests/{id}/reject"), Value::Null).await;
    assert_eq!(bob.http.get("/v1/friend-requests").await["items"], json!([]));
    assert_eq!(bob.http.get("/v1/friends").await["items"], json!([]));
    alice.http.post("/v1/friend-requests", json!({"user": bob.id, "message": "once more"})).await;
}

#[tokio::test]
async fn a_friendship_ends_for_both() {
    let [alice, bob] = Stage::shared().friends().await;
    alice.http.delete(&format!("/v1/friends/{}", bob.id)).await;
    for person in [&alice, &bob] {
        assert_eq!(person.http.get("/v1/friends").await["items"], json!([]));
    }
    let send = json!({"to": alice.id, "client_message_id": "x", "kind": "text", "content": {"text": "x"}});
    bob.http.call("POST", "/v1/messages", &send).await.problem(403, "not_friends");
}

#[tokio::test]
async fn blocks_are_listed_and_lifted() {
    let [alice, bob] = Stage::shared().friends().await;
    bob.http.put(&format!("/v1/blocks/{}", alice.id), Value::Null).await;
    assert_eq!(bob.http.get("/v1/blocks").await["items"][0]["user"], alice.id.as_str());
    assert_eq!(alice.http.get("/v1/blocks").await["items"], json!([]));
    let send = json!({"to": bob.id, "client_message_id": "x", "kind": "text", "content": {"text": "x"}});
    alice.http.call("POST", "/v1/messages", &send).await.problem(403, "blocked");
    bob.http.delete(&format!("/v1/blocks/{}", alice.id)).await;
    assert_eq!(bob.http.get("/v1/blocks").await["items"], json!([]));
    alice.http.post("/v1/messages", send).await;
}

#[tokio::test]
async fn people_are_found_by_id_and_by_name_in_chinese_too() {
    let [alice, bob] = Stage::shared().people().await;
    let name = format!("王小明{}", fresh(""));
    let me = bob.http.patch("/v1/users/me", json!({"name": name, "avatar": "https://example.org/a.png"})).await;
    assert_eq!((&me["name"], &me["avatar"]), (&json!(name), &json!("https://example.org/a.png")), "{me}");
    assert_eq!(alice.http.get(&format!("/v1/users/{}", bob.id)).await, me);
    for query in [bob.id.as_str(), &name, name.trim_start_matches('王')] {
        let reply = alice.http.get(&format!("/v1/users?query={query}")).await;
        let found: Vec<_> = reply["items"].as_array().expect("items").iter().map(|user| &user["user"]).collect();
        assert!(found.contains(&&json!(bob.id)), "{query}: {reply}");
    }
    let nobody = alice.http.get(&format!("/v1/users?query={}", fresh("nobody"))).await;
    assert_eq!(nobody, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn presence_answers_for_those_asked_and_tells_of_coming_and_going() {
    let [alice, bob] = Stage::shared().friends().await;
    let a = alice.connect_on(0, "web").await;
    let answer = a.expect(json!({"type": "presence", "subscribe": [bob.id]}), "presence").await;
    let users = answer["users"].as_array().expect("users");
    assert_eq!(users.len(), 1, "{answer}");
    assert_eq!(
        (&users[0]["user"], &users[0]["online"], &users[0]["terminals"]),
        (&json!(bob.id), &json!(false), &json!([]))
    );
    let b = bob.connect_on(1, "mobile").await;
    let is_bob = |frame: &Value, online: bool| {
        frame["type"] == "presence"
            && frame["users"][0]["user"] == bob.id.as_str()
            && frame["users"][0]["online"] == online
            && frame.get("id").is_none()
    };
    let pushed = a.wait_for("bob coming", |frame| is_bob(frame, true)).await;
    assert_eq!(pushed["users"][0]["terminals"], json!(["mobile"]));
    b.leave().await;
    let pushed = a.wait_for("bob going", |frame| is_bob(frame, false)).await;
    assert_eq!(pushed["users"][0]["terminals"], json!([]));
    assert!(pushed["users"][0]["last_seen"].as_i64().is_some_and(|time| time > 0), "{pushed}");
    a.expect(json!({"type": "presence", "unsubscribe": [bob.id]}), "presence").await;
}
