//! A client's life, against a server that behaves badly on purpose.

use std::sync::Arc;
use std::time::Duration;

use im_client::{Client, Event, Events, LocalStore, MemoryStore, SendError, Stopped, Target};
use im_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::model::message;
use crate::peer::{Peer, Server, within};

struct Started {
    server: Server,
    peer: Peer,
    client: Client,
    events: Events,
    store: Arc<MemoryStore>,
}

async fn start() -> Started {
    let server = Server::start().await;
    let store = Arc::new(MemoryStore::default());
    let connecting = Client::connect(server.config(), store.clone());
    let (peer, connected) = tokio::join!(server.welcome(), connecting);
    let (client, events) = connected.unwrap();
    Started { server, peer, client, events, store }
}

/// The first event that `pick` takes.
async fn event<T>(events: &mut Events, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.next().await.expect("the client goes on");
            if let Some(picked) = pick(event) {
                return picked;
            }
        }
    })
    .await
}

fn bob() -> Target {
    Target::User("bob".parse().unwrap())
}

fn pushed(seq: u64) -> Value {
    let mut frame = serde_json::to_value(message(seq, 0)).unwrap();
    frame["type"] = "message".into();
    frame["sender"] = "bob".into();
    frame
}

#[tokio::test]
async fn a_send_whose_ack_was_lost_is_sent_again_with_the_same_id_and_in_order() {
    let Started { server, mut peer, client, store, events: _events } = start().await;
    let sending = tokio::spawn({
        let client = client.clone();
        async move { tokio::join!(client.send_text(bob(), "one"), client.send_text(bob(), "two")) }
    });
    let first = peer.expect("send").await;
    // Committed, perhaps, but the ack never leaves.
    drop(peer);
    let mut peer = server.welcome().await;
    let again = peer.expect("send").await;
    assert_eq!(again["client_message_id"], first["client_message_id"]);
    assert_eq!(again["content"], first["content"]);
    peer.ack(&again, 1).await;
    let second = peer.expect("send").await;
    assert_ne!(second["client_message_id"], first["client_message_id"]);
    peer.ack(&second, 2).await;
    let (one, two) = within(sending).await.unwrap();
    assert_eq!((one.unwrap().seq, two.unwrap().seq), (1, 2));
    assert!(store.unsent().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_too_fast_waits_as_long_as_told_and_one_refused_is_reported() {
    let Started { mut peer, client, store, server: _server, events: _events } = start().await;
    let sending = tokio::spawn(async move { client.send_text(bob(), "hi").await });
    let first = peer.expect("send").await;
    peer.send(&json!({"type": "error", "id": first["id"], "code": "rate_limited", "message": "", "retryable": true,
        "retry_after_ms": 50}))
        .await;
    let again = peer.expect("send").await;
    assert_eq!(again["client_message_id"], first["client_message_id"]);
    peer.send(&json!({"type": "error", "id": again["id"], "code": "blocked", "message": ""})).await;
    match within(sending).await.unwrap() {
        Err(SendError::Refused(im_client::RequestError::Refused(error))) => assert_eq!(error.code, ErrorCode::Blocked),
        other => panic!("{other:?}"),
    }
    assert!(store.unsent().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_missing_is_pulled_and_everything_arrives_in_order_and_is_acked() {
    let Started { mut peer, mut events, client: _client, server: _server, .. } = start().await;
    peer.send(&pushed(3)).await;
    let sync = peer.expect("sync").await;
    let item = &sync["items"][0];
    assert_eq!((&item["conversation"], &item["after"]), (&json!("g:1"), &json!(0)));
    // Doubled, and too late.
    peer.send(&pushed(2)).await;
    peer.send(&pushed(3)).await;
    let messages: Vec<_> = (1..=3).map(pushed).collect();
    peer.send(&json!({"type": "messages", "id": sync["id"], "conversation": "g:1", "incarnation": 1, "head": 3,
        "rev": 0, "messages": messages, "changed": [], "gaps": [], "more": false, "last": true}))
        .await;
    for seq in 1..=3 {
        let arrived = event(&mut events, |event| match event {
            Event::Message(message) => Some(message.seq),
            _ => None,
        });
        assert_eq!(arrived.await, seq);
    }
    assert_eq!(peer.expect("delivered").await["seq"], 3);
}

#[tokio::test]
async fn a_kicked_device_does_not_come_back_by_itself() {
    let Started { mut peer, mut events, client, server: _server, .. } = start().await;
    peer.send(&json!({"type": "kicked", "reason": "another_device"})).await;
    let why = event(&mut events, |event| match event {
        Event::Stopped(why) => Some(why),
        Event::Offline(_) => panic!("it wants to come back"),
        _ => None,
    });
    assert!(matches!(why.await, Stopped::Kicked(reason) if reason == "another_device"));
    assert!(matches!(client.send_text(bob(), "hi").await, Err(SendError::Stopped)));
}

#[tokio::test]
async fn a_server_that_leaves_says_when_to_come_back_and_gets_the_since_token() {
    let Started { server, mut peer, mut events, client: _client, store } = start().await;
    within(async {
        while store.since().await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    peer.send(&json!({"type": "goaway", "reason": "draining", "reconnect_after_ms": 77})).await;
    drop(peer);
    let wait = event(&mut events, |event| match event {
        Event::Offline(wait) => Some(wait),
        _ => None,
    });
    assert_eq!(wait.await, Duration::from_millis(77));
    let hello = server.accept().await.expect("hello").await;
    assert_eq!(hello["since"], "s");
}
