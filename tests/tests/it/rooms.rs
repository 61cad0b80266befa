//! Chat rooms: the connection is the member.

use imcluster_tests::client::{Client, seqs, text_to};
use imcluster_tests::stage::{Person, Stage};
use serde_json::{Value, json};

async fn room(owner: &Person) -> String {
    let reply = owner.http.call("POST", "/v1/rooms", &json!({"name": "a room"})).await.expect(201, "a room");
    let conversation = reply["conversation"].as_str().expect("a conversation").to_owned();
    assert_eq!(conversation, format!("r:{}", reply["room"].as_str().expect("a room")));
    conversation
}

async fn join(client: &Client, room: &str) {
    client.expect(json!({"type": "join", "conversation": room}), "ok").await;
}

#[tokio::test]
async fn those_inside_a_room_hear_each_other_and_nobody_else_does() {
    let [alice, bob, carol] = Stage::shared().people().await;
    let (a, b, c) =
        (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await, carol.connect_on(1, "web").await);
    let room = room(&alice).await;
    join(&a, &room).await;
    join(&b, &room).await;
    let seq = a.say(&room, "hello room").await;
    for client in [&a, &b] {
        assert_eq!(client.message(&room, seq).await["content"]["text"], "hello room");
    }
    for frame in [
        text_to(&room, "x"),
        json!({"type": "history", "conversation": room}),
        json!({"type": "sync", "conversation": room, "after": 0}),
        json!({"type": "leave", "conversation": room}),
    ] {
        c.refused(frame, "not_a_member").await;
    }
    carol
        .http
        .call("GET", &format!("/v1/conversations/{room}/messages"), &Value::Null)
        .await
        .problem(403, "not_a_member");
    assert!(c.messages(&room).is_empty());
    for person in [&alice, &bob] {
        let list = person.http.get("/v1/conversations").await;
        assert_eq!(list["items"], json!([]), "a room is not in the list of conversations");
    }
}

#[tokio::test]
async fn membership_is_the_connections_and_ends_with_it() {
    let [alice, bob, carol] = Stage::shared().people().await;
    let room = room(&alice).await;
    let (a, c) = (alice.connect_on(0, "web").await, carol.connect_on(1, "web").await);
    let (b, b_phone) = (bob.connect_on(1, "web").await, bob.connect_on(0, "mobile").await);
    for client in [&a, &b, &c] {
        join(client, &room).await;
    }
    let first = a.say(&room, "one").await;
    b.message(&room, first).await;
    b_phone.refused(text_to(&room, "x"), "not_a_member").await;
    b.expect(json!({"type": "leave", "conversation": room}), "ok").await;
    b.refused(text_to(&room, "x"), "not_a_member").await;
    let second = a.say(&room, "two").await;
    // An ack does not mean that it has gone out: whoever joins in between gets it.
    c.message(&room, second).await;
    join(&b, &room).await;
    let third = a.say(&room, "three").await;
    b.message(&room, third).await;
    assert_eq!(b.seqs(&room), [first, third], "{second} was said while nobody of bob's was inside");
    assert!(b_phone.messages(&room).is_empty());
    b.leave().await;
    let again = bob.connect_on(1, "web").await;
    again.refused(text_to(&room, "x"), "not_a_member").await;
}

#[tokio::test]
async fn those_inside_read_the_last_fifty_by_socket_and_by_http() {
    let stage = Stage::shared();
    let [alice, bob] = stage.people().await;
    let (a, b) = (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    let room = room(&alice).await;
    join(&a, &room).await;
    for n in 1..=55 {
        a.say(&room, &n.to_string()).await;
    }
    join(&b, &room).await;
    let page = b.expect(json!({"type": "history", "conversation": room, "limit": 200}), "messages").await;
    let last_fifty: Vec<u64> = (6..=55).collect();
    assert_eq!(seqs(page["messages"].as_array().expect("messages")), last_fifty);
    let page = bob.http.get(&format!("/v1/conversations/{room}/messages?limit=200")).await;
    assert_eq!(seqs(page["messages"].as_array().expect("messages")), last_fifty);
    let older = b.expect(json!({"type": "history", "conversation": room, "before": 6}), "messages").await;
    assert_eq!(older["messages"], json!([]), "{older}");
}

#[tokio::test]
async fn one_inside_sends_by_http_too() {
    let [alice, bob] = Stage::shared().people().await;
    let (a, b) = (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    let room = room(&alice).await;
    join(&a, &room).await;
    let body = json!({"conversation": room, "client_message_id": "h", "kind": "text", "content": {"text": "by http"}});
    bob.http.call("POST", "/v1/messages", &body).await.problem(403, "not_a_member");
    join(&b, &room).await;
    let sent = bob.http.post("/v1/messages", body).await;
    assert_eq!(a.message(&room, sent["seq"].as_u64().expect("a seq")).await["sender"], bob.id.as_str());
}

#[tokio::test]
async fn a_room_that_does_not_exist_and_a_group_are_not_joined() {
    let alice = Stage::shared().person().await;
    let (_, group) = alice.group(&[], "not a room").await;
    let a = alice.connect("web").await;
    a.refused(json!({"type": "join", "conversation": "r:01J0000000000000000000000"}), "not_found").await;
    a.refused(json!({"type": "join", "conversation": group}), "invalid_field").await;
}
