//! The checker: what must never happen, found in a history.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::{Record, View};

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
