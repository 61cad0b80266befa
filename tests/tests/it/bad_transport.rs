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
async fn a_socket_whose_token_expires_is_closed_with_4001_unless_a_fresh_one_came() {
    let stage = Stage::shared();
    let alice = stage.person().await;
    let sessions = alice.http.get("/v1/sessions").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({"sub": alice.id, "sid": sessions["items"][0]["id"], "iat": now, "exp": now + 3});
    let short = json!({"token": stage.forged_token(&claims), "terminal": "bot", "device": "http"});
    let expiring = alice.connect_with(short.clone()).await;
    let renewed = alice.connect_with(short).await;
    assert_eq!(renewed.welcome["token_expires"], (now + 3) * 1000);
    renewed.expect(json!({"type": "auth", "token": alice.token()}), "ok").await;
    assert_eq!(expiring.closed().await.code, Some(4001));
    renewed.expect(json!({"type": "ping"}), "pong").await;
}

#[tokio::test]
async fn an_address_that_knocks_too_often_is_told_so_by_http_and_by_tcp() {
    let stage = Stage::own(&[]);
    // A request that is no WebSocket's is a handshake all the same; ten times the 600 a minute of production are allowed.
    let mut refused = None;
    for _ in 0..20_000 {
        let reply = stage.http.call("GET", "/v1/connect", &Value::Null).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.status, 400, "{}", reply.body);
    }
    let refused = refused.expect("so many handshakes are too many");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    refused.problem(429, "rate_limited");
    let mut over = false;
    // The limit lets one in every ten milliseconds: one of two at once is too many.
    for _ in 0..100 {
        let (one, other) = tokio::join!(stage.tcp(), stage.tcp());
        for client in [one, other] {
            let last = client.wait_within(std::time::Duration::from_millis(20), |_| true).await;
            over |= last.is_some_and(|last| last["code"] == "too_many_requests");
        }
        if over {
            break;
        }
    }
    assert!(over, "TCP says the same");
    Stage::on(stage.server.clone()).tcp().await.refused(json!({"type": "ping"}), "hello_required").await;
}

#[tokio::test]
async fn a_flood_of_junk_leaves_memory_flat_and_harms_nothing() {
    let stage = Stage::own(&[]);
    let [alice, bob] = stage.friends().await;
    let (a, b) = (alice.connect("web").await, bob.connect("web").await);
    let conversation = direct(&alice, &bob);
    let flood = async |connections: usize| {
        for _ in 0..connections {
            let (tcp, websocket) = (stage.tcp().await, stage.websocket().await);
            tcp.post_bytes(&[0xff; 4096]).await;
            websocket.post_bytes(&[0xff; 4096]).await;
            assert_eq!(last_words(&tcp).await["code"], "invalid_frame");
            assert_eq!(websocket.closed().await.code, Some(1007));
            b.post_text("{\"type\":\"send\",\"id\":\"junk\",\"content\":{}}").await;
        }
        a.say(&conversation, "all the while").await
    };
    flood(100).await;
    let before = stage.server.resident_bytes();
    let seq = flood(500).await;
    let growth = stage.server.resident_bytes().saturating_sub(before);
    assert!(growth < 4 * 1024 * 1024, "500 connections of junk on each port cost {growth} bytes");
    b.message(&conversation, seq).await;
    assert_eq!(b.seqs(&conversation), [1, 2]);
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
