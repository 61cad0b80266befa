//! Messages, conversations and rooms by HTTP.

use serde_json::{Value, json};

use super::harness::{Api, SERVICE_TOKEN, each};

fn text(to: &str, id: &str) -> Value {
    json!({"to": to, "client_message_id": id, "kind": "text", "content": {"text": "hello"}})
}

async fn friends() -> (Api, String, String) {
    let api = Api::new().await;
    let (alice, bob) = (api.person("alice").await, api.person("bob").await);
    api.befriend(("alice", &alice), ("bob", &bob)).await;
    (api, alice, bob)
}

#[tokio::test]
async fn a_message_is_committed_once_and_read_back() {
    let (api, alice, bob) = friends().await;
    let sent = api.post("/v1/messages", &alice, text("bob", "1")).await.ok();
    assert_eq!(
        (&sent["conversation"], &sent["seq"], &sent["duplicate"]),
        (&json!("d:alice:bob"), &json!(1), &json!(false))
    );
    let again = api.post("/v1/messages", &alice, text("bob", "1")).await.ok();
    assert_eq!((&again["seq"], &again["time"], &again["duplicate"]), (&json!(1), &sent["time"], &json!(true)));
    let mut other = text("bob", "1");
    other["content"]["text"] = "something else".into();
    assert_eq!(api.post("/v1/messages", &alice, other).await.problem(), (409, "client_message_id_reused"));

    let page = api.get("/v1/conversations/d:alice:bob/messages", &bob).await.ok();
    assert_eq!(
        (&page["head"], &page["more"], &page["messages"][0]["sender"]),
        (&json!(1), &json!(false), &json!("alice"))
    );
}

#[tokio::test]
async fn a_backend_speaks_for_others_and_a_person_does_not() {
    let (api, alice, _) = friends().await;
    api.person("eve").await;
    let mut message = text("bob", "1");
    message["sender"] = "eve".into();
    assert_eq!(api.post("/v1/messages", &alice, message.clone()).await.problem(), (403, "forbidden"));
    message["sender"] = "EVE".into();
    assert_eq!(api.post("/v1/messages", SERVICE_TOKEN, message.clone()).await.ok()["conversation"], "d:bob:eve");
    message["sender"] = "nobody".into();
    let nobody = api.post("/v1/messages", SERVICE_TOKEN, message).await;
    assert_eq!((nobody.problem(), &nobody.body["field"]), ((404, "not_found"), &json!("sender")));
    let unnamed = api.post("/v1/messages", SERVICE_TOKEN, text("bob", "2")).await;
    assert_eq!((unnamed.problem(), &unnamed.body["field"]), ((422, "invalid_field"), &json!("sender")));
    assert_eq!(api.get("/v1/users/me", SERVICE_TOKEN).await.status, 401, "a backend is nobody");
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_named() {
    let (api, alice, _) = friends().await;
    let with = |field: &str, value: Value| {
        let mut body = text("bob", "1");
        body[field] = value;
        body
    };
    for (body, problem, field) in [
        (json!("{"), (400, "invalid_frame"), Value::Null),
        (with("kind", json!("notification")), (422, "invalid_field"), json!("kind")),
        (with("kind", json!(null)), (422, "invalid_frame"), json!("kind")),
        (with("to", json!(7)), (422, "invalid_frame"), json!("to")),
        (with("client_message_id", json!("")), (422, "invalid_field"), json!("client_message_id")),
        (with("content", json!([])), (422, "invalid_frame"), json!("content")),
        (with("mentions", json!(["a b"])), (422, "invalid_field"), json!("mentions[0]")),
    ] {
        let answer = api.post("/v1/messages", &alice, body.clone()).await;
        assert_eq!((answer.problem(), &answer.body["field"]), (problem, &field), "{body}");
    }
    let large = with("content", json!({"text": "y".repeat(70_000)}));
    assert_eq!(api.post("/v1/messages", &alice, large).await.problem(), (413, "too_large"));
    let huge = with("content", json!({"text": "y".repeat(200_000)}));
    assert_eq!(api.post("/v1/messages", &alice, huge).await.problem(), (413, "too_large"));
}

#[tokio::test]
async fn pages_of_messages_go_both_ways() {
    let (api, alice, _) = friends().await;
    for n in 1..=7 {
        api.post("/v1/messages", &alice, text("bob", &n.to_string())).await.ok();
    }
    let seqs = async |query: &str| {
        let page = api.get(&format!("/v1/conversations/d:alice:bob/messages?{query}"), &alice).await.ok();
        let seqs: Vec<u64> =
            page["messages"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect();
        (seqs, page["more"].as_bool().unwrap())
    };
    assert_eq!(seqs("limit=2").await, (vec![6, 7], true));
    assert_eq!(seqs("before=3&limit=9").await, (vec![1, 2], false));
    assert_eq!(seqs("after=5&limit=1").await, (vec![6], true));
    let wrong = api.get("/v1/conversations/d:alice:bob/messages?before=x", &alice).await;
    assert_eq!((wrong.problem(), &wrong.body["field"]), ((422, "invalid_field"), &json!("before")));
    let shapeless = api.get("/v1/conversations/nonsense/messages", &alice).await;
    assert_eq!((shapeless.problem(), &shapeless.body["field"]), ((422, "invalid_field"), &json!("conversation")));
}

#[tokio::test]
async fn a_conversation_is_listed_read_set_and_deleted() {
    let (api, alice, bob) = friends().await;
    api.post("/v1/messages", &alice, text("bob", "1")).await.ok();
    let list = api.get("/v1/conversations", &bob).await.ok();
    assert_eq!((&list["items"][0]["conversation"], &list["items"][0]["unread"]), (&json!("d:alice:bob"), &json!(1)));
    let path = "/v1/conversations/d:alice:bob";
    assert_eq!(api.put(&format!("{path}/read"), &bob, json!({"seq": 99})).await.status, 204);
    let change = json!({"pinned": true, "do_not_disturb": true, "draft": "I meant"});
    assert_eq!(api.patch(path, &bob, change).await.status, 204);
    let one = api.get(path, &bob).await.ok();
    assert_eq!(
        (&one["unread"], &one["read"], &one["pinned"], &one["draft"]),
        (&json!(0), &json!(1), &json!(true), &json!("I meant"))
    );
    let readers = api.get(&format!("{path}/messages/1/readers"), &alice).await.ok();
    assert_eq!(readers["items"], json!([{"user": "bob", "read": 1}]));

    assert_eq!(api.delete(path, &bob).await.status, 204);
    assert_eq!(api.get("/v1/conversations", &bob).await.ok()["items"], json!([]));
    let since = list["since"].as_str().unwrap();
    let changed = api.get(&format!("/v1/conversations?since={since}"), &bob).await.ok();
    assert_eq!(changed["items"], json!([{"conversation": "d:alice:bob", "removed": true, "reason": "deleted"}]));
    assert_eq!(api.get("/v1/conversations?cursor=nonsense", &bob).await.problem(), (422, "invalid_field"));
    assert_eq!(api.put(&format!("{path}/read"), &bob, json!({"seq": -1})).await.body["field"], "seq");
}

#[tokio::test]
async fn a_message_is_recalled_by_its_sender_only() {
    let (api, alice, bob) = friends().await;
    api.post("/v1/messages", &alice, text("bob", "1")).await.ok();
    let path = "/v1/conversations/d:alice:bob/messages/1";
    assert_eq!(api.delete(path, &bob).await.problem(), (403, "forbidden"));
    assert_eq!(api.delete(path, &alice).await.status, 204);
    let page = api.get("/v1/conversations/d:alice:bob/messages", &bob).await.ok();
    assert_eq!((&page["messages"][0]["recalled"], &page["messages"][0]["content"]), (&json!(true), &json!({})));
}

#[tokio::test]
async fn a_stranger_sees_nothing() {
    let (api, alice, _) = friends().await;
    let eve = api.person("eve").await;
    api.post("/v1/messages", &alice, text("bob", "1")).await.ok();
    for path in ["", "/messages", "/messages/1/readers"] {
        let answer = api.get(&format!("/v1/conversations/d:alice:bob{path}"), &eve).await;
        assert_eq!(answer.problem(), (403, "not_a_member"), "{path}");
    }
}

#[tokio::test]
async fn a_room_is_made_and_only_those_inside_read_it() {
    let (api, alice, _) = friends().await;
    let made = api.post("/v1/rooms", &alice, json!({"name": "Lobby"})).await;
    assert_eq!(made.status, 201);
    let conversation = made.body["conversation"].as_str().unwrap();
    assert_eq!(conversation, format!("r:{}", made.body["room"].as_str().unwrap()));
    let messages = api.get(&format!("/v1/conversations/{conversation}/messages"), &alice).await;
    assert_eq!(messages.problem(), (403, "not_a_member"));
    assert_eq!(api.post("/v1/rooms", &alice, json!({"name": " "})).await.body["field"], "name");
}

#[tokio::test]
async fn pages_end_at_the_same_place_for_everyone() {
    let (api, alice, _) = friends().await;
    let friends = api.get("/v1/friends?limit=1", &alice).await.ok();
    assert_eq!((each(&friends, "user"), &friends["next"]), (vec!["bob"], &Value::Null));
    assert_eq!(api.get("/v1/friends?cursor=%21", &alice).await.problem(), (422, "invalid_field"));
}
