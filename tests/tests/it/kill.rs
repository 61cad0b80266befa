//! `kill -9` in the middle of a thousand sends: what every client did and saw is recorded, and checked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use imcluster_tests::client::{Client, fresh};
use imcluster_tests::history::{Record, Recorder};
use imcluster_tests::load::{Load, Plan};
use imcluster_tests::stage::{Person, Stage};
use imcluster_tests::witness::{check, members, read_again};
use serde_json::json;
use tokio::sync::watch;

/// Where a history stays for those who want to know more.
fn history(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acked_message_is_there_once_and_in_order_after_kills_under_im_client() {
    let stage = Stage::own(&["--no-limits"]);
    let mut load = Load::start(&stage, Plan { people: 7, pause: Duration::ZERO }).await;
    let mut server = stage.server.clone();
    for acks in [250, 650] {
        load.until_acked(acks).await;
        server.kill();
        server = Arc::new(server.again());
    }
    load.recovered(Instant::now()).await;
    load.settle().await;
    load.check(&stage.with_server(server), &history("kill-im-client")).await;
}

/// A sender of the wire's own making: pipelines everything, and after a reconnect says again what was not acked.
struct Pipeliner {
    person: Person,
    /// Id and text of every message, in order.
    messages: Vec<(String, String)>,
    /// What the server has answered: seq by id.
    acked: HashMap<String, u64>,
}

impl Pipeliner {
    fn new(person: Person, messages: usize) -> Self {
        let messages = (0..messages).map(|n| (fresh("m"), format!("{} {n}", person.id))).collect();
        Self { person, messages, acked: HashMap::new() }
    }

    /// Sends what is not acked, all at once, and takes acks until all are there or the connection ends.
    async fn run(&mut self, client: Client, recorder: &Recorder, conversation: &str, progress: &watch::Sender<usize>) {
        for (id, text) in &self.messages {
            if self.acked.contains_key(id) {
                continue;
            }
            let content = json!({"text": text});
            recorder.add(Record::Sent {
                conversation: conversation.to_owned(),
                user: self.person.id.clone(),
                client_message_id: id.clone(),
                content: content.to_string(),
            });
            client
                .post(json!({"type": "send", "id": id, "conversation": conversation, "client_message_id": id, "kind": "text", "content": content}))
                .await;
        }
        let mut acks = HashMap::new();
        client
            .wait_within(imcluster_tests::client::DEADLINE, |frame| {
                if frame["type"] == "sent" {
                    let id = frame["client_message_id"].as_str().expect("an id").to_owned();
                    acks.insert(id, frame["seq"].as_u64().expect("a seq"));
                    progress.send_modify(|acks| *acks += 1);
                }
                acks.len() + self.acked.len() == self.messages.len()
            })
            .await;
        for (id, seq) in acks {
            recorder.add(Record::Acked {
                conversation: conversation.to_owned(),
                user: self.person.id.clone(),
                client_message_id: id.clone(),
                seq,
            });
            self.acked.insert(id, seq);
        }
    }
}

async fn connect_all(senders: &[Pipeliner]) -> Vec<Client> {
    join_all(senders.iter().map(|sender| sender.person.connect("web"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ack_of_a_thousand_pipelined_sends_survives_a_kill() {
    const EACH: usize = 250;

    let stage = Stage::own(&["--no-limits"]);
    let people: [Person; 4] = stage.people().await;
    let (_, conversation) = people[0].group(&people[1..].iter().collect::<Vec<_>>(), "pipelined").await;
    let recorder = Recorder::default();
    members(&recorder, &conversation, &people);
    let mut senders: Vec<_> = people.iter().map(|person| Pipeliner::new(person.clone(), EACH)).collect();
    let (progress, mut acks) = watch::channel(0);
    let killing = async {
        acks.wait_for(|acks| *acks >= 300).await.expect("the senders are at work");
        stage.server.kill();
    };
    // Connected before the first send: the kill is to meet sends and nothing else.
    let clients = connect_all(&senders).await;
    let sending = senders.iter_mut().zip(clients);
    let running = join_all(sending.map(|(sender, client)| sender.run(client, &recorder, &conversation, &progress)));
    tokio::join!(running, killing);
    let before: usize = senders.iter().map(|sender| sender.acked.len()).sum();
    assert!((300..4 * EACH).contains(&before), "the kill came in the middle: after {before} acks");

    let stage = stage.with_server(Arc::new(stage.server.again()));
    for sender in &mut senders {
        sender.person = sender.person.on(&stage);
    }
    let clients = connect_all(&senders).await;
    let sending = senders.iter_mut().zip(clients);
    join_all(sending.map(|(sender, client)| sender.run(client, &recorder, &conversation, &progress))).await;
    assert!(senders.iter().all(|sender| sender.acked.len() == EACH), "everything is acked in the end");
    let client = senders[0].person.connect("mobile").await;
    let stored = read_again(&recorder, &client, "after", &senders[0].person, &conversation).await;
    assert_eq!(stored.len(), 1 + 4 * EACH);
    check(&recorder, &history("kill-pipelined"));
}
