//! A reader that stops reading.

use std::collections::VecDeque;
use std::sync::Arc;

use imcluster_tests::client::{Client, text_to};
use imcluster_tests::history::{Record, View};
use imcluster_tests::load::{Load, Plan, report};
use imcluster_tests::server::{Server, resident_bytes};
use imcluster_tests::socket::{self, Dial};
use imcluster_tests::stage::Person;
use imcluster_tests::watcher::Watcher;
use imcluster_tests::witness::members;
use serde_json::{Value, json};

use super::{cluster, counted, history};

/// Bytes of a message's text.
const TEXT: usize = 32 * 1024;
/// Messages that are not read: 12 MiB, more than sockets and a queue of 1 MiB hold; and few enough that they are under way
/// for less than the 15 s after which a reader that takes nothing is closed.
const MESSAGES: usize = 400;
/// What the process may grow meanwhile: half of what was sent, with what Kafka's client reads ahead and all caches.
const GROWTH: u64 = 6 * 1024 * 1024;
/// Messages under way at once.
const UNDER_WAY: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn a_reader_that_stops_reading_slows_nobody_and_converges_when_it_reads_again() {
    let cluster = cluster().await;
    let mut load = Load::start(&cluster.stage(), Plan::default()).await;
    let recorder = load.recorder.clone();
    let people: [Person; 4] = cluster.stage_on(1).people().await;
    let [alice, bob, carol, dave] = &people;
    let (_, conversation) = alice.group(&[bob, carol, dave], "reader").await;
    members(&recorder, &conversation, &people);
    let sender = alice.connect("web").await;
    // Bob is where the reader is, Carol elsewhere.
    let others = [
        Watcher::connect(&recorder, &bob.id, cluster.server(0).http).await,
        Watcher::connect(&recorder, &carol.id, cluster.server(2).http).await,
    ];
    let stage = cluster.stage_on(0);
    let session = stage.sign_in(&dave.id, "mobile", "slow").await;
    let dial = Dial { receive_buffer: Some(4096), ..stage.dial() };
    let (mut writer, mut reader) = socket::websocket(stage.server.http, dial).await;
    let hello = json!({"type": "hello", "token": session.access, "terminal": "mobile", "device": "slow"});
    assert!(writer.send(&hello.to_string()).await);
    assert_eq!(reader.next().await.expect("a frame")["type"], "welcome");

    // From here on Dave's phone does not read.
    let dropped = counted(cluster.server(0), "im_pushes_dropped_total").await;
    let pid = cluster.server(0).pid().expect("it runs");
    let before = resident_bytes(pid);
    let text = "x".repeat(TEXT);
    let (mut waiting, mut last) = (VecDeque::new(), 0);
    for n in 0..MESSAGES + UNDER_WAY {
        if waiting.len() == UNDER_WAY || n >= MESSAGES {
            let (id, frame): (String, Value) = waiting.pop_front().expect("some are under way");
            let answer = sender.answer(&id).await;
            last = answer["seq"].as_u64().expect("a seq");
            let text = |field: &str| frame[field].as_str().expect("a text").to_owned();
            let (conversation, client_message_id) = (text("conversation"), text("client_message_id"));
            recorder.add(Record::Acked { conversation, user: alice.id.clone(), client_message_id, seq: last });
        }
        if n < MESSAGES {
            let frame = text_to(&conversation, &text);
            recorder.add(Record::Sent {
                conversation: conversation.clone(),
                user: alice.id.clone(),
                client_message_id: frame["client_message_id"].as_str().expect("an id").to_owned(),
                content: frame["content"].to_string(),
            });
            waiting.push_back((sender.submit(frame.clone()).await, frame));
        }
    }
    for watcher in &others {
        watcher.sees(&conversation, last).await;
    }
    let growth = resident_bytes(pid).saturating_sub(before);
    assert!(growth < GROWTH, "the server grew by {growth} bytes for a reader that does not read");
    let dropped = counted(cluster.server(0), "im_pushes_dropped_total").await - dropped;
    assert!(dropped > 0.0, "the queue was full");
    report(&format!("a reader that stops reading: {dropped} pushes dropped, {growth} bytes more"));

    // It reads again: what came is in order up to a point, then it is told to pull.
    let server: &Arc<Server> = &stage.server;
    let client = Client::open(server.clone(), (writer, reader));
    let resync = client.wait_for("a resync", |frame| frame["type"] == "resync").await;
    if !resync["conversation"].is_null() {
        assert_eq!((&resync["conversation"], resync["head"].is_u64()), (&json!(conversation), true), "{resync}");
    }
    let mut after = 0;
    let mut show = |message: &Value| {
        let view = View::of("slow", &dave.id, message);
        if view.seq == after + 1 || after == 0 {
            after = view.seq;
            recorder.add(Record::Seen(view));
        }
        after
    };
    let mut shown = client.messages(&conversation).iter().map(&mut show).last().unwrap_or(0);
    assert!(shown < last, "some were dropped");
    while shown < last {
        let frame = json!({"type": "sync", "conversation": conversation, "after": shown, "limit": 200});
        let answer = client.expect(frame, "messages").await;
        let pulled = answer["messages"].as_array().expect("messages").iter().map(&mut show).last();
        shown = pulled.unwrap_or_else(|| panic!("nothing after {shown}: {answer}"));
    }
    load.settle().await;
    assert!(others.iter().all(Watcher::is_well));
    load.check(&cluster.stage(), &history("reader")).await;
}
