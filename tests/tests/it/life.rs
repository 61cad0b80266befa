//! A server's start, restart and end.

use std::sync::Arc;

use imcluster_tests::client::text_to;
use imcluster_tests::server::{Folder, Server};
use imcluster_tests::stage::{Session, Stage, direct, listed};
use serde_json::{Value, json};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let stage = Stage::own(&[]);
    let [alice, bob] = stage.friends().await;
    let conversation = direct(&alice, &bob);
    let (group, _) = alice.group(&[&bob], "kept").await;
    let session = stage.sign_in(&bob.id, "web", "kept").await;
    let a = alice.connect("web").await;
    let first = text_to(&conversation, "kept");
    let sent = a.expect(first.clone(), "sent").await;
    a.say(&conversation, "kept as well").await;
    let path = format!("/v1/conversations/{conversation}");
    bob.http.put(&format!("{path}/read"), json!({"seq": 1})).await;
    bob.http.patch(&path, json!({"pinned": true, "draft": "not yet"})).await;
    let epoch = a.welcome["epoch"].as_u64().expect("an epoch");
    let (since, item) = (a.welcome["since"].clone(), listed(&bob, &conversation).await);
    let history = bob.http.get(&format!("{path}/messages")).await;

    stage.server.terminate();
    assert!(stage.server.exit_status().success(), "{}", stage.server.folder().log());
    let stage = stage.with_server(Arc::new(stage.server.again()));
    let (alice, bob) = (alice.on(&stage), bob.on(&stage));

    assert_eq!(listed(&bob, &conversation).await, item, "the conversation as it was, reads included");
    assert_eq!(bob.http.get(&format!("{path}/messages")).await, history);
    assert_eq!(bob.http.get("/v1/groups").await["items"][0]["group"], group.as_str());
    let refreshed = stage.http.post("/v1/sessions/refresh", json!({"refresh_token": session.refresh})).await;
    let access = Session::of(&refreshed).access;
    let b = bob.connect_with(json!({"token": access, "terminal": "web", "device": "kept"})).await;
    assert!(b.welcome["epoch"].as_u64() > Some(epoch), "{}", b.welcome);
    let a = alice.connect("mobile").await;
    let again = a.expect(first, "sent").await;
    assert_eq!((&again["seq"], &again["time"], &again["duplicate"]), (&sent["seq"], &sent["time"], &json!(true)));
    assert_eq!(a.say(&conversation, "and on").await, 3);
    b.message(&conversation, 3).await;
    let changes = a.expect(json!({"type": "conversations", "since": since}), "conversations").await;
    assert_ne!(changes["reset"], true, "a since of before the restart is still good: {changes}");
    assert_eq!(changes["items"][0]["head"], 3, "{changes}");
}

#[tokio::test]
async fn a_second_server_on_one_folder_is_refused_with_clear_words() {
    let stage = Stage::own(&[]);
    let folder = stage.server.folder();
    let (status, said) = Server::refused(folder);
    assert!(!status.success());
    assert!(said.contains(&folder.data().display().to_string()) && said.contains("in use"), "{said}");
    stage.person().await;
}

#[tokio::test]
async fn a_folder_is_free_again_after_a_kill() {
    let folder = Folder::fresh();
    let server = Server::start(&folder, &[]);
    server.kill();
    let stage = Stage::on(Arc::new(Server::start(&folder, &[])));
    let session = stage.sign_in("alice", "web", "d").await;
    let friends = stage.http.with_token(&session.access).get("/v1/friends").await;
    assert_eq!(friends["items"][0]["user"], "bob", "{friends}");
    let groups = stage.http.with_token(&session.access).get("/v1/groups").await;
    assert_eq!(groups["items"].as_array().map(Vec::len), Some(1), "the demo group is made once: {groups}");
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_says_goodbye_and_exits_with_0() {
    let stage = Stage::own(&[]);
    let [alice, bob] = stage.friends().await;
    let (a, b) = (alice.connect("web").await, bob.connect_tcp("desktop").await);
    stage.server.terminate();
    for client in [&a, &b] {
        let goaway = client.wait_for("goaway", |frame| frame["type"] == "goaway").await;
        assert!(goaway["reason"].is_string() && goaway["reconnect_after_ms"].is_u64(), "{goaway}");
    }
    assert_eq!(a.closed().await.code, Some(4004));
    assert_eq!(b.closed().await.code, None);
    let last = b.frames(|_| true).pop().expect("last words");
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("going_away")), "{last}");
    assert_eq!(stage.server.exit_status().code(), Some(0), "{}", stage.server.folder().log());
}

#[tokio::test]
async fn the_server_says_when_it_is_ready_and_alive() {
    let stage = Stage::own(&[]);
    let management = stage.management();
    for path in ["/livez", "/readyz"] {
        assert_eq!(management.call("GET", path, &Value::Null).await.status, 200, "{path}");
    }
    let session = stage.sign_in("alice", "web", "d").await;
    let http = stage.http.with_token(&session.access);
    let body = json!({"to": "bob", "client_message_id": "demo", "kind": "text", "content": {"text": "hello"}});
    let sent = http.post("/v1/messages", body).await;
    assert_eq!(sent["conversation"], "d:alice:bob", "the demo accounts are friends");
}
