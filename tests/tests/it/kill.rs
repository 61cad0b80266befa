//! `kill -9` in the middle of a thousand sends: what every client did and saw is recorded, and checked.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use im_client::{Config, Event, MemoryStore, Stopped, Target};
use im_protocol::ConversationId;
use imcluster_tests::client::{Client, fresh};
use imcluster_tests::history::{self, Record, Recorder, View};
use imcluster_tests::stage::{Person, Stage};
use serde_json::json;
use tokio::sync::watch;

/// Everyone has been a member since message 1.
fn members(recorder: &Recorder, conversation: &str, people: &[Person]) {
    for person in people {
        let (conversation, user) = (conversation.to_owned(), person.id.clone());
        recorder.add(Record::Stint { conversation, user, joined: 1, left: None });
    }
}

/// Reads a conversation from its beginning to its head, as a client that has nothing.
async fn read_again(
    recorder: &Recorder,
    client: &Client,
    name: &str,
    person: &Person,
    conversation: &str,
) -> Vec<View> {
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let frame = json!({"type": "sync", "conversation": conversation, "after": after, "limit": 200});
        let answer = client.expect(frame, "messages").await;
        assert_eq!(answer["gaps"], json!([]), "{answer}");
        for message in answer["messages"].as_array().expect("messages") {
            let view = View::of(name, &person.id, message);
            after = view.seq;
            recorder.add(Record::Synced(view.clone()));
            all.push(view);
        }
        if answer["more"] == false {
            assert_eq!(answer["head"], after, "the head is the last message");
            return all;
        }
    }
}

/// The history, by way of its file, has no violation. The file stays for those who want to know more.
fn check(recorder: &Recorder, name: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
    history::write(&recorder.history(), File::create(&path).expect("a file")).expect("a history can be written");
    let history = history::read(BufReader::new(File::open(&path).expect("the file"))).expect("a history can be read");
    let violations: Vec<String> = history::check(&history).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{violations:#?}; the history is in {}", path.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acked_message_is_there_once_and_in_order_after_kills_under_im_client() {
    const SENDERS: usize = 5;
    const EACH: usize = 200;
    const KILL_AT: [u32; 2] = [250, 650];

    let stage = Stage::own(&["--no-limits"]);
    let people: [Person; SENDERS + 2] = stage.people().await;
    let (_, conversation) = people[0].group(&people[1..].iter().collect::<Vec<_>>(), "killed").await;
    let recorder = Recorder::default();
    members(&recorder, &conversation, &people);

    let mut clients = Vec::new();
    let mut seeing = Vec::new();
    for person in &people {
        let config = Config {
            initial_history: u64::MAX,
            events: 100_000,
            ..Config::new(format!("http://{}", stage.server.http), &person.id, &person.id)
        };
        let (client, mut events) =
            im_client::Client::connect(config, Arc::new(MemoryStore::default())).await.expect("a connection");
        clients.push(client);
        let (seen, mut seen_up_to) = watch::channel(0);
        let (recorder, user) = (recorder.clone(), person.id.clone());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::Message(message) => {
                        let message = serde_json::to_value(&message).expect("a message is JSON");
                        let view = View::of(&format!("{user} live"), &user, &message);
                        seen.send_replace(view.seq);
                        recorder.add(Record::Seen(view));
                    }
                    // The test is over.
                    Event::Stopped(Stopped::Closed) => {}
                    Event::Missed | Event::Reset(_) | Event::Stopped(_) | Event::Refused { .. } => {
                        panic!("{user} got {event:?}")
                    }
                    _ => {}
                }
            }
        });
        seeing.push(async move { seen_up_to.wait_for(|seq| *seq == (SENDERS * EACH) as u64 + 1).await.map(drop) });
    }

    let acked = Arc::new(AtomicU32::new(0));
    let (progress, mut acks) = watch::channel(0);
    let target = Target::Conversation(ConversationId::parse(&conversation).expect("a conversation"));
    let sending = clients[..SENDERS].iter().zip(&people).map(|(client, person)| {
        let (recorder, acked, progress) = (recorder.clone(), acked.clone(), progress.clone());
        let (client, target, conversation, user) =
            (client.clone(), target.clone(), conversation.clone(), person.id.clone());
        async move {
            for n in 0..EACH {
                let text = format!("{user} {n}");
                let sent = client.send_text(target.clone(), &text).await.expect("a send is repeated until it is acked");
                let client_message_id = sent.client_message_id.to_string();
                recorder.add(Record::Sent {
                    conversation: conversation.clone(),
                    user: user.clone(),
                    client_message_id: client_message_id.clone(),
                    content: json!({"text": text}).to_string(),
                });
                recorder.add(Record::Acked {
                    conversation: conversation.clone(),
                    user: user.clone(),
                    client_message_id,
                    seq: sent.seq,
                });
                progress.send_replace(acked.fetch_add(1, Ordering::Relaxed) + 1);
            }
        }
    });
    let killing = async {
        let mut server = stage.server.clone();
        for count in KILL_AT {
            acks.wait_for(|acks| *acks >= count).await.expect("the senders are at work");
            server.kill();
            server = Arc::new(server.again());
        }
        server
    };
    let (_, server) = tokio::join!(join_all(sending), killing);
    let deadline = imcluster_tests::client::DEADLINE * 4;
    let seen = tokio::time::timeout(deadline, join_all(seeing)).await.expect("everyone sees the last message");
    assert!(seen.iter().all(Result::is_ok), "a client was told something it must not be told");

    let stage = stage.with_server(server);
    for person in &people[SENDERS..] {
        let person = person.on(&stage);
        let client = person.connect("web").await;
        let stored = read_again(&recorder, &client, &format!("{} after", person.id), &person, &conversation).await;
        assert_eq!(stored.len(), 1 + SENDERS * EACH, "the notification and every message");
    }
    check(&recorder, "kill-im-client");
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
    check(&recorder, "kill-pipelined");
}
