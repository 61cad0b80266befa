//! People who write to each other all the time while something breaks, and a history of it all.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{Record, Recorder};
use crate::stage::{Person, Stage, direct};
use crate::watcher::{CONVERGENCE, Watcher};
use crate::witness::{check, members, read_again};

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
    /// Each one's.
    conversations: Vec<Vec<String>>,
    watchers: Vec<Arc<Watcher>>,
    writers: Vec<Writer>,
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
        let (mut watchers, mut writers) = (Vec::new(), Vec::new());
        for person in &people {
            watchers.push(Arc::new(Watcher::connect(&recorder, &person.id, stage.server.http).await));
        }
        for (watcher, conversations) in watchers.iter().zip(&conversations) {
            let (watcher, conversations, pause) = (watcher.clone(), conversations.clone(), plan.pause);
            let writing = Writing { watcher, conversations, pause, acks: acks.clone(), stopped: stopped.clone() };
            writers.push(writing.start());
        }
        let load = Self { recorder, group, people, conversations, watchers, writers, acks, stop };
        load.recovered(Instant::now()).await;
        load
    }

    /// The people.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// How many of the people are, or were last, connected to a server.
    pub fn on_server(&self, id: u16) -> usize {
        self.watchers.iter().filter(|watcher| watcher.server() == Some(id)).count()
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
            self.everybody_reaches(&heads).await;
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
        let seen = self.everybody_reaches(&heads);
        let outcome = tokio::time::timeout(CONVERGENCE.saturating_sub(begun.elapsed()), seen).await;
        assert!(outcome.is_ok(), "not everybody has everything after {CONVERGENCE:?}: {}", self.standing(&heads));
        self.acked()
    }

    /// Waits until everybody has seen the heads of their conversations.
    async fn everybody_reaches(&self, heads: &BTreeMap<String, u64>) {
        let each = self.watchers.iter().zip(&self.conversations).map(|(watcher, conversations)| async move {
            let mine = heads.iter().filter(|(conversation, _)| conversations.contains(conversation));
            let mine = mine.map(|(conversation, head)| (conversation.clone(), *head)).collect();
            watcher.reaches(&mine).await;
        });
        join_all(each).await;
    }

    /// Reads every conversation once more, each as one of its members from a fresh device on a stage, and checks the
    /// history, which stays in the file.
    pub async fn check(&self, stage: &Stage, file: &Path) {
        let mut read = BTreeMap::new();
        for (person, conversations) in self.people.iter().zip(&self.conversations) {
            for conversation in conversations {
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
        assert!(
            self.watchers.iter().all(|watcher| watcher.is_well()),
            "a client was told something it must not be told"
        );
        check(&self.recorder, file);
    }

    /// Who is where, for the words of a failure.
    fn standing(&self, heads: &BTreeMap<String, u64>) -> String {
        let mut text = format!("heads {heads:?}");
        for (writer, watcher) in self.writers.iter().zip(&self.watchers) {
            let acked = writer.acked.borrow().as_ref().map(|(at, conversation, seq)| {
                format!("{conversation} {seq}, begun {:.2} s ago", at.elapsed().as_secs_f32())
            });
            // Writing to a string cannot fail.
            let _ = write!(text, "\nlast ack {acked:?} {watcher:?}");
        }
        text
    }
}

/// What a writer works with.
struct Writing {
    watcher: Arc<Watcher>,
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
                let said = self.watcher.say(&conversation, &format!("{} {n}", self.watcher.user)).await;
                let seq = said.expect("a send is repeated until it is acked");
                self.acks.send_modify(|acks| *acks += 1);
                tell.send_replace(Some((begun, conversation, seq)));
                tokio::time::sleep(self.pause).await;
            }
        });
        Writer { acked, task }
    }
}
