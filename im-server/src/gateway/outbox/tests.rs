//! The outbox over real sockets.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::close::CloseReason;
use im_protocol::record::About;
use im_protocol::server::{Answer, Pong};
use im_protocol::{ConversationId, Frame, ServerFrame};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::{Bounds, Framing, Outbox};
use crate::chat::now_ms;
use crate::hub::{SharedFrame, Sink};

const BOUNDS: Bounds = Bounds { queue_bytes: 64 * 1024, stall_ms: 1_000, silence_ms: 60_000 };

async fn ends() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, client)
}

async fn pair() -> (Arc<Outbox>, TcpStream) {
    let (server, client) = ends().await;
    // Small buffers, so that a test fills them soon.
    socket2::SockRef::from(&server).set_send_buffer_size(4 * 1024).unwrap();
    socket2::SockRef::from(&client).set_recv_buffer_size(4 * 1024).unwrap();
    (Outbox::new(server, Framing::Tcp, BOUNDS), client)
}

fn push(conversation: &str, head: u64) -> SharedFrame {
    let about = About { conversation: ConversationId::parse(conversation).unwrap(), head, rev: 0 };
    let frame = ServerFrame::Error(im_protocol::WireError::new(im_protocol::ErrorCode::Internal, "x".repeat(1_000)));
    SharedFrame::pushed(&Frame::encode(&frame), Some(about))
}

async fn frame(client: &mut TcpStream) -> serde_json::Value {
    let read = async {
        let length = client.read_u32().await.unwrap();
        let mut text = vec![0; length as usize];
        client.read_exact(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.expect("a frame within ten seconds")
}

fn send(outbox: &Outbox, frame: &SharedFrame) {
    if outbox.enqueue(frame) {
        outbox.flush();
    }
}

#[tokio::test]
async fn a_push_waits_behind_the_welcome() {
    let (outbox, mut client) = pair().await;
    send(&outbox, &push("g:a", 1));
    outbox.answer(&ServerFrame::Pong(Pong { id: None, time: 1 }));
    outbox.release();
    assert_eq!(frame(&mut client).await["type"], "pong");
    assert_eq!(frame(&mut client).await["type"], "error");
}

#[tokio::test]
async fn a_reader_that_stops_costs_bounded_memory_and_is_told_to_resync_once_it_reads() {
    let (outbox, mut client) = pair().await;
    outbox.release();
    for head in 1..=5_000 {
        send(&outbox, &push(if head % 2 == 0 { "g:even" } else { "g:odd" }, head));
    }
    assert!(outbox.queue.lock().bytes <= BOUNDS.queue_bytes);
    assert!(!outbox.may_read(), "requests are not read while the queue is over half full");
    let driven = outbox.clone();
    let driver = tokio::spawn(async move { driven.drive(|_| false).await });
    let mut resyncs = std::collections::BTreeMap::new();
    while resyncs.len() < 2 {
        let frame = frame(&mut client).await;
        if frame["type"] == "resync" {
            resyncs.insert(frame["conversation"].as_str().unwrap().to_owned(), frame["head"].as_u64().unwrap());
        }
    }
    assert_eq!(resyncs, [("g:even".to_owned(), 5_000), ("g:odd".to_owned(), 4_999)].into());
    driver.abort();
}

#[tokio::test]
async fn requests_are_read_again_when_somebody_else_has_emptied_the_queue() {
    let (server, _client) = ends().await;
    let outbox = Outbox::new(server, Framing::Tcp, BOUNDS);
    outbox.release();
    for head in 1..=40 {
        outbox.enqueue(&push("g:a", head));
    }
    assert!(!outbox.may_read(), "over half full, and to be flushed by whoever has queued it");
    let reader = outbox.clone();
    let reading = tokio::spawn(async move { reader.until_may_read().await });
    tokio::task::yield_now().await;
    assert!(!reading.is_finished());
    outbox.flush();
    assert!(outbox.may_read(), "the socket took all of it");
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("it is told").unwrap();
}

#[tokio::test]
async fn an_answer_is_queued_even_when_pushes_are_dropped() {
    let (outbox, mut client) = pair().await;
    outbox.release();
    for head in 1..=2_000 {
        send(&outbox, &push("g:a", head));
    }
    outbox.answer(&ServerFrame::Ok(Answer { id: Some(im_protocol::FrameId::parse("7").unwrap()) }));
    let driven = outbox.clone();
    let driver = tokio::spawn(async move { driven.drive(|_| false).await });
    while frame(&mut client).await["id"] != "7" {}
    driver.abort();
}

#[tokio::test]
async fn the_clock_closes_what_is_stalled_silent_or_expired() {
    let (stalled, _client) = pair().await;
    stalled.release();
    for head in 1..=2_000 {
        send(&stalled, &push("g:a", head));
    }
    stalled.check(now_ms());
    assert_eq!(stalled.closing(), None);
    stalled.check(now_ms() + BOUNDS.stall_ms + 500);
    assert_eq!(stalled.closing(), Some(CloseReason::TooSlow));

    let (idle, _client) = pair().await;
    idle.release();
    idle.queue.lock().progress = now_ms() - 60_000;
    idle.enqueue(&push("g:a", 1));
    idle.check(now_ms());
    assert_eq!(idle.closing(), None, "a frame that waits to be flushed after a long silence is no stall");

    let (silent, _client) = pair().await;
    silent.check(now_ms() + BOUNDS.silence_ms + 500);
    assert_eq!(silent.closing(), Some(CloseReason::Silent));

    let (expired, _client) = pair().await;
    expired.authorize(crate::store::SessionId("s".into()), now_ms() - 1);
    expired.check(now_ms());
    assert_eq!(expired.closing(), Some(CloseReason::Unauthorized));
}

#[tokio::test]
async fn the_last_words_arrive_even_with_unread_input() {
    use tokio::io::AsyncWriteExt;
    let (outbox, mut client) = pair().await;
    client.write_all(&[0; 3_000]).await.unwrap();
    let finishing = tokio::spawn(async move { outbox.finish(CloseReason::NoHello, Duration::from_secs(10)).await });
    assert_eq!(frame(&mut client).await["code"], "no_hello");
    drop(client);
    finishing.await.unwrap();
}

#[tokio::test]
async fn nothing_follows_a_goodbye() {
    let (outbox, mut client) = pair().await;
    outbox.release();
    let ended = outbox.clone();
    let finishing = tokio::spawn(async move { ended.finish(CloseReason::TooBig, Duration::from_secs(10)).await });
    assert_eq!(frame(&mut client).await["code"], "invalid_frame");
    assert!(!outbox.enqueue(&SharedFrame::answer(&ServerFrame::Pong(Pong { id: None, time: 1 }))));
    assert!(outbox.queue.lock().frames.is_empty());
    drop(client);
    finishing.await.unwrap();
}

#[tokio::test]
async fn what_was_pushed_is_in_doubt_until_the_peer_was_heard_twice() {
    let (outbox, _client) = pair().await;
    outbox.release();
    assert_eq!(outbox.unheard(), None);
    send(&outbox, &push("g:a", 1));
    let since = outbox.unheard().expect("it may not have arrived");
    assert!(since < now_ms() - 1_000, "what was pushed right before a sign of life is in doubt too");
    outbox.heard();
    assert!(outbox.unheard().is_some(), "this sign of life may have been under way already");
    outbox.heard();
    assert_eq!(outbox.unheard(), None);
    outbox.answer(&ServerFrame::Pong(Pong { id: None, time: 1 }));
    assert_eq!(outbox.unheard(), None, "answers are asked for again");
    outbox.close(CloseReason::Silent);
    send(&outbox, &push("g:a", 2));
    assert!(outbox.unheard().is_some(), "what comes after the end does not arrive at all");
}
