//! The checker itself, over a real server: a proxy or a changed database that does what must never happen goes red, and
//! the same run without them is green.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use imcluster_tests::client::{Client, fresh};
use imcluster_tests::history::{self, Record, Recorder, View};
use imcluster_tests::meddler::{Meddler, Meddling};
use imcluster_tests::socket;
use imcluster_tests::stage::{Person, Stage};
use imcluster_tests::witness::{members, read_again};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

/// Sent by one person and pushed to each member.
const MESSAGES: u64 = 1_500;

async fn connect(stage: &Stage, person: &Person, through: &Meddler) -> Client {
    let device = fresh("d");
    let session = stage.sign_in(&person.id, "web", &device).await;
    let socket = socket::tcp(through.address, stage.dial()).await;
    let mut client = Client::open(stage.server.clone(), socket);
    client.hello(json!({"token": session.access, "terminal": "web", "device": device})).await;
    client
}

/// Writes down every message as it was pushed: unlike a real client, this one repairs nothing.
fn see(recorder: &Recorder, person: &Person, pushed: &[Value]) {
    for message in pushed {
        recorder.add(Record::Seen(View::of(&format!("{} live", person.id), &person.id, message)));
    }
}

/// The names of what the checker finds when one of two members sends, while a third person looks on from outside.
async fn found(meddling: Meddling) -> BTreeSet<&'static str> {
    found_after(meddling, async |_, _| {}).await
}

/// The same, with the database changed before the conversation is read again.
async fn found_after(meddling: Meddling, change: impl AsyncFnOnce(&SqlitePool, &str)) -> BTreeSet<&'static str> {
    let stage = Stage::own(&["--no-limits"]);
    let [alice, bob, eve] = &stage.people::<3>().await;
    let (_, conversation) = alice.group(&[bob], "meddled").await;
    let recorder = Recorder::default();
    members(&recorder, &conversation, [alice, bob]);
    let proxy = Meddler::before(stage.server.tcp, meddling).await;
    let sender = alice.connect("desktop").await;
    let [to_alice, to_bob, to_eve] =
        [connect(&stage, alice, &proxy).await, connect(&stage, bob, &proxy).await, connect(&stage, eve, &proxy).await];

    let mut ids = Vec::new();
    for n in 0..MESSAGES {
        let (client_message_id, content) = (fresh("m"), json!({"text": format!("{n}")}));
        recorder.add(Record::Sent {
            conversation: conversation.clone(),
            user: alice.id.clone(),
            client_message_id: client_message_id.clone(),
            content: content.to_string(),
        });
        let frame = json!({"type": "send", "conversation": conversation, "client_message_id": client_message_id,
            "kind": "text", "content": content});
        ids.push((sender.submit(frame).await, client_message_id));
    }
    for (id, client_message_id) in ids {
        let ack = sender.answer(&id).await;
        let seq = ack["seq"].as_u64().unwrap_or_else(|| panic!("not acked: {ack}"));
        let (conversation, user) = (conversation.clone(), alice.id.clone());
        recorder.add(Record::Acked { conversation, user, client_message_id, seq });
    }
    // The last one comes through whatever the proxy does to others.
    let last = MESSAGES + 1;
    join_all([&to_alice, &to_bob].map(|client| client.message(&conversation, last))).await;
    for (person, client) in [(alice, &to_alice), (bob, &to_bob), (eve, &to_eve)] {
        see(&recorder, person, &client.messages(&conversation));
    }
    stage.server.kill();
    let database = SqliteConnectOptions::new().filename(stage.server.folder().data().join("im.sqlite"));
    let database = SqlitePool::connect_with(database).await.expect("the server's database");
    change(&database, &conversation).await;
    database.close().await;
    let stage = stage.with_server(Arc::new(stage.server.again()));
    for member in [alice, bob] {
        let member = member.on(&stage);
        let client = member.connect("mobile").await;
        read_again(&recorder, &client, &format!("{} after", member.id), &member, &conversation).await;
    }
    history::check(&recorder.history()).iter().map(history::Violation::name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_nothing_is_green() {
    assert_eq!(found(Meddling::Nothing).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_push_in_a_thousand_dropped_is_a_gap_and_lost() {
    assert_eq!(found(Meddling::Drop(1_000)).await, BTreeSet::from(["gap", "lost"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pushes_swapped_are_a_reorder() {
    assert_eq!(found(Meddling::Swap(1_000)).await, BTreeSet::from(["reorder"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_comes_twice_is_a_duplicate() {
    assert_eq!(found(Meddling::Double(1_000)).await, BTreeSet::from(["duplicate"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_someone_who_is_no_member_is_a_leak() {
    let names = found(Meddling::Leak(1_000)).await;
    assert!(names.contains("leak"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_inserted_twice_is_a_duplicate() {
    let names = found_after(Meddling::Nothing, async |database, conversation| {
        // What keeps a message from being stored twice has to go first.
        for statement in [
            "drop index messages_known",
            "insert into messages select conversation, seq + 1, rev, changed, sender, client_message_id, time, kind, content,
                 mentions, mention_all, reply_to, recalled, badge_count + 1, own_count + 1
             from messages where conversation = ?1 order by seq desc limit 1",
            "update conversations set head = head + 1 where id = ?1",
        ] {
            let query = sqlx::query(statement);
            let query = if statement.contains("?1") { query.bind(conversation) } else { query };
            query.execute(database).await.expect("the schema is known here");
        }
    });
    assert_eq!(names.await, BTreeSet::from(["duplicate"]));
}
