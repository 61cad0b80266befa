//! `kill -9` at each step between the commit and the deletion of the outbox row. The server knows nothing of it: one
//! direction of one of its links stands still, so that it stops exactly there.

use std::time::{Duration, Instant};

use imcluster_tests::client::{Client, fresh};
use imcluster_tests::history::{Record, Recorder};
use imcluster_tests::load::{Load, Plan};
use imcluster_tests::stage::Person;
use imcluster_tests::watcher::Watcher;
use imcluster_tests::witness::members;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};

use super::{Lease, cluster, counted, history, outbox, restore, told, until};

/// The server that is killed.
const VICTIM: u16 = 0;

/// A lease runs for 10 s after its last renewal, and outboxes are looked at every 3 s at the longest.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// How often a state is tried for that only lasts for a moment.
const ATTEMPTS: usize = 10;
/// At most so many connections to the database has a server.
const CONNECTIONS: usize = 16;
/// A commit takes milliseconds.
const COMMITTED: Duration = Duration::from_secs(1);

/// A group with a sender on the server that is to be killed, and somebody who watches on each server. Nobody else is on
/// that server, so that what it counts is about them; others are at work on another one.
struct Scene {
    cluster: Lease,
    load: Load,
    recorder: Recorder,
    sql: PgConnection,
    alice: Person,
    sender: Client,
    conversation: String,
    /// One on each server.
    watchers: Vec<Watcher>,
    /// Sees the very frames that come to one on a server that lives.
    wire: Client,
}

/// A message on its way.
struct Sent {
    frame: Value,
    /// Of the request.
    id: String,
}

impl Scene {
    async fn begin() -> Self {
        let cluster = cluster().await;
        let load = Load::start(&cluster.stage_on(1), Plan::default()).await;
        let recorder = load.recorder.clone();
        let stage = cluster.stage_on(VICTIM);
        let people: [Person; 4] = stage.people().await;
        let [alice, others @ ..] = &people;
        let (_, conversation) = alice.group(&others.iter().collect::<Vec<_>>(), "steps").await;
        members(&recorder, &conversation, &people);
        let sender = alice.connect_device("web", "alice").await;
        let mut watchers = Vec::new();
        for (person, server) in others.iter().zip(cluster.servers()) {
            watchers.push(Watcher::connect(&recorder, &person.id, server.http).await);
        }
        let wire = others[1].on(&cluster.stage_on(1)).connect("web").await;
        let sql = cluster.sql().await;
        let alice = alice.clone();
        let mut scene = Self { cluster, load, recorder, sql, alice, sender, conversation, watchers, wire };
        // Everything that is looked up once is looked up before.
        let sent = scene.submit().await;
        let seq = scene.acked(&sent).await;
        scene.everybody_sees(seq).await;
        scene.until_forgotten().await;
        scene
    }

    /// Sends a message and does not wait.
    async fn submit(&self) -> Sent {
        let (client_message_id, content) = (fresh("m"), json!({"text": fresh("text ")}));
        self.recorder.add(Record::Sent {
            conversation: self.conversation.clone(),
            user: self.alice.id.clone(),
            client_message_id: client_message_id.clone(),
            content: content.to_string(),
        });
        let frame = json!({
            "type": "send", "conversation": self.conversation, "client_message_id": client_message_id,
            "kind": "text", "content": content
        });
        let id = self.sender.submit(frame.clone()).await;
        Sent { frame, id }
    }

    fn record_ack(&self, sent: &Sent, answer: &Value) -> u64 {
        assert_eq!(answer["type"], "sent", "{answer}");
        let seq = answer["seq"].as_u64().expect("a seq");
        self.recorder.add(Record::Acked {
            conversation: self.conversation.clone(),
            user: self.alice.id.clone(),
            client_message_id: sent.frame["client_message_id"].as_str().expect("an id").to_owned(),
            seq,
        });
        seq
    }

    async fn acked(&self, sent: &Sent) -> u64 {
        self.record_ack(sent, &self.sender.answer(&sent.id).await)
    }

    /// Waits until a message is acked, and sends it again as long as the server asks for that.
    async fn settled(&self, sent: &Sent) -> u64 {
        let mut answer = self.sender.answer(&sent.id).await;
        while answer["retryable"] == true {
            answer = self.sender.ask(sent.frame.clone()).await;
        }
        self.record_ack(sent, &answer)
    }

    fn is_answered(&self, sent: &Sent) -> bool {
        !self.sender.frames(|frame| frame["id"] == sent.id.as_str()).is_empty()
    }

    /// The seqs under which a message is stored.
    async fn stored(&mut self, sent: &Sent) -> Vec<i64> {
        let rows = sqlx::query("select seq from messages where conversation = $1 and client_message_id = $2")
            .bind(&self.conversation)
            .bind(sent.frame["client_message_id"].as_str())
            .fetch_all(&mut self.sql);
        rows.await.expect("PostgreSQL answers").iter().map(|row| row.get(0)).collect()
    }

    /// Rows of this group in the victim's outbox.
    async fn outbox(&mut self) -> i64 {
        outbox(&mut self.sql, VICTIM, &self.conversation).await
    }

    async fn until_forgotten(&mut self) {
        until("the outbox row is deleted", async || outbox(&mut self.sql, VICTIM, &self.conversation).await == 0).await;
    }

    async fn everybody_sees(&self, seq: u64) {
        for watcher in &self.watchers {
            watcher.sees(&self.conversation, seq).await;
        }
    }

    fn nobody_has_seen(&self, seq: u64) -> bool {
        self.watchers.iter().all(|watcher| watcher.last(&self.conversation) < seq)
    }

    /// The relay holds something that is not on the bus, as far as it knows, and has done so for a second.
    async fn until_the_relay_holds_it(&self) {
        let server = self.cluster.server(VICTIM);
        until("the relay holds a row", async || counted(server, "im_relay_lag_seconds").await >= 1.0).await;
    }

    /// Kills the server; those on others get the message, and the row is gone from everybody's outbox. Returns since
    /// when.
    fn kill(&self) -> Instant {
        self.cluster.server(VICTIM).kill();
        Instant::now()
    }

    /// Those on the other servers get the message within the time that a take-over may take, and no row is left.
    async fn is_taken_over(&mut self, fault: &str, killed: Instant, seq: u64) {
        for watcher in &self.watchers[1..] {
            watcher.sees(&self.conversation, seq).await;
        }
        until("no outbox row is left", async || {
            let left = sqlx::query("select count(*) from outbox where items like '%' || $1 || '%'")
                .bind(&self.conversation)
                .fetch_one(&mut self.sql);
            left.await.expect("PostgreSQL answers").get::<i64, _>(0) == 0
        })
        .await;
        told(fault, killed);
        assert!(killed.elapsed() < TAKEN_OVER, "taken over after {:?}", killed.elapsed());
    }

    /// The server comes back, and with it those who were on it; all is there, once and in order.
    async fn end(mut self, seq: u64, test: &str) {
        restore(&self.cluster, self.cluster.server(VICTIM)).await;
        self.everybody_sees(seq).await;
        // At most the publication that was cut off, and the one of whoever took over.
        let pushed = self.wire.seqs(&self.conversation).iter().filter(|pushed| **pushed == seq).count();
        assert!(pushed <= 2, "{pushed} times on the wire");
        self.load.settle().await;
        for watcher in &self.watchers {
            assert!(watcher.is_well());
        }
        let alice = self.alice.on(&self.cluster.stage_on(2));
        let client = alice.connect("mobile").await;
        let recorder = &self.recorder;
        imcluster_tests::witness::read_again(recorder, &client, "alice after", &alice, &self.conversation).await;
        self.load.check(&self.cluster.stage_on(1), &history(test)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn killed_after_the_commit_and_before_the_ack_the_retry_gets_the_same_seq() {
    let mut scene = Scene::begin().await;
    // A connection to the database that has rested is tried before it is used, and would not get beyond that.
    let (mut sent, mut stored) = (scene.submit().await, Vec::new());
    for _ in 0..ATTEMPTS {
        scene.settled(&sent).await;
        for _ in 0..CONNECTIONS {
            let other = scene.submit().await;
            scene.settled(&other).await;
        }
        scene.cluster.links(VICTIM).postgres.stall_answers();
        sent = scene.submit().await;
        let begun = Instant::now();
        while stored.is_empty() && begun.elapsed() < COMMITTED {
            stored = scene.stored(&sent).await;
        }
        if !stored.is_empty() {
            break;
        }
        scene.cluster.links(VICTIM).postgres.heal().await;
    }
    // Rows of those before it may be there too: their deletion is among what stands still.
    assert!(stored.len() == 1 && scene.outbox().await >= 1, "committed with its outbox row: {stored:?}");
    let killed = scene.kill();
    assert!(!scene.is_answered(&sent), "the ack was still to come");

    let alice = scene.alice.on(&scene.cluster.stage_on(2));
    let client = alice.connect_device("web", "alice").await;
    let answer = client.ask(sent.frame.clone()).await;
    let seq = scene.record_ack(&sent, &answer);
    assert_eq!((i64::try_from(seq).unwrap(), &answer["duplicate"]), (stored[0], &json!(true)), "{answer}");
    told("kill -9 between commit and ack, until the retry is acked", killed);
    scene.is_taken_over("kill -9 between commit and ack", killed, seq).await;
    assert_eq!(scene.stored(&sent).await, stored, "stored once");
    scene.end(seq, "killed-before-ack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn killed_after_the_ack_and_before_the_publication_another_server_publishes() {
    let mut scene = Scene::begin().await;
    scene.cluster.links(VICTIM).kafka.stall_requests();
    let sent = scene.submit().await;
    let seq = scene.acked(&sent).await;
    scene.until_the_relay_holds_it().await;
    assert_eq!(scene.outbox().await, 1, "it waits in the outbox");
    let killed = scene.kill();
    assert!(scene.nobody_has_seen(seq), "it was still to be published");
    scene.is_taken_over("kill -9 between ack and publication", killed, seq).await;
    scene.end(seq, "killed-before-publication").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn killed_after_the_publication_and_before_the_ack_of_the_bus_nobody_sees_it_twice() {
    let mut scene = Scene::begin().await;
    scene.cluster.links(VICTIM).kafka.stall_answers();
    let sent = scene.submit().await;
    let seq = scene.acked(&sent).await;
    for watcher in &scene.watchers[1..] {
        watcher.sees(&scene.conversation, seq).await;
    }
    scene.until_the_relay_holds_it().await;
    let killed = scene.kill();
    assert_eq!(scene.outbox().await, 1, "published, and still in the outbox");
    scene.is_taken_over("kill -9 between publication and bus ack", killed, seq).await;
    scene.end(seq, "killed-before-bus-ack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Redis, PostgreSQL and Kafka: make test-stack"]
async fn killed_after_the_ack_of_the_bus_and_before_the_deletion_nobody_sees_it_twice() {
    let mut scene = Scene::begin().await;
    let victim = || scene.cluster.server(VICTIM);
    let link = || &scene.cluster.links(VICTIM).postgres;
    // Rows are deleted five times a second: the deletion may slip through before the link stands still.
    let (mut seq, mut left) = (0, 0);
    for _ in 0..ATTEMPTS {
        let published = counted(victim(), "im_records_published_total").await;
        let sent = scene.submit().await;
        seq = scene.acked(&sent).await;
        link().stall_requests();
        scene.everybody_sees(seq).await;
        // Counted when the bus has acked: one record per server.
        let all = published + 3.0;
        until("the bus has acked", async || counted(victim(), "im_records_published_total").await >= all).await;
        let mut sql = scene.cluster.sql().await;
        left = outbox(&mut sql, VICTIM, &scene.conversation).await;
        if left > 0 {
            break;
        }
        link().heal().await;
    }
    assert_eq!(left, 1, "published and acked by the bus, and still in the outbox");
    let killed = scene.kill();
    assert_eq!(scene.outbox().await, 1, "it was still there");
    scene.is_taken_over("kill -9 between bus ack and deletion", killed, seq).await;
    scene.end(seq, "killed-before-deletion").await;
}
