//! A device that stays connected by itself, and a record of everything it shows.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use im_client::{Client, Config, Event, Events, MemoryStore, SendError, Stopped, Target};
use im_protocol::ConversationId;
use im_protocol::server::{self, ConversationItem};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::history::{Record, Recorder, View};

/// Longest wait for anything that comes back by itself. Some of a server's waits are this long: a lease runs out after
/// 10 s, a backlog is noticed after 10 s, a gap's pulls are spread over 10 s.
pub const CONVERGENCE: Duration = Duration::from_secs(90);

/// Events that may wait: more than any test makes.
const EVENTS: usize = 1_000_000;

/// A user's device.
pub struct Watcher {
    /// Whose it is.
    pub user: String,
    /// The device.
    pub client: Client,
    recorder: Recorder,
    shown: watch::Receiver<Shown>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("user", &self.user)
            .field("shown", &*self.shown.borrow())
            .finish_non_exhaustive()
    }
}

/// What was shown so far.
#[derive(Debug, Default)]
struct Shown {
    /// The last seq, by conversation.
    last: HashMap<String, u64>,
    /// How often a conversation was taken away. The device forgets it then, and shows what comes later as a new one.
    removals: HashMap<String, u32>,
    /// The server it is or was last connected to.
    server: Option<u16>,
}

impl Watcher {
    /// Signs in at an HTTP address and connects; writes everything down that is shown from now on.
    pub async fn connect(recorder: &Recorder, user: &str, server: SocketAddr) -> Self {
        let config =
            Config { initial_history: u64::MAX, events: EVENTS, ..Config::new(format!("http://{server}"), user, user) };
        let connected = Client::connect(config, Arc::new(MemoryStore::default())).await;
        let (client, events) = connected.unwrap_or_else(|error| panic!("{user} cannot connect: {error}"));
        let (tell, shown) = watch::channel(Shown::default());
        let task = tokio::spawn(watch(recorder.clone(), user.to_owned(), events, tell));
        Self { user: user.to_owned(), client, recorder: recorder.clone(), shown, task }
    }

    /// Sends a text, waits until it is acked, however long that takes, and returns its seq.
    pub async fn say(&self, conversation: &str, text: &str) -> Result<u64, SendError> {
        let target = Target::Conversation(ConversationId::parse(conversation).expect("a conversation"));
        let sent = self.client.send_text(target, text).await?;
        let (conversation, user) = (conversation.to_owned(), self.user.clone());
        let client_message_id = sent.client_message_id.to_string();
        let content = json!({"text": text}).to_string();
        self.recorder.add(Record::Sent {
            conversation: conversation.clone(),
            user: user.clone(),
            client_message_id: client_message_id.clone(),
            content,
        });
        self.recorder.add(Record::Acked { conversation, user, client_message_id, seq: sent.seq });
        Ok(sent.seq)
    }

    /// The last seq that was shown of a conversation; 0 before the first.
    pub fn last(&self, conversation: &str) -> u64 {
        self.shown.borrow().last.get(conversation).copied().unwrap_or(0)
    }

    /// The server it is or was last connected to.
    pub fn server(&self) -> Option<u16> {
        self.shown.borrow().server
    }

    /// Waits, as long as it takes, until everything up to these seqs, by conversation, was shown.
    pub async fn reaches(&self, heads: &BTreeMap<String, u64>) {
        let mut shown = self.shown.clone();
        let has_all =
            |shown: &Shown| heads.iter().all(|(conversation, head)| shown.last.get(conversation) >= Some(head));
        let reached = shown.wait_for(has_all).await.is_ok();
        // Its task has said what it was.
        assert!(reached, "the client of {} was told something bad", self.user);
    }

    /// Waits until everything up to a seq was shown.
    pub async fn sees(&self, conversation: &str, seq: u64) {
        let heads = BTreeMap::from([(conversation.to_owned(), seq)]);
        let seen = tokio::time::timeout(CONVERGENCE, self.reaches(&heads)).await.is_ok();
        assert!(seen, "{} does not see {seq} of {conversation} within {CONVERGENCE:?}: {self:?}", self.user);
    }

    /// Under which names it is written down what was shown of a conversation: one more each time that it was taken away.
    pub fn names(&self, conversation: &str) -> Vec<String> {
        let removals = self.shown.borrow().removals.get(conversation).copied().unwrap_or(0);
        (0..=removals).map(|removals| name(&self.user, removals)).collect()
    }

    /// Whether all that it was told was good so far.
    pub fn is_well(&self) -> bool {
        !self.task.is_finished()
    }
}

/// What the checker knows a device as.
fn name(user: &str, removals: u32) -> String {
    if removals == 0 { format!("{user} live") } else { format!("{user} live, {removals} times removed") }
}

async fn watch(recorder: Recorder, user: String, mut events: Events, tell: watch::Sender<Shown>) {
    while let Some(event) = events.next().await {
        let removed = match event {
            Event::Message(message) => {
                let message = serde_json::to_value(&message).expect("a message is JSON");
                let conversation = message["conversation"].as_str().expect("a conversation").to_owned();
                let removals = tell.borrow().removals.get(&conversation).copied().unwrap_or(0);
                let view = View::of(&name(&user, removals), &user, &message);
                tell.send_modify(|shown| {
                    shown.last.insert(conversation, view.seq);
                });
                recorder.add(Record::Seen(view));
                continue;
            }
            Event::Online(welcome) => {
                tell.send_modify(|shown| shown.server = Some(welcome.server.0));
                continue;
            }
            Event::Hint(hint) => match *hint {
                server::Event::ConversationRemoved { conversation, .. } => conversation,
                _ => continue,
            },
            Event::Conversation(item) => match *item {
                ConversationItem::Removed(tombstone) => tombstone.conversation,
                ConversationItem::Present(_) => continue,
            },
            // The test is over.
            Event::Stopped(Stopped::Closed) => return,
            Event::Missed | Event::Reset(_) | Event::Stopped(_) | Event::Refused { .. } => {
                panic!("{user} got {event:?}")
            }
            _ => continue,
        };
        tell.send_modify(|shown| {
            shown.last.remove(removed.as_str());
            *shown.removals.entry(removed.to_string()).or_default() += 1;
        });
    }
}
