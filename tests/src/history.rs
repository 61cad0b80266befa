//! What every client did and saw, and a checker that finds what must never happen in it.
//!
//! A history is a list of JSON lines. The checker is a pure function over it: what it knows of the server is what the
//! clients recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// A member may see `[joined, left)` of a conversation; recorded by whoever changed the membership.
    Stint {
        /// Conversation.
        conversation: String,
        /// Member.
        user: String,
        /// First seq.
        joined: u64,
        /// First seq no more; `None`: still there.
        left: Option<u64>,
    },
    /// A client sent a message, for the first time or again.
    Sent {
        /// Conversation.
        conversation: String,
        /// Sender.
        user: String,
        /// The sender's id for the message.
        client_message_id: String,
        /// Its content.
        content: String,
    },
    /// The server acknowledged it.
    Acked {
        /// Conversation.
        conversation: String,
        /// Sender.
        user: String,
        /// The sender's id for the message.
        client_message_id: String,
        /// The seq it was given.
        seq: u64,
    },
    /// A client showed a message to its user.
    Seen(View),
    /// A client was told that it will never get a seq.
    Skipped {
        /// Client: a user's device.
        client: String,
        /// Conversation.
        conversation: String,
        /// Which seq.
        seq: u64,
    },
    /// In the end a client read a conversation from the server again: one line per message, oldest first.
    Synced(View),
}

/// A message before a client's eyes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Client: a user's device.
    pub client: String,
    /// Its user.
    pub user: String,
    /// Conversation.
    pub conversation: String,
    /// Seq.
    pub seq: u64,
    /// Sender.
    pub sender: String,
    /// The sender's id for the message; `None` for a notification.
    pub client_message_id: Option<String>,
    /// Its content.
    pub content: String,
}

impl View {
    /// A message as the wire tells it, before the eyes of a client of a user.
    pub fn of(client: &str, user: &str, message: &Value) -> Self {
        let text = |field: &str| message[field].as_str().expect("a text").to_owned();
        Self {
            client: client.to_owned(),
            user: user.to_owned(),
            conversation: text("conversation"),
            seq: message["seq"].as_u64().expect("a seq"),
            sender: text("sender"),
            client_message_id: message["client_message_id"].as_str().map(str::to_owned),
            content: message["content"].to_string(),
        }
    }
}

/// What must never happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// An acknowledged message is not stored under its seq, or a member who should have it never saw it.
    Lost(String),
    /// A message is stored twice, or was shown twice to a client.
    Duplicate(String),
    /// Seqs went backwards before a client's eyes, or against the order in which one sender sent.
    Reorder(String),
    /// A seq is missing and nobody said that it would be.
    Gap(String),
    /// A message that nobody sent.
    Phantom(String),
    /// A message before the eyes of someone who was not a member when it was sent.
    Leak(String),
    /// Two contents under one seq.
    Fork(String),
}

impl Violation {
    /// Its name: `lost`, `duplicate`, `reorder`, `gap`, `phantom`, `leak` or `fork`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lost(_) => "lost",
            Self::Duplicate(_) => "duplicate",
            Self::Reorder(_) => "reorder",
            Self::Gap(_) => "gap",
            Self::Phantom(_) => "phantom",
            Self::Leak(_) => "leak",
            Self::Fork(_) => "fork",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Lost(text)
        | Self::Duplicate(text)
        | Self::Reorder(text)
        | Self::Gap(text)
        | Self::Phantom(text)
        | Self::Leak(text)
        | Self::Fork(text)) = self;
        write!(f, "{}: {text}", self.name())
    }
}

/// Where clients write what they did and saw. Clones write into the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Vec<Record>>>);

impl Recorder {
    /// Adds a line.
    pub fn add(&self, record: Record) {
        self.0.lock().push(record);
    }

    /// Everything so far, in the order in which it was written.
    pub fn history(&self) -> Vec<Record> {
        self.0.lock().clone()
    }
}

/// Writes a history as JSON lines.
pub fn write(history: &[Record], mut to: impl Write) -> io::Result<()> {
    for record in history {
        serde_json::to_writer(&mut to, record)?;
        to.write_all(b"\n")?;
    }
    to.flush()
}

/// Reads a history from JSON lines.
pub fn read(from: impl BufRead) -> io::Result<Vec<Record>> {
    from.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// A stay of a member: `[joined, left)`.
type Stint = (u64, Option<u64>);
/// Conversation, sender and the sender's id for the message.
type Key<'a> = (&'a str, &'a str, &'a str);

/// What a history says, sorted for the questions that are asked of it.
#[derive(Default)]
struct Facts<'a> {
    /// Stints by conversation and user.
    stints: HashMap<(&'a str, &'a str), Vec<Stint>>,
    /// What was sent, by conversation, sender and id, with its content.
    sent: HashMap<Key<'a>, &'a str>,
    /// The first sends in order, by conversation and sender.
    order: BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
    /// The seqs acknowledged for a message.
    acked: BTreeMap<Key<'a>, BTreeSet<u64>>,
    /// What stands under a seq, by conversation: everything that anyone ever saw there.
    stored: BTreeMap<&'a str, BTreeMap<u64, Vec<&'a View>>>,
    /// What each client was shown, in order, by client and conversation.
    seen: BTreeMap<(&'a str, &'a str), Vec<&'a View>>,
    /// What each client read in the end.
    synced: BTreeMap<(&'a str, &'a str), Vec<&'a View>>,
    /// What clients were told they would not get.
    skipped: BTreeSet<(&'a str, &'a str, u64)>,
}

impl<'a> Facts<'a> {
    fn of(history: &'a [Record]) -> Self {
        let mut facts = Self::default();
        for record in history {
            match record {
                Record::Stint { conversation, user, joined, left } => {
                    facts.stints.entry((conversation, user)).or_default().push((*joined, *left));
                }
                Record::Sent { conversation, user, client_message_id, content } => {
                    if facts.sent.insert((conversation, user, client_message_id), content).is_none() {
                        facts.order.entry((conversation, user)).or_default().push(client_message_id);
                    }
                }
                Record::Acked { conversation, user, client_message_id, seq } => {
                    facts.acked.entry((conversation, user, client_message_id)).or_default().insert(*seq);
                }
                Record::Seen(view) => {
                    facts.seen.entry((&view.client, &view.conversation)).or_default().push(view);
                    facts.store(view);
                }
                Record::Synced(view) => {
                    facts.synced.entry((&view.client, &view.conversation)).or_default().push(view);
                    facts.store(view);
                }
                Record::Skipped { client, conversation, seq } => {
                    facts.skipped.insert((client, conversation, *seq));
                }
            }
        }
        facts
    }

    fn store(&mut self, view: &'a View) {
        self.stored.entry(&view.conversation).or_default().entry(view.seq).or_default().push(view);
    }

    fn is_member(&self, conversation: &str, user: &str, seq: u64) -> bool {
        let stints = self.stints.get(&(conversation, user));
        stints.is_some_and(|stints| {
            stints.iter().any(|(joined, left)| *joined <= seq && left.is_none_or(|left| seq < left))
        })
    }
}

/// Everything that must never happen and did, sorted, each once.
pub fn check(history: &[Record]) -> Vec<Violation> {
    let facts = Facts::of(history);
    let mut found = BTreeSet::new();
    check_stored(&facts, &mut found);
    check_acked(&facts, &mut found);
    for ((client, conversation), views) in facts.seen.iter().chain(&facts.synced) {
        check_view(&facts, client, conversation, views, &mut found);
    }
    check_everyone_has_what_was_acked(&facts, &mut found);
    found.into_iter().collect()
}

/// One content per seq, one seq per message, nothing that nobody sent, each sender's messages in the order of sending.
fn check_stored(facts: &Facts<'_>, found: &mut BTreeSet<Violation>) {
    for (conversation, seqs) in &facts.stored {
        let mut seq_of: HashMap<(&str, &str), u64> = HashMap::new();
        for (seq, views) in seqs {
            let at = format!("{conversation} {seq}");
            let first = views[0];
            let same = |view: &&&View| {
                (&view.sender, &view.client_message_id, &view.content)
                    == (&first.sender, &first.client_message_id, &first.content)
            };
            if let Some(other) = views.iter().find(|view| !same(view)) {
                found.insert(Violation::Fork(format!(
                    "{at}: {} has {:?}, {} has {:?}",
                    first.client, first.content, other.client, other.content
                )));
                continue;
            }
            let Some(id) = &first.client_message_id else { continue };
            if facts.sent.get(&(*conversation, first.sender.as_str(), id.as_str())) != Some(&first.content.as_str()) {
                found.insert(Violation::Phantom(format!(
                    "{at}: {} never sent {id} with {:?}",
                    first.sender, first.content
                )));
            }
            let before = *seq_of.entry((&first.sender, id)).or_insert(*seq);
            if before != *seq {
                found.insert(Violation::Duplicate(format!(
                    "{at}: {id} of {} stands under {before} already",
                    first.sender
                )));
            }
        }
        for ((_, sender), ids) in facts.order.range((*conversation, "")..).take_while(|((c, _), _)| c == conversation) {
            let seqs: Vec<u64> = ids.iter().filter_map(|id| seq_of.get(&(sender, id))).copied().collect();
            if let Some([first, second]) = seqs.array_windows().find(|[first, second]| first > second) {
                found.insert(Violation::Reorder(format!(
                    "{conversation}: {sender} sent {first} before {second}, and they are stored the other way round"
                )));
            }
        }
    }
}

/// What was acknowledged stands under its seq.
fn check_acked(facts: &Facts<'_>, found: &mut BTreeSet<Violation>) {
    for ((conversation, sender, id), seqs) in &facts.acked {
        if seqs.len() > 1 {
            found.insert(Violation::Duplicate(format!("{conversation}: {id} of {sender} was acked as {seqs:?}")));
        }
        for seq in seqs {
            let views = facts.stored.get(conversation).and_then(|stored| stored.get(seq));
            let is_there = views.is_some_and(|views| {
                views.iter().any(|view| view.sender == *sender && view.client_message_id.as_deref() == Some(*id))
            });
            if !is_there {
                found.insert(Violation::Lost(format!(
                    "{conversation} {seq}: {id} of {sender} was acked and is not there"
                )));
            }
        }
    }
}

/// One client's view of one conversation: upwards, each once, without holes but the named ones, nothing of others' time.
fn check_view(facts: &Facts<'_>, client: &str, conversation: &str, views: &[&View], found: &mut BTreeSet<Violation>) {
    for [before, view] in views.array_windows() {
        let (before, seq) = (before.seq, view.seq);
        let at = format!("{client} in {conversation}");
        if seq < before {
            found.insert(Violation::Reorder(format!("{at}: {seq} after {before}")));
        }
        for missing in before + 1..seq {
            let elsewhere = views.iter().any(|view| view.seq == missing);
            if !elsewhere && !facts.skipped.contains(&(client, conversation, missing)) {
                found.insert(Violation::Gap(format!("{at}: {missing} is missing between {before} and {seq}")));
            }
        }
    }
    let mut once = BTreeSet::new();
    for view in views {
        if !once.insert(view.seq) {
            found.insert(Violation::Duplicate(format!("{client} in {conversation}: {} twice", view.seq)));
        }
        if !facts.is_member(conversation, &view.user, view.seq) {
            found.insert(Violation::Leak(format!(
                "{client} in {conversation}: {} of {} has no stint there",
                view.seq, view.user
            )));
        }
    }
}

/// Whoever looked at a conversation has, at least in the end, every acknowledged message of their stints.
fn check_everyone_has_what_was_acked(facts: &Facts<'_>, found: &mut BTreeSet<Violation>) {
    let viewers: BTreeSet<(&str, &str)> = facts.seen.keys().chain(facts.synced.keys()).copied().collect();
    for (client, conversation) in viewers {
        let views = || {
            let of = |map: &BTreeMap<_, Vec<_>>| map.get(&(client, conversation)).cloned().unwrap_or_default();
            of(&facts.seen).into_iter().chain(of(&facts.synced))
        };
        let has: BTreeSet<u64> = views().map(|view: &View| view.seq).collect();
        let Some(user) = views().next().map(|view| view.user.as_str()) else { continue };
        for ((acked_in, sender, id), seqs) in &facts.acked {
            for seq in seqs {
                if *acked_in == conversation && facts.is_member(conversation, user, *seq) && !has.contains(seq) {
                    found.insert(Violation::Lost(format!(
                        "{client} in {conversation}: never got {seq} ({id} of {sender})"
                    )));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: &str = "g:1";

    fn view(client: &str, user: &str, seq: u64) -> View {
        View {
            client: client.into(),
            user: user.into(),
            conversation: CONVERSATION.into(),
            seq,
            sender: "alice".into(),
            client_message_id: Some(format!("m{seq}")),
            content: format!("content {seq}"),
        }
    }

    /// Alice sends five messages; she and Bob see them all, and read them again in the end.
    fn good() -> Vec<Record> {
        let (conversation, user) = (|| CONVERSATION.to_owned(), || "alice".to_owned());
        let mut history = vec![];
        for member in ["alice", "bob"] {
            history.push(Record::Stint { conversation: conversation(), user: member.into(), joined: 1, left: None });
        }
        for seq in 1..=5 {
            let client_message_id = format!("m{seq}");
            history.push(Record::Sent {
                conversation: conversation(),
                user: user(),
                client_message_id: client_message_id.clone(),
                content: format!("content {seq}"),
            });
            history.push(Record::Acked { conversation: conversation(), user: user(), client_message_id, seq });
        }
        for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
            history.extend((1..=5).map(|seq| Record::Seen(view(client, user, seq))));
            history.extend((1..=5).map(|seq| Record::Synced(view(client, user, seq))));
        }
        history
    }

    fn names(history: &[Record]) -> Vec<&'static str> {
        let mut names: Vec<_> = check(history).iter().map(Violation::name).collect();
        names.dedup();
        names
    }

    /// Where Bob sees a seq, live.
    fn seen_by_bob(history: &[Record], seq: u64) -> usize {
        history.iter().position(|record| *record == Record::Seen(view("bob-web", "bob", seq))).unwrap()
    }

    #[test]
    fn a_good_history_is_green() {
        assert_eq!(check(&good()), []);
    }

    #[test]
    fn a_history_survives_its_file() {
        let mut file = vec![];
        write(&good(), &mut file).unwrap();
        assert_eq!(read(file.as_slice()).unwrap(), good());
    }

    #[test]
    fn a_message_that_one_member_never_got_is_lost() {
        let mut history = good();
        history
            .retain(|record| !matches!(record, Record::Seen(v) | Record::Synced(v) if v.user == "bob" && v.seq == 5));
        assert_eq!(names(&history), ["lost"]);
    }

    #[test]
    fn an_acked_message_that_is_not_stored_is_lost() {
        let mut history = good();
        history.push(Record::Sent {
            conversation: CONVERSATION.into(),
            user: "alice".into(),
            client_message_id: "m6".into(),
            content: String::new(),
        });
        assert_eq!(names(&history), [""; 0], "a message that was sent and never acked may be nowhere");
        history.push(Record::Acked {
            conversation: CONVERSATION.into(),
            user: "alice".into(),
            client_message_id: "m6".into(),
            seq: 6,
        });
        assert_eq!(names(&history), ["lost"]);
    }

    #[test]
    fn a_dropped_message_in_the_middle_is_a_gap() {
        let mut history = good();
        history.remove(seen_by_bob(&history, 3));
        assert_eq!(names(&history), ["gap"]);
        history.push(Record::Skipped { client: "bob-web".into(), conversation: CONVERSATION.into(), seq: 3 });
        assert_eq!(names(&history), [""; 0], "a gap that was named is none");
    }

    #[test]
    fn two_swapped_messages_are_a_reorder() {
        let mut history = good();
        let at = seen_by_bob(&history, 2);
        history.swap(at, at + 1);
        assert_eq!(names(&history), ["reorder"]);
    }

    #[test]
    fn messages_stored_against_the_order_of_their_sender_are_a_reorder() {
        let mut history = good();
        let sent = |history: &[Record], wanted: &str| {
            history
                .iter()
                .position(|r| matches!(r, Record::Sent { client_message_id, .. } if client_message_id == wanted))
        };
        let (two, three) = (sent(&history, "m2").unwrap(), sent(&history, "m3").unwrap());
        history.swap(two, three);
        assert_eq!(names(&history), ["reorder"]);
    }

    #[test]
    fn a_doubled_message_is_a_duplicate() {
        let mut history = good();
        let at = seen_by_bob(&history, 4);
        history.insert(at, history[at].clone());
        assert_eq!(names(&history), ["duplicate"]);
    }

    #[test]
    fn a_message_stored_under_two_seqs_is_a_duplicate() {
        let mut history = good();
        for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
            history.push(Record::Synced(View {
                client_message_id: Some("m1".into()),
                content: "content 1".into(),
                ..view(client, user, 6)
            }));
        }
        assert_eq!(names(&history), ["duplicate"]);
    }

    #[test]
    fn a_message_that_nobody_sent_is_a_phantom() {
        let mut history = good();
        for (client, user) in [("alice-web", "alice"), ("bob-web", "bob")] {
            history.push(Record::Synced(view(client, user, 6)));
        }
        assert_eq!(names(&history), ["phantom"]);
    }

    #[test]
    fn a_message_with_a_content_that_was_never_sent_is_a_phantom() {
        let mut history = good();
        for record in &mut history {
            if let Record::Seen(view) | Record::Synced(view) = record
                && view.seq == 2
            {
                view.content = "something else".into();
            }
        }
        assert_eq!(names(&history), ["phantom"]);
    }

    #[test]
    fn a_message_shown_to_one_who_is_no_member_is_a_leak() {
        let mut history = good();
        history.push(Record::Seen(view("eve-web", "eve", 5)));
        assert!(names(&history).contains(&"leak"));
    }

    #[test]
    fn a_message_shown_to_a_member_after_the_stint_is_a_leak() {
        let mut history = good();
        history[1] = Record::Stint { conversation: CONVERSATION.into(), user: "bob".into(), joined: 1, left: Some(5) };
        assert_eq!(names(&history), ["leak"]);
    }

    #[test]
    fn two_contents_under_one_seq_are_a_fork() {
        let mut history = good();
        let at = seen_by_bob(&history, 3);
        history[at] = Record::Seen(View { content: "forked".into(), ..view("bob-web", "bob", 3) });
        assert_eq!(names(&history), ["fork"]);
    }
}
