//! What goes wrong below the frames: bytes, lengths, silence.

use imcluster_tests::client::{Client, text_to};
use imcluster_tests::stage::{Stage, direct};
use serde_json::{Value, json};

/// On TCP the last frame says why the connection is closed.
async fn last_words(client: &Client) -> Value {
    assert_eq!(client.closed().await.code, None, "TCP has no close code");
    client.frames(|_| true).pop().expect("a last error")
}

async fn closes_tcp_with(bytes: &[u8], code: &str) {
    let stage = Stage::shared();
    let client = stage.tcp().await;
    client.post_bytes(bytes).await;
    let last = last_words(&client).await;
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!(code)), "{last}");
}

#[tokio::test]
async fn a_length_of_zero_is_an_invalid_frame() {
    closes_tcp_with(&[0, 0, 0, 0], "invalid_frame").await;
}

#[tokio::test]
async fn a_length_of_four_gibibytes_is_an_invalid_frame() {
    closes_tcp_with(&[0xff, 0xff, 0xff, 0xff], "invalid_frame").await;
}

#[tokio::test]
async fn binary_junk_on_tcp_is_an_invalid_frame() {
    closes_tcp_with(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xde\xad\xbe\xef", "invalid_frame").await;
}

#[tokio::test]
async fn an_http_request_on_the_tcp_port_is_an_invalid_frame() {
    closes_tcp_with(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "invalid_frame").await;
}

#[tokio::test]
async fn text_on_tcp_that_is_not_utf_8_is_an_invalid_frame() {
    closes_tcp_with(b"\0\0\0\x04\"\xff\xfe\"", "invalid_frame").await;
}

#[tokio::test]
async fn a_length_over_16_kib_before_hello_is_refused_on_tcp_and_128_kib_after() {
    let length = |bytes: u32| bytes.to_be_bytes();
    closes_tcp_with(&length(16 * 1024 + 1), "invalid_frame").await;
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect_tcp("desktop").await;
    let seq = client.say(&direct(&alice, &bob), &"x".repeat(60_000)).await;
    client.message(&direct(&alice, &bob), seq).await;
    client.post_bytes(&length(128 * 1024 + 1)).await;
    assert_eq!(last_words(&client).await["code"], "invalid_frame");
}

#[tokio::test]
async fn a_websocket_text_that_is_not_utf_8_closes_with_1007() {
    let client = Stage::shared().person().await.connect("web").await;
    client.post_bytes(b"\xff\xfe{}").await;
    assert_eq!(client.closed().await.code, Some(1007));
}

#[tokio::test]
async fn a_frame_over_16_kib_before_hello_closes_with_1009() {
    let stage = Stage::shared();
    let client = stage.websocket().await;
    client.post(json!({"type": "hello", "token": "x".repeat(17 * 1024), "terminal": "web", "device": "d"})).await;
    assert_eq!(client.closed().await.code, Some(1009));
}

#[tokio::test]
async fn a_frame_over_frame_bytes_closes_with_1009() {
    let client = Stage::shared().person().await.connect("web").await;
    let frame_bytes = client.welcome["limits"]["frame_bytes"].as_u64().expect("a limit");
    assert_eq!(frame_bytes, 128 * 1024);
    client.post(text_to("g:none", &"x".repeat(128 * 1024 + 1))).await;
    assert_eq!(client.closed().await.code, Some(1009));
}

#[tokio::test]
async fn content_over_the_limit_is_too_large_and_the_connection_stays() {
    let [alice, bob] = Stage::shared().friends().await;
    let client = alice.connect("web").await;
    let content_bytes = client.welcome["limits"]["content_bytes"].as_u64().expect("a limit");
    assert_eq!(content_bytes, 64 * 1024);
    let around_the_text = r#"{"text":""}"#.len();
    let longest = "y".repeat(64 * 1024 - around_the_text);
    let conversation = direct(&alice, &bob);
    let error = client.refused(text_to(&conversation, &(longest.clone() + "y")), "too_large").await;
    assert_eq!(error["field"], "content", "{error}");
    client.say(&conversation, &longest).await;
}

#[tokio::test]
async fn a_rubbish_token_gets_an_error_and_closes_with_4001() {
    let stage = Stage::shared();
    let client = stage.websocket().await;
    client
        .refused(json!({"type": "hello", "token": "rubbish", "terminal": "web", "device": "d"}), "unauthorized")
        .await;
    assert_eq!(client.closed().await.code, Some(4001));
    let client = stage.tcp().await;
    client
        .refused(json!({"type": "hello", "token": "rubbish", "terminal": "web", "device": "d"}), "unauthorized")
        .await;
    assert_eq!(last_words(&client).await["code"], "unauthorized");
}

#[tokio::test]
async fn an_expired_token_is_told_apart_and_closes_with_4001() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let sessions = alice.http.get("/v1/sessions").await;
    let session = sessions["items"][0]["id"].clone();
    let expired = stage.forged_token(&json!({"sub": alice.id, "sid": session, "iat": 1_000_000, "exp": 1_000_900}));
    let client = stage.websocket().await;
    client.refused(json!({"type": "hello", "token": expired, "terminal": "web", "device": "d"}), "token_expired").await;
    assert_eq!(client.closed().await.code, Some(4001));
    stage.http.with_token(&expired).call("GET", "/v1/users/me", &Value::Null).await.problem(401, "token_expired");
}

#[tokio::test]
async fn a_token_of_a_session_that_does_not_exist_is_unauthorized() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let token =
        stage.forged_token(&json!({"sub": alice.id, "sid": "made-up", "iat": 1_000_000, "exp": 9_000_000_000_u64}));
    stage.http.with_token(&token).call("GET", "/v1/users/me", &Value::Null).await.problem(401, "unauthorized");
    let client = stage.websocket().await;
    client.refused(json!({"type": "hello", "token": token, "terminal": "web", "device": "d"}), "unauthorized").await;
    assert_eq!(client.closed().await.code, Some(4001));
}

#[tokio::test]
async fn connections_that_never_say_hello_hold_nothing_and_are_closed_as_no_hello() {
    let stage = Stage::own(&[]);
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(stage.websocket().await);
        silent.push(stage.tcp().await);
    }
    let [alice, bob] = stage.friends().await;
    let (from, to) = (alice.connect("web").await, bob.connect("web").await);
    let seq = from.say(&direct(&alice, &bob), "among the silent").await;
    to.message(&direct(&alice, &bob), seq).await;
    let management = stage.management().with_token(imcluster_tests::server::MANAGEMENT_TOKEN);
    assert_eq!(management.get("/status").await["connections"], 2, "who has not said hello is no connection yet");
    for pair in silent.chunks(2) {
        assert_eq!(pair[0].closed().await.code, Some(4008));
        assert_eq!(last_words(&pair[1]).await["code"], "no_hello");
    }
}
