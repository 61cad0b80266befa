//! The one contiguous cursor of a conversation: the next seq is applied, a higher one is held, a lower one is dropped,
//! and a gap is stepped over only when the server named it. That is all the ordering there is.

use std::collections::BTreeMap;

use im_protocol::server::Messages;
use im_protocol::{Incarnation, Message, Rev, Seq};

use crate::changes::Revisions;

/// Messages held of one conversation at most. What is beyond will be pulled.
const HELD: usize = 1_000;

/// How far a device has a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Everything up to here was applied, or will never be seen.
    pub seq: Seq,
    /// Every change up to here was applied.
    pub rev: Rev,
    /// Of which history. What is kept of another one is void.
    pub incarnation: Incarnation,
}

/// What is to be done with what arrived.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Store these, in this order; none if it was held or known.
    Apply {
        /// New messages, in order.
        messages: Vec<Message>,
        /// Changed ones among those applied before.
        changed: Vec<Message>,
    },
    /// The history was replaced: forget what is kept and pull from the start.
    Reset,
    /// It belongs to a history that is no more.
    Stale,
}

/// The cursor of one conversation.
#[derive(Clone, Debug)]
pub struct Cursor {
    seq: Seq,
    revisions: Revisions,
    incarnation: Incarnation,
    head: Seq,
    held: BTreeMap<Seq, Message>,
}

impl Cursor {
    /// A cursor at a position.
    pub fn new(position: Position) -> Self {
        Self {
            seq: position.seq,
            revisions: Revisions::new(position.rev),
            incarnation: position.incarnation,
            head: position.seq,
            held: BTreeMap::new(),
        }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        Position { seq: self.seq, rev: self.revisions.applied(), incarnation: self.incarnation }
    }

    /// Whether the server has something that was not applied yet.
    pub fn behind(&self) -> bool {
        self.seq < self.head || self.revisions.behind()
    }

    /// The conversation has come to `head` and `rev`, whoever said so.
    pub fn heard(&mut self, head: Seq, rev: Rev) {
        self.head = self.head.max(head);
        self.revisions.heard(rev);
    }

    /// The conversation is of this incarnation, as its item in the list says.
    pub fn is_of(&mut self, incarnation: Incarnation) -> Step {
        match self.incarnation {
            // What was only heard of has none yet.
            0 => self.incarnation = incarnation,
            mine if mine < incarnation => {
                *self = Self::new(Position { incarnation, ..Position::default() });
                return Step::Reset;
            }
            mine if mine > incarnation => return Step::Stale,
            _ => {}
        }
        Step::Apply { messages: Vec::new(), changed: Vec::new() }
    }

    /// What was heard of is not to be had: take what was applied for all there is, until something new is heard of.
    pub fn settle(&mut self) {
        *self = Self::new(self.position());
    }

    /// A pushed message.
    pub fn push(&mut self, message: Message) -> Step {
        let reset = match self.is_of(message.incarnation) {
            Step::Stale => return Step::Stale,
            step => step == Step::Reset,
        };
        self.heard(message.seq, message.rev);
        // One made before changes that were applied already may be among what they changed: it is pulled.
        if message.rev >= self.revisions.applied() {
            self.hold(message);
        }
        if reset {
            return Step::Reset;
        }
        Step::Apply { messages: self.drain(&[]), changed: Vec::new() }
    }

    /// A pushed change of a message.
    pub fn change(&mut self, rev: Rev, message: Message) -> Step {
        match self.is_of(message.incarnation) {
            Step::Apply { .. } => {}
            step => return step,
        }
        if message.seq <= self.seq {
            self.revisions.pushed(rev);
            return Step::Apply { messages: Vec::new(), changed: vec![message] };
        }
        // Ahead of the cursor it stands in for the message itself, whose first version need not be seen.
        self.heard(message.seq, rev);
        if rev >= self.revisions.applied() {
            self.hold(message);
        }
        self.revisions.pushed(rev);
        Step::Apply { messages: self.drain(&[]), changed: Vec::new() }
    }

    /// The answer to a `sync`. It may be older than what was pushed meanwhile.
    pub fn answer(&mut self, answer: &Messages) -> Step {
        match self.is_of(answer.incarnation) {
            Step::Apply { .. } => {}
            step => return step,
        }
        let fresh = answer.rev >= self.revisions.applied();
        self.heard(answer.head, answer.rev);
        self.revisions.answered(answer.rev);
        // The changes up to the answer's rev count as applied from here on, and what is held may be from before them.
        let applied = self.revisions.applied();
        self.held.retain(|_, message| message.rev >= applied);
        // A newer version of what was applied by a push meanwhile is a change.
        let (known, new): (Vec<_>, Vec<_>) = answer.messages.iter().cloned().partition(|m| m.seq <= self.seq);
        for message in new {
            if fresh || message.rev >= applied {
                self.hold(message);
            }
        }
        let changed = answer.changed.iter().cloned().chain(known).filter(|m| m.seq <= self.seq).collect();
        let messages = self.drain(&answer.gaps);
        Step::Apply { messages, changed }
    }

    fn hold(&mut self, message: Message) {
        if message.seq <= self.seq {
            return;
        }
        match self.held.get(&message.seq) {
            Some(held) if !crate::changes::supersedes(held, &message) => {}
            _ => drop(self.held.insert(message.seq, message)),
        }
        if self.held.len() > HELD {
            self.held.pop_last();
        }
    }

    /// Takes what has no hole before it any more.
    fn drain(&mut self, gaps: &[(Seq, Seq)]) -> Vec<Message> {
        let mut ready = Vec::new();
        loop {
            let next = self.seq + 1;
            if let Some(message) = self.held.remove(&next) {
                self.seq = next;
                ready.push(message);
            } else if let Some(&(_, to)) = gaps.iter().find(|(from, to)| (*from..=*to).contains(&next)) {
                self.seq = to;
            } else {
                break;
            }
        }
        self.held = self.held.split_off(&(self.seq + 1));
        ready
    }
}
