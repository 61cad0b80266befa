//! Two people, on different server ids, so that everything between them crosses the bus.

use imcluster_tests::client::{Client, text_to};
use imcluster_tests::stage::{Person, Stage, direct, listed};
use serde_json::{Value, json};

/// Two friends on the two server ids, and their conversation.
async fn apart() -> ([Person; 2], [Client; 2], String) {
    let people = Stage::shared().friends().await;
    let clients = [people[0].connect_on(0, "web").await, people[1].connect_on(1, "web").await];
    let conversation = direct(&people[0], &people[1]);
    (people, clients, conversation)
}

#[tokio::test]
async fn welcome_says_everything_a_client_needs() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let client = alice.connect_device("web", "my-device").await;
    let welcome = &client.welcome;
    assert_eq!(welcome["protocol"], 1);
    assert_eq!(
        (&welcome["user"], &welcome["terminal"], &welcome["device"]),
        (&json!(alice.id), &json!("web"), &json!("my-device"))
    );
    assert_eq!(welcome["heartbeat_ms"], 25_000);
    let limits = json!({"content_bytes": 65536, "frame_bytes": 131_072, "messages_per_second": 20, "message_burst": 60,
        "group_members": 100_000, "members_per_call": 500, "conversations": 5000});
    assert_eq!(welcome["limits"], limits);
    assert_eq!(welcome["changes"], Value::Null);
    assert!(welcome["since"].is_string() && welcome["connection"].is_string(), "{welcome}");
    assert!(welcome["epoch"].as_u64().is_some_and(|epoch| epoch > 0), "{welcome}");
    let (time, expires) =
        (welcome["time"].as_i64().expect("a time"), welcome["token_expires"].as_i64().expect("a time"));
    assert!(expires > time && expires <= time + 15 * 60 * 1000, "{welcome}");
}

#[tokio::test]
async fn a_message_reaches_the_other_and_every_terminal_of_both() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    let (a_phone, b_desk) = (alice.connect_on(1, "mobile").await, bob.connect_tcp("desktop").await);
    let frame = json!({"type": "send", "to": bob.id, "client_message_id": "one", "kind": "text", "content": {"text": "hi 你好"}});
    let sent = a.expect(frame, "sent").await;
    assert_eq!((&sent["conversation"], &sent["client_message_id"]), (&json!(conversation), &json!("one")), "{sent}");
    assert_eq!((&sent["seq"], &sent["duplicate"]), (&json!(1), &json!(false)), "{sent}");
    let expected = json!({"type": "message", "conversation": conversation, "seq": 1, "rev": 0, "incarnation": 1,
        "sender": alice.id, "client_message_id": "one", "time": sent["time"], "kind": "text", "content": {"text": "hi 你好"},
        "mentions": [], "mention_all": false, "reply_to": null, "forwarded_from": null, "recalled": false,
        "edited": null, "reactions": {}});
    for client in [&a, &b, &a_phone, &b_desk] {
        let message = client.message(&conversation, 1).await;
        for (field, value) in expected.as_object().expect("an object") {
            assert_eq!(message.get(field).unwrap_or(&Value::Null), value, "{field} of {message}");
        }
    }
}

#[tokio::test]
async fn a_retry_gets_the_same_seq_and_is_pushed_to_nobody() {
    let (_, [a, b], conversation) = apart().await;
    let frame = text_to(&conversation, "once");
    let first = a.expect(frame.clone(), "sent").await;
    let again = a.expect(frame, "sent").await;
    assert_eq!((&again["seq"], &again["time"], &again["duplicate"]), (&first["seq"], &first["time"], &json!(true)));
    let next = a.say(&conversation, "after").await;
    assert_eq!(next, 2);
    b.message(&conversation, next).await;
    assert_eq!(b.seqs(&conversation), [1, 2]);
}

#[tokio::test]
async fn a_message_by_http_is_the_same_as_one_by_socket() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    let body = json!({"to": bob.id, "client_message_id": "h", "kind": "text", "content": {"text": "by http"}});
    let sent = alice.http.post("/v1/messages", body.clone()).await;
    assert_eq!(
        (&sent["seq"], &sent["duplicate"], &sent["conversation"]),
        (&json!(1), &json!(false), &json!(conversation))
    );
    assert_eq!(a.message(&conversation, 1).await, b.message(&conversation, 1).await, "the same for every recipient");
    assert_eq!(b.message(&conversation, 1).await["content"]["text"], "by http");
    let mut frame = body;
    frame["type"] = "send".into();
    let retried = a.expect(frame, "sent").await;
    assert_eq!(
        (&retried["seq"], &retried["duplicate"]),
        (&json!(1), &json!(true)),
        "one client_message_id, however it is sent"
    );
}

#[tokio::test]
async fn a_backend_with_the_service_token_sends_for_a_user() {
    let stage = Stage::shared();
    let [alice, bob] = stage.people().await;
    let b = bob.connect("web").await;
    let body =
        json!({"sender": alice.id, "to": bob.id, "client_message_id": "s", "kind": "custom", "content": {"order": 7}});
    let sent = stage.backend().post("/v1/messages", body.clone()).await;
    let message = b.message(&direct(&alice, &bob), sent["seq"].as_u64().expect("a seq")).await;
    assert_eq!((&message["sender"], &message["content"]), (&json!(alice.id), &json!({"order": 7})));
    let again = stage.backend().post("/v1/messages", body).await;
    assert_eq!((&again["seq"], &again["duplicate"]), (&sent["seq"], &json!(true)));
}

#[tokio::test]
async fn one_may_write_to_oneself() {
    let alice = Stage::shared().person().await;
    let (web, phone) = (alice.connect_on(0, "web").await, alice.connect_on(1, "mobile").await);
    let conversation = direct(&alice, &alice);
    let seq = web.say(&conversation, "a note").await;
    assert_eq!(phone.message(&conversation, seq).await["content"]["text"], "a note");
    let item = listed(&alice, &conversation).await;
    assert_eq!((&item["head"], &item["unread"]), (&json!(1), &json!(0)), "{item}");
}

#[tokio::test]
async fn the_list_shows_the_last_message_unread_and_the_title() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    for n in 1..=3 {
        a.say(&conversation, &n.to_string()).await;
    }
    let list = b.expect(json!({"type": "conversations"}), "conversations").await;
    let item = &list["items"][0];
    assert_eq!((&item["conversation"], &item["title"]), (&json!(conversation), &json!(format!("N {}", alice.id))));
    assert_eq!((&item["head"], &item["read"], &item["unread"]), (&json!(3), &json!(0), &json!(3)), "{item}");
    assert_eq!(item["last"], strip_type(b.message(&conversation, 3).await), "the last message is the message");
    for (field, value) in [
        ("pinned", json!(false)),
        ("do_not_disturb", json!(false)),
        ("draft", Value::Null),
        ("mentioned", json!(false)),
    ] {
        assert_eq!(item.get(field).unwrap_or(&Value::Null), &value, "{item}");
    }
    assert_eq!(listed(&alice, &conversation).await["unread"], 0, "one's own messages are not unread");
    bob.http.patch(&format!("/v1/friends/{}", alice.id), json!({"remark": "my friend"})).await;
    assert_eq!(listed(&bob, &conversation).await["title"], "my friend");
}

/// Items of lists are the frame without its type.
fn strip_type(mut frame: Value) -> Value {
    frame.as_object_mut().expect("an object").remove("type");
    frame
}

#[tokio::test]
async fn a_read_moves_only_forward_and_is_clamped_at_the_head() {
    let ([_, bob], [a, b], conversation) = apart().await;
    for n in 1..=5 {
        a.say(&conversation, &n.to_string()).await;
    }
    let read = |seq: u64| json!({"type": "read", "conversation": conversation, "seq": seq});
    for (asked, read_then, unread) in [(3, 3, 2), (1, 3, 2), (0, 3, 2), (99_999, 5, 0)] {
        b.expect(read(asked), "ok").await;
        let item = listed(&bob, &conversation).await;
        assert_eq!((&item["read"], &item["unread"]), (&json!(read_then), &json!(unread)), "after read {asked}: {item}");
    }
    let next = a.say(&conversation, "beyond what was clamped").await;
    b.message(&conversation, next).await;
    assert_eq!(listed(&bob, &conversation).await["unread"], 1, "clamped means that the next one is unread");
    bob.http.put(&format!("/v1/conversations/{conversation}/read"), json!({"seq": next})).await;
    assert_eq!(listed(&bob, &conversation).await["unread"], 0);
}

#[tokio::test]
async fn ones_own_sends_do_not_move_read_and_are_not_unread() {
    let ([_, bob], [a, b], conversation) = apart().await;
    a.say(&conversation, "1").await;
    b.say(&conversation, "2").await;
    a.say(&conversation, "3").await;
    b.say(&conversation, "4").await;
    let item = listed(&bob, &conversation).await;
    assert_eq!((&item["read"], &item["unread"]), (&json!(0), &json!(2)), "{item}");
    b.expect(json!({"type": "read", "conversation": conversation, "seq": 1}), "ok").await;
    let item = listed(&bob, &conversation).await;
    assert_eq!((&item["read"], &item["unread"]), (&json!(1), &json!(1)), "{item}");
}

#[tokio::test]
async fn reading_tells_the_sender_and_clears_ones_other_terminals() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    let b_phone = bob.connect_on(0, "mobile").await;
    let seq = a.say(&conversation, "read me").await;
    b.message(&conversation, seq).await;
    b.expect(json!({"type": "read", "conversation": conversation, "seq": seq}), "ok").await;
    let receipt =
        a.wait_for("a receipt", |frame| frame["type"] == "receipt" && frame["read"].as_u64() >= Some(seq)).await;
    assert_eq!((&receipt["conversation"], &receipt["user"]), (&json!(conversation), &json!(bob.id)), "{receipt}");
    let elsewhere = b_phone.event("read_elsewhere", |data| data["conversation"] == conversation.as_str()).await;
    assert_eq!(elsewhere["seq"], seq);
    let readers = alice.http.get(&format!("/v1/conversations/{conversation}/messages/{seq}/readers")).await;
    assert_eq!(readers["items"], json!([{"user": bob.id, "read": seq}]), "{readers}");
}

#[tokio::test]
async fn what_is_delivered_is_told_to_the_sender() {
    let ([_, bob], [a, b], conversation) = apart().await;
    let seq = a.say(&conversation, "got it?").await;
    b.message(&conversation, seq).await;
    b.post(json!({"type": "delivered", "conversation": conversation, "seq": seq})).await;
    let receipt =
        a.wait_for("a receipt", |frame| frame["type"] == "receipt" && frame["delivered"].as_u64() >= Some(seq)).await;
    assert_eq!((&receipt["conversation"], &receipt["user"]), (&json!(conversation), &json!(bob.id)), "{receipt}");
}

#[tokio::test]
async fn typing_is_shown_to_the_other() {
    let ([alice, _], [a, b], conversation) = apart().await;
    a.say(&conversation, "first").await;
    a.post(json!({"type": "typing", "conversation": conversation})).await;
    let typing = b.wait_for("typing", |frame| frame["type"] == "typing").await;
    assert_eq!((&typing["conversation"], &typing["user"]), (&json!(conversation), &json!(alice.id)));
    assert!(a.frames(|frame| frame["type"] == "typing").is_empty(), "nobody is told of their own typing");
}

#[tokio::test]
async fn a_reply_names_what_it_answers() {
    let (_, [a, b], conversation) = apart().await;
    let seq = a.say(&conversation, "a question").await;
    let mut reply = text_to(&conversation, "an answer");
    reply["reply_to"] = seq.into();
    b.expect(reply, "sent").await;
    assert_eq!(a.message(&conversation, 2).await["reply_to"], seq);
    let mut to_nothing = text_to(&conversation, "to what is not there");
    to_nothing["reply_to"] = 99.into();
    let answer = b.ask(to_nothing).await;
    assert_eq!((&answer["code"], &answer["field"]), (&json!("invalid_field"), &json!("reply_to")), "{answer}");
}

#[tokio::test]
async fn a_recalled_message_keeps_its_seq_and_loses_its_content_everywhere() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    let before = a.say(&conversation, "before").await;
    let seq = a.say(&conversation, "oops").await;
    b.message(&conversation, seq).await;
    let synced = b.expect(json!({"type": "sync", "conversation": conversation, "after": seq}), "messages").await;
    let path = format!("/v1/conversations/{conversation}/messages/{seq}");
    bob.http.call("DELETE", &path, &Value::Null).await.problem(403, "forbidden");
    alice.http.delete(&path).await;
    for client in [&a, &b] {
        let changed = client.event("message_changed", |data| data["seq"] == seq).await;
        assert_eq!(changed["conversation"], conversation.as_str());
        assert!(changed["rev"].as_u64() > synced["rev"].as_u64(), "{changed}");
        let message = &changed["message"];
        assert_eq!(
            (&message["recalled"], &message["content"], &message["seq"]),
            (&json!(true), &json!({}), &json!(seq))
        );
        assert_eq!(message["rev"], changed["rev"]);
    }
    let history = b.expect(json!({"type": "history", "conversation": conversation}), "messages").await;
    assert_eq!(history["messages"][1]["recalled"], true, "{history}");
    assert!(!history.to_string().contains("oops"), "{history}");
    let since_then = json!({"type": "sync", "conversation": conversation, "after": seq, "rev": synced["rev"]});
    let changed = b.expect(since_then, "messages").await;
    assert_eq!((&changed["messages"], &changed["changed"][0]["seq"]), (&json!([]), &json!(seq)), "{changed}");
    assert!(changed["rev"].as_u64() > synced["rev"].as_u64(), "{changed}");
    let since_the_change = json!({"type": "sync", "conversation": conversation, "after": seq, "rev": changed["rev"]});
    assert_eq!(b.expect(since_the_change, "messages").await["changed"], json!([]));
    let item = listed(&bob, &conversation).await;
    assert_eq!((&item["last"]["seq"], &item["last"]["recalled"]), (&json!(seq), &json!(true)), "{item}");
    assert_eq!(item["unread"], 2, "a recalled message counts until read");
    alice.http.delete(&path).await;
    let _ = before;
}

#[tokio::test]
async fn pin_do_not_disturb_and_draft_are_mine_and_reach_my_other_terminals() {
    let ([alice, bob], [a, _b], conversation) = apart().await;
    let a_phone = alice.connect_on(1, "mobile").await;
    a.say(&conversation, "x").await;
    let path = format!("/v1/conversations/{conversation}");
    alice.http.patch(&path, json!({"pinned": true, "do_not_disturb": true, "draft": "half a sen"})).await;
    let item = listed(&alice, &conversation).await;
    assert_eq!(
        (&item["pinned"], &item["do_not_disturb"], &item["draft"]),
        (&json!(true), &json!(true), &json!("half a sen"))
    );
    a_phone.event("conversation_changed", |data| data["conversation"] == conversation.as_str()).await;
    let others = listed(&bob, &conversation).await;
    assert_eq!((&others["pinned"], &others["do_not_disturb"]), (&json!(false), &json!(false)));
    alice.http.patch(&path, json!({"pinned": false})).await;
    let item = listed(&alice, &conversation).await;
    assert_eq!((&item["pinned"], &item["do_not_disturb"]), (&json!(false), &json!(true)), "what is not named stays");
}

#[tokio::test]
async fn a_conversation_deleted_for_me_comes_back_with_something_new() {
    let ([alice, bob], [a, b], conversation) = apart().await;
    a.say(&conversation, "old").await;
    let since = b.welcome["since"].clone();
    bob.http.delete(&format!("/v1/conversations/{conversation}")).await;
    let list = bob.http.get("/v1/conversations").await;
    assert_eq!(list["items"], json!([]), "{list}");
    let changes = b.expect(json!({"type": "conversations", "since": since}), "conversations").await;
    let tombstone = json!({"conversation": conversation, "removed": true, "reason": "deleted"});
    assert_eq!(changes["items"], json!([tombstone]), "{changes}");
    assert_eq!(
        alice.http.get("/v1/conversations").await["items"][0]["conversation"],
        conversation.as_str(),
        "for me alone"
    );
    let seq = a.say(&conversation, "new").await;
    b.message(&conversation, seq).await;
    let item = listed(&bob, &conversation).await;
    assert_eq!((&item["unread"], &item["last"]["seq"]), (&json!(1), &json!(seq)), "{item}");
}
