//! Good frames that the rules refuse.

use imcluster_tests::client::{fresh, text_to};
use imcluster_tests::stage::{Stage, direct};
use serde_json::{Value, json};

#[tokio::test]
async fn a_conversation_that_does_not_exist_is_not_a_members() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    let nowhere = "g:01J0000000000000000000000";
    let send = client.ask(text_to(nowhere, "x")).await;
    assert!(["not_a_member", "not_found"].contains(&send["code"].as_str().expect("an error")), "{send}");
    for frame in [
        json!({"type": "history", "conversation": nowhere}),
        json!({"type": "sync", "conversation": nowhere, "after": 0}),
        json!({"type": "read", "conversation": nowhere, "seq": 1}),
    ] {
        let answer = client.ask(frame).await;
        assert_eq!(answer["code"], send["code"], "all requests name it the same: {answer}");
    }
}

#[tokio::test]
async fn a_stranger_may_not_send_read_or_see_a_group() {
    let [alice, bob, eve] = Stage::shared().people().await;
    let (group, conversation) = alice.group(&[&bob], "private").await;
    let (a, e) = (alice.connect("web").await, eve.connect("web").await);
    a.say(&conversation, "secret").await;
    e.refused(text_to(&conversation, "let me in"), "not_a_member").await;
    e.refused(json!({"type": "history", "conversation": conversation}), "not_a_member").await;
    e.refused(json!({"type": "sync", "conversation": conversation, "after": 0}), "not_a_member").await;
    e.refused(json!({"type": "read", "conversation": conversation, "seq": 1}), "not_a_member").await;
    for (method, path) in [
        ("GET", format!("/v1/conversations/{conversation}/messages")),
        ("GET", format!("/v1/conversations/{conversation}/messages/2/readers")),
        ("GET", format!("/v1/groups/{group}/members")),
        ("DELETE", format!("/v1/groups/{group}/members/{}", bob.id)),
    ] {
        let reply = eve.http.call(method, &path, &Value::Null).await;
        reply.problem(403, "not_a_member");
    }
    assert!(e.messages(&conversation).is_empty());
}

#[tokio::test]
async fn a_third_person_may_not_look_into_a_direct_conversation() {
    let stage = Stage::shared();
    let [alice, bob] = stage.friends().await;
    let eve = stage.person().await;
    let conversation = direct(&alice, &bob);
    alice.connect("web").await.say(&conversation, "between us").await;
    let e = eve.connect("web").await;
    e.refused(text_to(&conversation, "x"), "not_a_member").await;
    e.refused(json!({"type": "history", "conversation": conversation}), "not_a_member").await;
    e.refused(json!({"type": "sync", "conversation": conversation, "after": 0}), "not_a_member").await;
}

#[tokio::test]
async fn strangers_are_not_friends_and_a_block_is_looked_at_first() {
    let [alice, bob] = Stage::shared().people().await;
    let client = alice.connect("web").await;
    let send = || json!({"type": "send", "to": bob.id, "client_message_id": fresh("m"), "kind": "text", "content": {"text": "x"}});
    client.refused(send(), "not_friends").await;
    bob.http.put(&format!("/v1/blocks/{}", alice.id), Value::Null).await;
    client.refused(send(), "blocked").await;
    alice
        .http
        .call("POST", "/v1/friend-requests", &json!({"user": bob.id, "message": ""}))
        .await
        .problem(403, "blocked");
    bob.http.delete(&format!("/v1/blocks/{}", alice.id)).await;
    client.refused(send(), "not_friends").await;
    alice.befriend(&bob).await;
    client.expect(send(), "sent").await;
    bob.http.put(&format!("/v1/blocks/{}", alice.id), Value::Null).await;
    client.refused(send(), "blocked").await;
}

#[tokio::test]
async fn a_muted_member_and_a_muted_group_may_not_speak() {
    let [alice, bob, carol] = Stage::shared().people().await;
    let (group, conversation) = alice.group(&[&bob, &carol], "quiet").await;
    let (a, b, c) = (alice.connect("web").await, bob.connect("web").await, carol.connect("web").await);
    let member = |person: &str| format!("/v1/groups/{group}/members/{person}");
    let until = 4_000_000_000_000_u64;
    alice.http.patch(&member(&bob.id), json!({"muted_until": until})).await;
    b.refused(text_to(&conversation, "x"), "muted").await;
    c.say(&conversation, "I may").await;
    alice.http.patch(&member(&bob.id), json!({"muted_until": 0})).await;
    b.say(&conversation, "again").await;

    alice.http.patch(&format!("/v1/groups/{group}"), json!({"muted": true})).await;
    b.refused(text_to(&conversation, "x"), "muted").await;
    c.refused(text_to(&conversation, "x"), "muted").await;
    a.say(&conversation, "the owner may").await;
    alice.http.patch(&member(&carol.id), json!({"role": "admin"})).await;
    c.say(&conversation, "an admin may").await;
    alice.http.patch(&format!("/v1/groups/{group}"), json!({"muted": false})).await;
    b.say(&conversation, "everyone may").await;
}

#[tokio::test]
async fn a_client_message_id_with_another_body_is_refused_and_the_first_stays() {
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect("web").await;
    let conversation = direct(&alice, &bob);
    let first = json!({"type": "send", "conversation": conversation, "client_message_id": "one", "kind": "text",
        "content": {"text": "hello", "size": 1}, "mentions": [bob.id]});
    let sent = client.expect(first.clone(), "sent").await;
    for (field, value) in [
        ("kind", json!("custom")),
        ("content", json!({"text": "other", "size": 1})),
        ("mentions", json!([])),
        ("mention_all", json!(true)),
        ("reply_to", json!(1)),
    ] {
        let mut other = first.clone();
        other[field] = value;
        client.refused(other, "client_message_id_reused").await;
    }
    let mut same = first.clone();
    same["content"] = json!({"size": 1, "text": "hello"});
    same["mention_all"] = Value::Null;
    let again = client.expect(same, "sent").await;
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&sent["seq"], &json!(true)),
        "the same JSON in another order: {again}"
    );
    let history = client.expect(json!({"type": "history", "conversation": conversation}), "messages").await;
    let messages = history["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 1, "{history}");
    assert_eq!(messages[0]["content"], first["content"]);
}

#[tokio::test]
async fn who_sends_too_fast_is_told_when_to_come_back_and_a_retry_is_acked_even_then() {
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect("web").await;
    let conversation = direct(&alice, &bob);
    let first = text_to(&conversation, "the first");
    let sent = client.expect(first.clone(), "sent").await;
    let mut refused = None;
    for _ in 0..400 {
        let answer = client.ask(text_to(&conversation, "more")).await;
        if answer["type"] == "error" {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("more than the burst and the rate are too many");
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("rate_limited"), &json!(true)), "{refused}");
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{refused}");
    let flood: Vec<_> = (0..50).map(|_| text_to(&conversation, "a flood")).collect();
    let mut ids = Vec::new();
    for frame in flood {
        ids.push(client.submit(frame).await);
    }
    let again = client.expect(first, "sent").await;
    assert_eq!((&again["seq"], &again["time"], &again["duplicate"]), (&sent["seq"], &sent["time"], &json!(true)));
    let mut limited = 0;
    for id in ids {
        limited += u32::from(client.answer(&id).await["code"] == "rate_limited");
    }
    assert!(limited > 0, "the flood was over the limit");
}

#[tokio::test]
async fn a_retry_is_acked_even_when_the_rules_have_changed() {
    let [alice, bob] = Stage::shared().friends().await;
    let (_, conversation) = alice.group(&[&bob], "changing").await;
    let client = bob.connect("web").await;
    let message = text_to(&conversation, "in time");
    let sent = client.expect(message.clone(), "sent").await;
    let group = conversation.trim_start_matches("g:");
    alice.http.delete(&format!("/v1/groups/{group}/members/{}", bob.id)).await;
    client.refused(text_to(&conversation, "too late"), "not_a_member").await;
    let again = client.expect(message, "sent").await;
    assert_eq!((&again["seq"], &again["duplicate"]), (&sent["seq"], &json!(true)));
}

#[tokio::test]
async fn a_thousand_pipelined_sends_are_answered_in_order_with_dense_seqs() {
    let stage = Stage::own(&["--no-limits"]);
    let [alice, bob] = stage.friends().await;
    let conversation = direct(&alice, &bob);
    for (client, first) in [(alice.connect("web").await, 1), (alice.connect_tcp("desktop").await, 1001)] {
        let mut ids = Vec::new();
        for n in 0..1000 {
            ids.push(client.submit(text_to(&conversation, &n.to_string())).await);
        }
        client.answer(ids.last().expect("a thousand")).await;
        let answers = client.frames(|frame| frame["type"] == "sent");
        let order: Vec<_> = answers.iter().map(|sent| sent["id"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(order, ids, "answers come in the order of the sends");
        let seqs: Vec<_> = answers.iter().map(|sent| sent["seq"].as_u64().expect("a seq")).collect();
        assert_eq!(seqs, (first..first + 1000).collect::<Vec<_>>());
    }
}
