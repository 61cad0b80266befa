//! The messages on their way out: one conversation's in the order they were written, one at a time, until each is
//! committed or refused for good. Every try repeats the same `client_message_id`.

use std::collections::{HashSet, VecDeque};

use im_protocol::ClientMessageId;
use im_protocol::client::Target;
use im_protocol::server::Sent;
use tokio::sync::oneshot;

use crate::connection::RequestError;
use crate::store::{StoreError, Unsent, key};

/// Messages that may wait.
const WAITING: usize = 1_000;
/// Sends on the wire at once, each of another conversation.
const IN_FLIGHT: usize = 32;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The server refused it for good.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// Too many messages wait already.
    #[error("{WAITING} messages wait to be sent")]
    Full,
    /// It could not be put into the unsent queue.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client stopped before it was sent. It stays in the store and is sent by the next client that opens it.
    #[error("the client has stopped")]
    Stopped,
}

/// Who waits for a message to be committed.
pub(crate) type Reply = oneshot::Sender<Result<Sent, SendError>>;

/// A message and who waits for it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) unsent: Unsent,
    /// Nobody waits for one that an earlier client left.
    pub(crate) reply: Option<Reply>,
    sending: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox(VecDeque<Entry>);

impl Outbox {
    /// Whether one more may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= WAITING
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, unsent: Unsent, reply: Option<Reply>) {
        self.0.push_back(Entry { unsent, reply, sending: false });
    }

    /// The messages that may be sent now; they are on the wire from here on.
    pub(crate) fn take(&mut self) -> Vec<Unsent> {
        let mut room = IN_FLIGHT.saturating_sub(self.0.iter().filter(|entry| entry.sending).count());
        let mut before: HashSet<&str> = HashSet::new();
        let mut taken = Vec::new();
        for entry in &mut self.0 {
            if room == 0 {
                break;
            }
            if before.insert(key(&entry.unsent.target)) && !entry.sending {
                entry.sending = true;
                room -= 1;
                taken.push(entry.unsent.clone());
            }
        }
        taken
    }

    /// This one must be sent again.
    pub(crate) fn again(&mut self, target: &Target, id: &ClientMessageId) {
        if let Some(n) = self.find(target, id) {
            self.0[n].sending = false;
        }
    }

    /// This one is committed, or refused for good.
    pub(crate) fn settle(&mut self, target: &Target, id: &ClientMessageId) -> Option<Entry> {
        self.find(target, id).and_then(|n| self.0.remove(n))
    }

    /// The connection ended: whatever was on the wire must be sent again.
    pub(crate) fn disconnected(&mut self) {
        for entry in &mut self.0 {
            entry.sending = false;
        }
    }

    fn find(&self, target: &Target, id: &ClientMessageId) -> Option<usize> {
        self.0.iter().position(|entry| entry.unsent.client_message_id == *id && entry.unsent.target == *target)
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::message::Body;
    use im_protocol::{Content, Kind};

    use super::*;

    fn unsent(to: &str, id: &str) -> Unsent {
        Unsent {
            target: Target::User(to.parse().unwrap()),
            client_message_id: id.parse().unwrap(),
            body: Body {
                kind: Kind::Text,
                content: Content::text(id),
                mentions: Vec::new(),
                mention_all: false,
                reply_to: None,
            },
        }
    }

    fn ids(taken: &[Unsent]) -> Vec<&str> {
        taken.iter().map(|unsent| unsent.client_message_id.as_str()).collect()
    }

    fn outbox() -> Outbox {
        let mut outbox = Outbox::default();
        for (to, id) in [("bob", "b1"), ("bob", "b2"), ("carol", "c1"), ("bob", "b3")] {
            outbox.push(unsent(to, id), None);
        }
        outbox
    }

    #[test]
    fn a_conversation_has_one_message_on_the_wire_and_others_do_not_wait_for_it() {
        let mut outbox = outbox();
        assert_eq!(ids(&outbox.take()), ["b1", "c1"]);
        assert!(outbox.take().is_empty());
        let b1 = unsent("bob", "b1");
        assert!(outbox.settle(&b1.target, &b1.client_message_id).is_some());
        assert_eq!(ids(&outbox.take()), ["b2"]);
    }

    #[test]
    fn a_lost_connection_sends_the_same_again_in_the_same_order() {
        let mut outbox = outbox();
        outbox.take();
        outbox.disconnected();
        assert_eq!(ids(&outbox.take()), ["b1", "c1"]);
    }

    #[test]
    fn a_message_that_must_wait_is_not_overtaken_by_a_later_one() {
        let mut outbox = outbox();
        outbox.take();
        let b1 = unsent("bob", "b1");
        outbox.again(&b1.target, &b1.client_message_id);
        assert_eq!(ids(&outbox.take()), ["b1"]);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut outbox = Outbox::default();
        for n in 0..WAITING {
            assert!(!outbox.is_full());
            outbox.push(unsent(&format!("u{n}"), "x"), None);
        }
        assert!(outbox.is_full());
        assert_eq!(outbox.take().len(), IN_FLIGHT);
    }
}
