//! A conversation as a server has it, to test the device against.

use std::collections::BTreeMap;

use im_protocol::server::Messages;
use im_protocol::{Content, ConversationId, Incarnation, Kind, Message, Rev, Seq};

pub(crate) fn conversation() -> ConversationId {
    "g:1".parse().unwrap()
}

pub(crate) fn message(seq: Seq, rev: Rev) -> Message {
    Message {
        conversation: conversation(),
        seq,
        rev,
        incarnation: 1,
        sender: "alice".parse().unwrap(),
        client_message_id: Some(format!("m{seq}").parse().unwrap()),
        time: 1,
        kind: Kind::Text,
        content: Content::text(&format!("{seq} as of {rev}")),
        mentions: Vec::new(),
        mention_all: false,
        reply_to: None,
        forwarded_from: None,
        recalled: false,
        edited: None,
        reactions: BTreeMap::new(),
    }
}

/// A stored history: messages, what is hidden from this reader, changes.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) messages: BTreeMap<Seq, Message>,
    pub(crate) head: Seq,
    pub(crate) rev: Rev,
    pub(crate) incarnation: Incarnation,
    hidden: Vec<(Seq, Seq)>,
    /// What was pushed, in the order of the commits.
    pub(crate) pushed: Vec<Pushed>,
}

#[derive(Clone, Debug)]
pub(crate) enum Pushed {
    Message(Message),
    Change(Rev, Message),
}

/// What happens in the conversation.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    Said,
    /// Said while this reader was no member.
    SaidUnseen,
    /// The message at this place, counted from the first, is recalled.
    Recalled(usize),
}

impl History {
    pub(crate) fn of(happenings: &[Happening]) -> Self {
        let mut history =
            Self { messages: BTreeMap::new(), head: 0, rev: 0, incarnation: 1, hidden: Vec::new(), pushed: Vec::new() };
        for happening in happenings {
            match happening {
                Happening::Said => {
                    history.head += 1;
                    let message = message(history.head, history.rev);
                    history.messages.insert(history.head, message.clone());
                    history.pushed.push(Pushed::Message(message));
                }
                Happening::SaidUnseen => {
                    history.head += 1;
                    match history.hidden.last_mut() {
                        Some((_, to)) if *to + 1 == history.head => *to = history.head,
                        _ => history.hidden.push((history.head, history.head)),
                    }
                }
                Happening::Recalled(place) => {
                    let count = history.messages.len();
                    if let Some(message) = history.messages.values_mut().nth(place % count.max(1)) {
                        history.rev += 1;
                        message.rev = history.rev;
                        message.recalled = true;
                        message.content = Content::empty();
                        history.pushed.push(Pushed::Change(history.rev, message.clone()));
                    }
                }
            }
        }
        history
    }

    /// The answer to `sync`, as protocol.md says.
    pub(crate) fn sync(&self, after: Seq, rev: Rev, limit: usize) -> Messages {
        let mut messages: Vec<Message> = self.messages.range(after + 1..).map(|(_, m)| m.clone()).collect();
        let more = messages.len() > limit;
        messages.truncate(limit);
        let end = if more { messages.last().map_or(after, |m| m.seq) } else { self.head };
        let mut changed: Vec<Message> =
            self.messages.range(..=after).map(|(_, m)| m.clone()).filter(|m| m.rev > rev).collect();
        changed.sort_by_key(|m| m.rev);
        let cut = changed.len() > limit;
        changed.truncate(limit);
        let reached = if cut { changed.last().map_or(rev, |m| m.rev) } else { self.rev };
        let in_range = |(from, to): &(Seq, Seq)| (*from.max(&(after + 1)), *to.min(&end));
        Messages {
            id: None,
            conversation: conversation(),
            incarnation: self.incarnation,
            head: self.head,
            rev: reached,
            gaps: self.hidden.iter().map(in_range).filter(|(from, to)| from <= to).collect(),
            more: more || cut,
            messages,
            changed,
            last: true,
        }
    }
}
