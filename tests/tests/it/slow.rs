//! A reader that stops reading costs the server a bounded queue, and nobody else anything.

use std::sync::Arc;

use imcluster_tests::client::{Client, seqs, text_to};
use imcluster_tests::socket::{self, Dial, Reader, Writer};
use imcluster_tests::stage::{Person, Stage};
use serde_json::{Value, json};

/// Bytes of a message's text.
const TEXT: usize = 32 * 1024;
/// Messages on the way at a time.
const AT_ONCE: u64 = 16;
/// Messages that the stalled reader does not read: 32 MiB, far more than sockets and queue hold.
const MESSAGES: u64 = 1000;
/// Messages of before, which fill the 64 MiB of pages that the writing connection keeps.
const WARM_UP: u64 = 2200;
/// What the process may grow meanwhile: half of what was sent.
const GROWTH: u64 = 16 * 1024 * 1024;

/// A connection of a phone with small buffers, welcomed and then not read any more.
async fn stalled(stage: &Stage, person: &Person) -> (Writer, Reader) {
    let dial = Dial { receive_buffer: Some(4096), ..stage.dial() };
    let (mut writer, mut reader) = socket::websocket(stage.server.http, dial).await;
    let session = stage.sign_in(&person.id, "mobile", "slow").await;
    let hello = json!({"type": "hello", "token": session.access, "terminal": "mobile", "device": "slow"});
    assert!(writer.send(&hello.to_string()).await);
    let welcome = reader.next().await.expect("a welcome");
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (writer, reader)
}

/// Sends messages, some at once, each time until the other has them: half of what a connection's queue holds is on the
/// way at most, so that a reader who reads, however slowly, misses nothing. Returns the last one's seq.
async fn flood(from: &Client, to: &Client, conversation: &str, messages: u64) -> u64 {
    let text = "x".repeat(TEXT);
    let mut last = 1;
    for _ in 0..messages.div_ceil(AT_ONCE) {
        let mut ids = Vec::new();
        for _ in 0..AT_ONCE {
            ids.push(from.submit(text_to(conversation, &text)).await);
        }
        for id in ids {
            last = from.answer(&id).await["seq"].as_u64().expect("a seq");
        }
        to.message(conversation, last).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_reading_gets_a_resync_and_slows_nobody() {
    let stage = Stage::own(&["--no-limits"]);
    let [alice, bob, carol] = stage.people().await;
    let (_, conversation) = alice.group(&[&bob, &carol], "slow").await;
    let (a, b) = (alice.connect_on(0, "web").await, bob.connect_on(1, "web").await);
    // The database's cache is full before anything is measured.
    let begun = flood(&a, &b, &conversation, WARM_UP).await;
    let slow = stalled(&stage, &carol).await;

    let before = stage.server.resident_bytes();
    let last = flood(&a, &b, &conversation, MESSAGES).await;
    assert_eq!(b.seqs(&conversation), (2..=last).collect::<Vec<_>>(), "the others got everything, in order");
    let growth = stage.server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH, "the server grew by {growth} bytes for a reader that does not read");

    // The reader wakes: what it was sent is in order up to a point, then it is told what it missed.
    let c = Client::open(Arc::clone(&stage.server), slow);
    let resync = c.wait_for("a resync", |frame| frame["type"] == "resync").await;
    let named = resync.get("conversation").unwrap_or(&Value::Null);
    assert!(named.is_null() || *named == conversation.as_str(), "{resync}");
    if !named.is_null() {
        assert!(resync["head"].as_u64() <= Some(last) && resync["rev"].is_u64(), "{resync}");
    }
    let got = c.seqs(&conversation);
    assert!(got.is_sorted() && got.len() < usize::try_from(MESSAGES).expect("a small number"), "{got:?}");
    let after = got.iter().zip(begun + 1..).take_while(|(seq, dense)| *seq == dense).count() as u64 + begun;
    let frame = json!({"type": "sync", "conversation": conversation, "after": after, "limit": 200});
    let answer = c.expect(frame, "messages").await;
    assert_eq!((&answer["head"], &answer["gaps"]), (&json!(last), &json!([])));
    assert_eq!(
        seqs(answer["messages"].as_array().expect("messages")).first(),
        Some(&(after + 1)),
        "what was missed is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stays_stalled_is_closed_as_too_slow() {
    let stage = Stage::own(&["--no-limits"]);
    let [alice, carol] = stage.people().await;
    let (_, conversation) = alice.group(&[&carol], "too slow").await;
    let a = alice.connect_on(0, "web").await;
    let slow = stalled(&stage, &carol).await;
    let watched = a.expect(json!({"type": "presence", "subscribe": [carol.id]}), "presence").await;
    assert_eq!(watched["users"][0]["terminals"], json!(["mobile"]), "{watched}");
    for _ in 0..200 {
        a.say(&conversation, &"x".repeat(TEXT)).await;
    }
    // The server ends it after its grace, which others see as the person going offline.
    let gone = |frame: &Value| {
        frame["type"] == "presence" && frame.get("id").is_none() && frame["users"][0]["online"] == false
    };
    let deadline = imcluster_tests::client::DEADLINE * 3;
    assert!(a.wait_within(deadline, gone).await.is_some(), "a reader that takes nothing is closed");
    drop(slow);
}
