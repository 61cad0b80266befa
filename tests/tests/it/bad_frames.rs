//! Frames that are wrong in themselves: each gets its error, and the connection stays.

use imcluster_tests::client::{Client, text_to};
use imcluster_tests::stage::{Stage, direct};
use serde_json::{Value, json};

/// The connection still answers.
async fn still_works(client: &Client) {
    let pong = client.expect(json!({"type": "ping"}), "pong").await;
    assert!(pong["time"].as_i64().is_some_and(|time| time > 0), "{pong}");
}

#[tokio::test]
async fn text_that_is_no_frame_is_an_invalid_frame_and_the_connection_stays() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    let bad = ["not json", "[]", "123", "null", "\"hello\"", "{", "{\"type\":\"ping\"} trailing", "", "{}"];
    for text in bad {
        client.post_text(text).await;
    }
    still_works(&client).await;
    let errors = client.frames(|frame| frame["type"] == "error");
    assert_eq!(errors.len(), bad.len(), "{errors:?}");
    assert!(errors.iter().all(|error| error["code"] == "invalid_frame"), "{errors:?}");
}

#[tokio::test]
async fn a_frame_of_unknown_type_is_refused_with_its_id_and_the_field() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    let error = client.refused(json!({"type": "nope"}), "invalid_frame").await;
    assert_eq!((&error["field"], &error["retryable"]), (&json!("type"), &json!(false)), "{error}");
    let error = client.refused(json!({"type": 7}), "invalid_frame").await;
    assert_eq!(error["field"], "type", "{error}");
    let error = client.refused(json!({}), "invalid_frame").await;
    assert_eq!(error["field"], "type", "{error}");
    still_works(&client).await;
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    let send = |field: &str, value: Value| {
        let mut frame = text_to("g:none", "x");
        frame[field] = value;
        (frame, field.to_owned())
    };
    let other = |frame: Value, field: &str| (frame, field.to_owned());
    let wrong = [
        send("conversation", json!(7)),
        send("client_message_id", json!([])),
        send("client_message_id", Value::Null),
        send("kind", json!({})),
        send("content", json!("text")),
        send("content", json!([1])),
        send("mentions", json!("bob")),
        send("mention_all", json!("yes")),
        send("reply_to", json!("41")),
        send("reply_to", json!(-1)),
        other(json!({"type": "read", "conversation": "g:x", "seq": -1}), "seq"),
        other(json!({"type": "read", "conversation": "g:x", "seq": "1"}), "seq"),
        other(json!({"type": "read", "conversation": "g:x"}), "seq"),
        other(json!({"type": "sync", "conversation": "g:x", "after": "0"}), "after"),
        other(json!({"type": "sync", "conversation": "g:x"}), "after"),
        other(json!({"type": "sync", "conversation": "g:x", "after": 0, "limit": 1e99}), "limit"),
        other(json!({"type": "sync", "conversation": "g:x", "after": 0, "rev": []}), "rev"),
        other(json!({"type": "sync", "items": 3}), "items"),
        other(
            json!({"type": "sync", "items": [{"conversation": "g:x", "after": 0}, {"conversation": "g:x", "after": true}]}),
            "items[1].after",
        ),
        other(json!({"type": "history", "conversation": "g:x", "before": "9"}), "before"),
        other(json!({"type": "history"}), "conversation"),
        other(json!({"type": "conversations", "cursor": 9}), "cursor"),
        other(json!({"type": "conversations", "since": {}}), "since"),
        other(json!({"type": "conversations", "limit": "50"}), "limit"),
        other(json!({"type": "join"}), "conversation"),
        other(json!({"type": "leave", "conversation": 1}), "conversation"),
        other(json!({"type": "typing", "conversation": 1}), "conversation"),
        other(json!({"type": "presence", "subscribe": "bob"}), "subscribe"),
        other(json!({"type": "presence", "unsubscribe": [1]}), "unsubscribe[0]"),
        other(json!({"type": "auth", "token": 1}), "token"),
        other(json!({"type": "auth"}), "token"),
        other(json!({"type": "delivered", "conversation": "g:x", "seq": []}), "seq"),
    ];
    for (frame, field) in wrong {
        let error = client.refused(frame.clone(), "invalid_frame").await;
        assert_eq!(error["field"], field.as_str(), "{frame} was answered with {error}");
    }
    still_works(&client).await;
}

#[tokio::test]
async fn a_field_with_a_value_that_is_not_allowed_is_named() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    let send = |field: &str, value: Value| {
        let mut frame = text_to("g:none", "x");
        frame[field] = value;
        (frame, field.to_owned())
    };
    let wrong = [
        send("conversation", json!("x:none")),
        send("conversation", json!("")),
        send("conversation", json!("d:bob:alice")),
        send("client_message_id", json!("")),
        send("client_message_id", json!("x".repeat(65))),
        send("client_message_id", json!("a\u{0}b")),
        send("kind", json!("bogus")),
        send("kind", json!("notification")),
    ];
    for (frame, field) in wrong {
        let error = client.refused(frame.clone(), "invalid_field").await;
        assert_eq!(error["field"], field.as_str(), "{frame} was answered with {error}");
    }
    for bad in ["nul\u{0}", "bell\u{7}", "escape\u{1b}[31m"] {
        let error = client.refused(text_to("g:none", bad), "invalid_field").await;
        assert!(error["field"].as_str().is_some_and(|field| field.starts_with("content")), "{error}");
    }
    still_works(&client).await;
}

#[tokio::test]
async fn tabs_and_newlines_are_welcome_in_content() {
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect("web").await;
    let text = "a\tb\nc 中文 🙂";
    let seq = client.say(&direct(&alice, &bob), text).await;
    assert_eq!(client.message(&direct(&alice, &bob), seq).await["content"], json!({"text": text}));
}

#[tokio::test]
async fn an_error_carries_the_id_whenever_it_was_a_string() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    client.post(json!({"type": "nope", "id": "of unknown type"})).await;
    assert_eq!(client.answer("of unknown type").await["code"], "invalid_frame");
    client.post(json!({"id": "without a type"})).await;
    assert_eq!(client.answer("without a type").await["code"], "invalid_frame");
    client.post(json!({"type": "send", "id": "without anything"})).await;
    assert_eq!(client.answer("without anything").await["code"], "invalid_frame");
    client
        .post(json!({"type": "hello", "id": "twice", "token": alice.token(), "terminal": "web", "device": "d"}))
        .await;
    assert_eq!(client.answer("twice").await["code"], "invalid_frame");
    for id in [json!(7), json!({}), json!("x".repeat(65))] {
        client.post(json!({"type": "ping", "id": id})).await;
    }
    still_works(&client).await;
    let of_the_id = client.frames(|frame| frame["type"] == "error" && frame["field"] == "id");
    assert_eq!(of_the_id.len(), 3, "{of_the_id:?}");
}

#[tokio::test]
async fn a_pong_and_an_error_to_a_frame_without_id_have_none() {
    let alice = Stage::shared().person().await;
    let client = alice.connect("web").await;
    client.post(json!({"type": "ping"})).await;
    let pong = client.wait_for("a pong", |frame| frame["type"] == "pong").await;
    assert!(pong.get("id").is_none(), "{pong}");
    client.post(json!({"type": "nope", "id": null})).await;
    let error = client.wait_for("an error", |frame| frame["type"] == "error").await;
    assert!(error.get("id").is_none(), "{error}");
}

#[tokio::test]
async fn before_hello_every_other_frame_is_told_that_hello_is_required() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    for mut client in [stage.websocket().await, stage.tcp().await] {
        let frames = [
            json!({"type": "ping"}),
            json!({"type": "conversations", "limit": 10}),
            text_to("g:none", "x"),
            json!({"type": "auth", "token": alice.token()}),
        ];
        for frame in frames {
            client.refused(frame, "hello_required").await;
        }
        client.hello(json!({"token": alice.token(), "terminal": "bot", "device": "http"})).await;
        still_works(&client).await;
    }
}

#[tokio::test]
async fn a_hello_with_wrong_fields_can_be_said_again() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let mut client = stage.websocket().await;
    let good = json!({"type": "hello", "token": alice.token(), "terminal": "bot", "device": "http"});
    let wrong = [
        ("terminal", json!("fridge"), "invalid_field"),
        ("terminal", json!(1), "invalid_frame"),
        ("terminal", Value::Null, "invalid_frame"),
        ("device", json!(""), "invalid_field"),
        ("device", json!("x".repeat(65)), "invalid_field"),
        ("device", Value::Null, "invalid_frame"),
        ("protocol", json!(2), "invalid_field"),
        ("token", Value::Null, "invalid_frame"),
    ];
    for (field, value, code) in wrong {
        let mut hello = good.clone();
        hello[field] = value;
        let error = client.refused(hello, code).await;
        assert_eq!(error["field"], field, "{error}");
    }
    client.hello(good).await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect("web").await;
    let mut frame = text_to(&direct(&alice, &bob), "x");
    frame["colour"] = json!({"of": ["the", "future"]});
    client.expect(frame, "sent").await;
}
