//! People who write to each other all the time while something breaks, and a history of it all.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use im_client::{Config, Event, MemoryStore, Stopped, Target};
use im_protocol::ConversationId;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{Record, Recorder};
use crate::stage::{Person, Stage, direct};
use crate::witness::{check, members, read_again, view};

/// Longest time for everybody to have everything once all is well again. Some of a server's waits are this long: a lease
/// runs out after 10 s, a backlog is noticed after 10 s, a gap's pulls are spread over 10 s.
const CONVERGENCE: Duration = Duration::from_secs(90);

/// Who writes, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// People; all are in one group, and each writes to the next one too.
    pub people: usize,
    /// Between two messages of one person.
    pub pause: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { people: 6, pause: Duration::from_millis(20) }
    }
}

/// People at work: each with a client that connects again by itself.
pub struct Load {
    /// Every client's history; tests add what they do themselves.
    pub recorder: Recorder,
    /// The group of all.
    pub group: String,
    people: Vec<Person>,
    /// Held: a client disconnects when nobody holds it.
    _clients: Vec<im_client::Client>,
    writers: Vec<Writer>,
    readers: Vec<Reader>,
    acks: watch::Sender<usize>,
    stop: watch::Sender<bool>,
}

/// Says what a test has found out, also where the output of tests that pass is held back.
pub fn report(line: &str) {
    // Past `eprintln!`, which is what is held back. Nobody to read it is no failure.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// One person's sending side.
struct Writer {
    /// When the last acknowledged message was begun, and where it stands: conversation and seq.
    acked: watch::Receiver<Option<(Instant, String, u64)>>,
    task: JoinHandle<()>,
}

/// One person's receiving side.
struct Reader {
    conversations: Vec<String>,
    /// The last seq shown, by conversation.
    seen: watch::Receiver<HashMap<String, u64>>,
    /// The server it is or was last connected to.
    server: watch::Receiver<Option<u16>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Lets people connect to a stage's server and begin; returns when each has had an ack.
    pub async fn start(stage: &Stage, plan: Plan) -> Self {
        let mut people = Vec::new();
        for _ in 0..plan.people {
            people.push(stage.person().await);
        }
        let (_, group) = people[0].group(&people[1..].iter().collect::<Vec<_>>(), "load").await;
        let recorder = Recorder::default();
        members(&recorder, &group, &people);
        let (stop, stopped) = watch::channel(false);
        let acks = watch::Sender::new(0);
        let mut conversations: Vec<Vec<String>> = vec![vec![group.clone()]; people.len()];
        for (one, person) in people.iter().enumerate() {
            let other = (one + 1) % people.len();
            let conversation = direct(person, &people[other]);
            if one < other || people.len() > 2 {
                person.befriend(&people[other]).await;
                members(&recorder, &conversation, [person, &people[other]]);
                for member in [one, other] {
                    conversations[member].push(conversation.clone());
                }
            }
        }
        let (mut clients, mut readers, mut writers) = (Vec::new(), Vec::new(), Vec::new());
        for (person, conversations) in people.iter().zip(&conversations) {
            let config = Config {
                initial_history: u64::MAX,
                events: 100_000,
                ..Config::new(format!("http://{}", stage.server.http), &person.id, &person.id)
            };
            let connected = im_client::Client::connect(config, Arc::new(MemoryStore::default())).await;
            let (client, events) = connected.expect("a connection");
            readers.push(Reader::start(&recorder, &person.id, conversations, events));
            clients.push(client);
        }
        for ((person, client), conversations) in people.iter().zip(&clients).zip(conversations) {
            let writer = Writing {
                recorder: recorder.clone(),
                user: person.id.clone(),
                client: client.clone(),
                conversations,
                pause: plan.pause,
                acks: acks.clone(),
                stopped: stopped.clone(),
            };
            writers.push(writer.start());
        }
        let load = Self { recorder, group, people, _clients: clients, writers, readers, acks, stop };
        load.recovered(Instant::now()).await;
        load
    }

    /// The people.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// How many of the people are, or were last, connected to a server.
    pub fn on_server(&self, id: u16) -> usize {
        self.readers.iter().filter(|reader| *reader.server.borrow() == Some(id)).count()
    }

    /// Messages acknowledged so far, in all.
    pub fn acked(&self) -> usize {
        *self.acks.borrow()
    }

    /// Waits until so many messages are acknowledged in all.
    pub async fn until_acked(&self, messages: usize) {
        let mut acks = self.acks.subscribe();
        let enough = tokio::time::timeout(CONVERGENCE, acks.wait_for(|acks| *acks >= messages)).await.is_ok();
        assert!(enough, "not {messages} acks after {CONVERGENCE:?}: {}", self.standing(&BTreeMap::new()));
    }

    /// Waits until everybody has sent something that was begun after `since`, and everybody concerned has seen it. Returns
    /// how long that took.
    pub async fn recovered(&self, since: Instant) -> Duration {
        let everybody = async {
            let sent = self.writers.iter().map(|writer| async {
                let mut acked = writer.acked.clone();
                let is_later =
                    |acked: &Option<(Instant, String, u64)>| acked.as_ref().is_some_and(|acked| acked.0 >= since);
                let acked = acked.wait_for(is_later).await.expect("a writer goes on until it is stopped");
                acked.clone().map(|(_, conversation, seq)| (conversation, seq)).expect("it was just seen")
            });
            let mut heads = BTreeMap::<String, u64>::new();
            for (conversation, seq) in join_all(sent).await {
                let head = heads.entry(conversation).or_default();
                *head = seq.max(*head);
            }
            join_all(self.readers.iter().map(|reader| reader.reaches(&heads))).await;
        };
        let outcome = tokio::time::timeout(CONVERGENCE, everybody).await;
        assert!(
            outcome.is_ok(),
            "not everybody talks again after {CONVERGENCE:?}: {}",
            self.standing(&BTreeMap::new())
        );
        since.elapsed()
    }

    /// Lets everybody finish the message they are at, and waits until everybody has seen everything. Returns how many
    /// messages were acknowledged in all.
    pub async fn settle(&mut self) -> usize {
        self.stop.send_replace(true);
        let begun = Instant::now();
        let finished = join_all(self.writers.iter_mut().map(|writer| &mut writer.task));
        let Ok(finished) = tokio::time::timeout(CONVERGENCE, finished).await else {
            panic!("a message is not acked after {CONVERGENCE:?}: {}", self.standing(&BTreeMap::new()));
        };
        for writer in finished {
            writer.expect("a writer finishes");
        }
        let mut heads = BTreeMap::<String, u64>::new();
        for record in self.recorder.history() {
            if let Record::Acked { conversation, seq, .. } = record {
                let head = heads.entry(conversation).or_default();
                *head = seq.max(*head);
            }
        }
        let seen = join_all(self.readers.iter().map(|reader| reader.reaches(&heads)));
        let outcome = tokio::time::timeout(CONVERGENCE.saturating_sub(begun.elapsed()), seen).await;
        assert!(outcome.is_ok(), "not everybody has everything after {CONVERGENCE:?}: {}", self.standing(&heads));
        self.acked()
    }

    /// Reads every conversation once more, each as one of its members from a fresh device on a stage, and checks the
    /// history, which stays in the file.
    pub async fn check(&self, stage: &Stage, file: &Path) {
        let mut read = BTreeMap::new();
        for (person, reader) in self.people.iter().zip(&self.readers) {
            for conversation in &reader.conversations {
                read.entry(conversation.as_str()).or_insert(person);
            }
        }
        let mut connected = HashMap::new();
        for (conversation, person) in read {
            let person = person.on(stage);
            if !connected.contains_key(&person.id) {
                connected.insert(person.id.clone(), person.connect("web").await);
            }
            let client = &connected[&person.id];
            read_again(&self.recorder, client, &format!("{} after", person.id), &person, conversation).await;
        }
        for reader in &self.readers {
            assert!(!reader.task.is_finished(), "a client was told something it must not be told");
        }
        check(&self.recorder, file);
    }

    /// Who is where, for the words of a failure.
    fn standing(&self, heads: &BTreeMap<String, u64>) -> String {
        let mut text = format!("heads {heads:?}");
        for (person, (writer, reader)) in self.people.iter().zip(self.writers.iter().zip(&self.readers)) {
            let acked = writer.acked.borrow().as_ref().map(|(at, conversation, seq)| {
                format!("{conversation} {seq}, begun {:.2} s ago", at.elapsed().as_secs_f32())
            });
            // Writing to a string cannot fail.
            let (server, seen) = (reader.server.borrow().unwrap_or_default(), reader.seen.borrow());
            let _ = write!(text, "\n{} on server {server}: last ack {acked:?}, seen {seen:?}", person.id);
        }
        text
    }
}

/// What a writer works with.
struct Writing {
    recorder: Recorder,
    user: String,
    client: im_client::Client,
    conversations: Vec<String>,
    pause: Duration,
    acks: watch::Sender<usize>,
    stopped: watch::Receiver<bool>,
}

impl Writing {
    fn start(self) -> Writer {
        let (tell, acked) = watch::channel(None);
        let task = tokio::spawn(async move {
            for n in 0_usize.. {
                if *self.stopped.borrow() {
                    return;
                }
                let conversation = self.conversations[n % self.conversations.len()].clone();
                let begun = Instant::now();
                let seq = self.write(&conversation, &format!("{} {n}", self.user)).await;
                self.acks.send_modify(|acks| *acks += 1);
                tell.send_replace(Some((begun, conversation, seq)));
                tokio::time::sleep(self.pause).await;
            }
        });
        Writer { acked, task }
    }

    async fn write(&self, conversation: &str, text: &str) -> u64 {
        let target = Target::Conversation(ConversationId::parse(conversation).expect("a conversation"));
        let sent = self.client.send_text(target, text).await.expect("a send is repeated until it is acked");
        let (conversation, user) = (conversation.to_owned(), self.user.clone());
        let client_message_id = sent.client_message_id.to_string();
        self.recorder.add(Record::Sent {
            conversation: conversation.clone(),
            user: user.clone(),
            client_message_id: client_message_id.clone(),
            content: json!({"text": text}).to_string(),
        });
        self.recorder.add(Record::Acked { conversation, user, client_message_id, seq: sent.seq });
        sent.seq
    }
}

impl Reader {
    fn start(recorder: &Recorder, user: &str, conversations: &[String], mut events: im_client::Events) -> Self {
        let (tell, seen) = watch::channel(HashMap::new());
        let (tell_server, server) = watch::channel(None);
        let (recorder, user) = (recorder.clone(), user.to_owned());
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::Online(welcome) => {
                        tell_server.send_replace(Some(welcome.server.0));
                    }
                    Event::Message(message) => {
                        let message = serde_json::to_value(&message).expect("a message is JSON");
                        let view = view(&format!("{user} live"), &user, &message);
                        tell.send_modify(|seen| {
                            seen.insert(view.conversation.clone(), view.seq);
                        });
                        recorder.add(Record::Seen(view));
                    }
                    // The test is over.
                    Event::Stopped(Stopped::Closed) => return,
                    Event::Missed | Event::Reset(_) | Event::Stopped(_) | Event::Refused { .. } => {
                        panic!("{user} got {event:?}")
                    }
                    _ => {}
                }
            }
        });
        Self { conversations: conversations.to_vec(), seen, server, task }
    }

    /// Waits until the heads of its conversations are seen.
    async fn reaches(&self, heads: &BTreeMap<String, u64>) {
        let mut seen = self.seen.clone();
        let has_all = |seen: &HashMap<String, u64>| {
            let mut mine = self.conversations.iter().filter_map(|conversation| heads.get_key_value(conversation));
            mine.all(|(conversation, head)| seen.get(conversation).is_some_and(|seq| seq >= head))
        };
        // An error means that the client was told something bad, which its task has said.
        seen.wait_for(has_all).await.expect("the client goes on");
    }
}
