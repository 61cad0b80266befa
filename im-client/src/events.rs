//! What the application is told. Events are hints, the store is the truth: an application that does not keep up loses
//! some and is told so.

use std::time::Duration;

use im_protocol::server::{self, ConversationItem, Presence, Receipt, Typing, Welcome};
use im_protocol::{ClientMessageId, ConversationId, Message, WireError};
use tokio::sync::mpsc;

use crate::store::StoreError;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// Connected; what was missed arrives now.
    Online(Box<Welcome>),
    /// Not connected any more; the next try is after this time.
    Offline(Duration),
    /// A new message, in order and once.
    Message(Box<Message>),
    /// A message kept before has changed: this is what it is now.
    Changed(Box<Message>),
    /// The history of a conversation was replaced: forget what is shown of it.
    Reset(ConversationId),
    /// An item of the list of conversations, or the tombstone of one.
    Conversation(Box<ConversationItem>),
    /// How far someone has got.
    Receipt(Receipt),
    /// Someone is typing.
    Typing(Typing),
    /// Someone came or went.
    Presence(Presence),
    /// A hint of the server that is not one of the above.
    Hint(Box<server::Event>),
    /// A message from the unsent queue is refused for good, and out of the queue.
    Refused {
        /// Where it was to go.
        conversation: ConversationId,
        /// Which.
        client_message_id: ClientMessageId,
        /// Why.
        error: Box<WireError>,
    },
    /// Some events were dropped because nobody took them: read the store.
    Missed,
    /// The client has stopped and will not connect again by itself. The last event.
    Stopped(Stopped),
}

/// Why a client stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The application wanted it.
    #[error("closed")]
    Closed,
    /// Another device of the class signed in, or the session was ended elsewhere.
    #[error("another device took over ({0})")]
    Kicked(String),
    /// A newer connection of this device took this one's place.
    #[error("another window of this device took over")]
    Replaced,
    /// The session is over: sign in again.
    #[error("the session is over: {0}")]
    SignedOut(Box<WireError>),
    /// The server does not take what this client says. A newer client is needed.
    #[error("the server refuses this client: {0}")]
    Incompatible(String),
    /// What arrives cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The application's end.
#[derive(Debug)]
pub struct Events(pub(crate) mpsc::Receiver<Event>);

impl Events {
    /// The next event; `None` after [`Event::Stopped`].
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct EventSink {
    events: mpsc::Sender<Event>,
    missed: bool,
}

impl EventSink {
    /// A queue of `capacity` events.
    pub(crate) fn new(capacity: usize) -> (Self, Events) {
        // Room for an event and the word that some are missing.
        let (events, receiver) = mpsc::channel(capacity.max(2));
        (Self { events, missed: false }, Events(receiver))
    }

    /// Tells an event, or notes that one is missing.
    pub(crate) fn emit(&mut self, event: Event) {
        if self.missed && self.events.capacity() >= 2 {
            self.missed = self.events.try_send(Event::Missed).is_err();
        }
        if self.missed || self.events.try_send(event).is_err() {
            self.missed = true;
        }
    }

    /// The last word waits for room.
    pub(crate) async fn stopped(self, why: Stopped) {
        let _ = self.events.send(Event::Stopped(why)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_take_events_is_told_that_some_are_missing() {
        let (mut sink, mut events) = EventSink::new(3);
        for n in 0..5 {
            sink.emit(Event::Offline(Duration::from_millis(n)));
        }
        for n in 0..3 {
            assert!(matches!(events.next().await, Some(Event::Offline(wait)) if wait == Duration::from_millis(n)));
        }
        sink.emit(Event::Offline(Duration::from_millis(9)));
        assert!(matches!(events.next().await, Some(Event::Missed)));
        assert!(matches!(events.next().await, Some(Event::Offline(wait)) if wait == Duration::from_millis(9)));
    }
}
