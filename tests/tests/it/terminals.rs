//! Several terminals of one person, and the sessions they rest on.

use imcluster_tests::client::fresh;
use imcluster_tests::stage::{Session, Stage, direct};
use serde_json::{Value, json};

#[tokio::test]
async fn another_device_of_the_class_kicks_the_first_and_its_tokens_are_dead() {
    let stage = Stage::shared();
    let [alice, bob] = stage.friends().await;
    let session = stage.sign_in(&alice.id, "web", "first").await;
    let mut first = stage.websocket().await;
    first.hello(json!({"token": session.access, "terminal": "web", "device": "first"})).await;
    let phone = alice.connect("mobile").await;
    let other = 1 - first.server();
    let second = alice.connect_on(other, "web").await;
    let kicked = first.wait_for("kicked", |frame| frame["type"] == "kicked").await;
    assert_eq!(kicked["reason"], "another_device");
    assert_eq!(first.closed().await.code, Some(4002));
    stage.http.with_token(&session.access).call("GET", "/v1/users/me", &Value::Null).await.problem(401, "unauthorized");
    let refresh = json!({"refresh_token": session.refresh});
    stage.http.call("POST", "/v1/sessions/refresh", &refresh).await.problem(401, "unauthorized");
    let again = stage.websocket().await;
    again
        .refused(
            json!({"type": "hello", "token": session.access, "terminal": "web", "device": "first"}),
            "unauthorized",
        )
        .await;
    assert_eq!(again.closed().await.code, Some(4001));
    let seq = second.say(&direct(&alice, &bob), "the others live on").await;
    phone.message(&direct(&alice, &bob), seq).await;
}

#[tokio::test]
async fn a_kicked_tcp_connection_is_told_in_its_last_words() {
    let alice = Stage::shared().person().await;
    let first = alice.connect_tcp("desktop").await;
    let _second = alice.connect_tcp("desktop").await;
    assert_eq!(first.closed().await.code, None);
    let last = first.frames(|_| true).pop().expect("last words");
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("kicked")), "{last}");
    assert_eq!(first.frames(|frame| frame["type"] == "kicked").len(), 1);
}

#[tokio::test]
async fn a_sixth_connection_of_a_device_replaces_its_oldest() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let session = stage.sign_in(&alice.id, "web", "windows").await;
    let mut windows = Vec::new();
    for _ in 0..6 {
        windows
            .push(alice.connect_with(json!({"token": session.access, "terminal": "web", "device": "windows"})).await);
    }
    assert_eq!(windows[0].closed().await.code, Some(4005));
    for window in &windows[1..] {
        window.expect(json!({"type": "ping"}), "pong").await;
    }
    stage.http.with_token(&session.access).get("/v1/users/me").await;
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let session = stage.sign_in(&alice.id, "web", "listed").await;
    let http = stage.http.with_token(&session.access);
    let client = alice.connect_with(json!({"token": session.access, "terminal": "web", "device": "listed"})).await;
    let sessions = http.get("/v1/sessions").await;
    let items = sessions["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{sessions}");
    let current: Vec<_> = items.iter().filter(|item| item["current"] == true).collect();
    assert_eq!(current.len(), 1, "{sessions}");
    assert_eq!((&current[0]["terminal"], &current[0]["device"]), (&json!("web"), &json!("listed")), "{sessions}");
    assert!(current[0]["created"].is_i64() && current[0]["last_seen"].is_i64(), "{sessions}");
    let id = current[0]["id"].as_str().expect("an id");
    alice.http.delete(&format!("/v1/sessions/{id}")).await;
    let code = client.closed().await.code;
    assert!([Some(4001), Some(4002)].contains(&code), "{code:?}");
    http.call("GET", "/v1/users/me", &Value::Null).await.problem(401, "unauthorized");
    alice.http.delete("/v1/sessions/current").await;
    alice.http.call("GET", "/v1/users/me", &Value::Null).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn nobody_ends_the_session_of_another() {
    let [alice, bob] = Stage::shared().people().await;
    let sessions = bob.http.get("/v1/sessions").await;
    let id = sessions["items"][0]["id"].as_str().expect("an id");
    alice.http.call("DELETE", &format!("/v1/sessions/{id}"), &Value::Null).await.problem(404, "not_found");
    bob.http.get("/v1/users/me").await;
}

#[tokio::test]
async fn a_refresh_token_asked_twice_gives_the_same_successor_and_an_older_one_ends_the_session() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let first = stage.sign_in(&alice.id, "web", &fresh("d")).await;
    let refresh =
        async |token: &str| stage.http.call("POST", "/v1/sessions/refresh", &json!({"refresh_token": token})).await;
    let body = refresh(&first.refresh).await.expect(200, "a refresh");
    assert!(body["expires_in"].as_u64().is_some_and(|seconds| (1..=900).contains(&seconds)), "{body}");
    let second = Session::of(&body);
    assert_ne!(second.refresh, first.refresh);
    let same = Session::of(&refresh(&first.refresh).await.expect(200, "the same within a minute"));
    assert_eq!(same.refresh, second.refresh);
    stage.http.with_token(&same.access).get("/v1/users/me").await;
    let third = Session::of(&refresh(&second.refresh).await.expect(200, "the next"));
    stage.http.with_token(&third.access).get("/v1/users/me").await;
    refresh(&first.refresh).await.problem(401, "unauthorized");
    refresh(&third.refresh).await.problem(401, "unauthorized");
    stage.http.with_token(&third.access).call("GET", "/v1/users/me", &Value::Null).await.problem(401, "unauthorized");
    refresh("rubbish").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_socket_takes_a_fresh_token_of_the_same_user_only() {
    let stage = Stage::shared();
    let [alice, bob] = stage.people().await;
    let session = stage.sign_in(&alice.id, "web", "renewing").await;
    let client = alice.connect_with(json!({"token": session.access, "terminal": "web", "device": "renewing"})).await;
    let body = stage.http.post("/v1/sessions/refresh", json!({"refresh_token": session.refresh})).await;
    let fresh = Session::of(&body);
    client.expect(json!({"type": "auth", "token": fresh.access}), "ok").await;
    for wrong in [bob.token(), "rubbish"] {
        let error = client.expect(json!({"type": "auth", "token": wrong}), "error").await;
        assert!(["unauthorized", "forbidden"].contains(&error["code"].as_str().expect("a code")), "{error}");
    }
    client.expect(json!({"type": "ping"}), "pong").await;
}
