//! What arrives: pushes and pulled stretches go through the cursors into the store.

use std::time::{Duration, Instant};

use im_protocol::client::{Mark, Sync, SyncItem};
use im_protocol::limits::{LIST_MAX, SYNC_ITEMS};
use im_protocol::{ClientFrame, ConversationId, ConversationKind, Message, ServerFrame, server};

use super::{Done, Supervisor};
use crate::connection::{Connection, RequestError};
use crate::cursor::{Position, Step};
use crate::events::Event;
use crate::store::StoreError;
use crate::timelines::beginning;

/// Deliveries are told this long after they happened, all of a conversation at once.
const ACK: Duration = Duration::from_millis(500);

impl Supervisor {
    pub(super) async fn pushed(&mut self, connection: &Connection, frame: ServerFrame) -> Result<(), StoreError> {
        match frame {
            ServerFrame::Message(message) => self.arrived(*message).await?,
            ServerFrame::Event(server::Event::MessageChanged { conversation, rev, message, .. }) => {
                if let Some(cursor) = self.timelines.known(&conversation) {
                    let step = cursor.change(rev, *message);
                    self.step(&conversation, step).await?;
                    self.timelines.touched(&conversation, Instant::now(), false);
                }
            }
            ServerFrame::Event(event) => {
                if let server::Event::ConversationRemoved { conversation, .. } = &event {
                    self.forget(conversation).await?;
                } else if let server::Event::ConversationChanged { .. } = &event {
                    self.list(connection);
                }
                self.events.emit(Event::Hint(Box::new(event)));
            }
            ServerFrame::Resync(resync) => match resync.conversation {
                Some(conversation) => {
                    let head = resync.head.unwrap_or(0);
                    let start = beginning(head, self.config.initial_history, Position::default());
                    self.timelines.cursor(&conversation, start).heard(head, resync.rev.unwrap_or(0));
                    self.timelines.touched(&conversation, Instant::now(), true);
                }
                None => self.list(connection),
            },
            ServerFrame::Receipt(receipt) => self.events.emit(Event::Receipt(receipt)),
            ServerFrame::Typing(typing) => self.events.emit(Event::Typing(typing)),
            ServerFrame::Presence(presence) => self.events.emit(Event::Presence(presence)),
            // The last word before a close on TCP, a pong, or the answer to a frame that has none.
            _ => {}
        }
        Ok(())
    }

    pub(super) async fn arrived(&mut self, message: Message) -> Result<(), StoreError> {
        let conversation = message.conversation.clone();
        let known = Position { seq: 0, rev: message.rev, incarnation: message.incarnation };
        let start = beginning(message.seq - 1, self.config.initial_history, known);
        let step = self.timelines.cursor(&conversation, start).push(message);
        self.step(&conversation, step).await?;
        self.timelines.touched(&conversation, Instant::now(), false);
        Ok(())
    }

    /// Does what the cursor decided.
    pub(super) async fn step(&mut self, conversation: &ConversationId, step: Step) -> Result<(), StoreError> {
        let (messages, changed) = match step {
            Step::Stale => return Ok(()),
            Step::Reset => {
                self.store.forget(conversation).await?;
                self.events.emit(Event::Reset(conversation.clone()));
                return Ok(());
            }
            Step::Apply { messages, changed } => (messages, changed),
        };
        let Some(cursor) = self.timelines.known(conversation) else { return Ok(()) };
        self.store.apply(conversation, cursor.position(), &messages, &changed).await?;
        // The newest one of somebody else's is what its sender waits to hear of.
        let delivered = messages.iter().rev().find(|message| message.sender != self.me).map(|message| message.seq);
        if let Some(seq) = delivered.filter(|_| conversation.kind() != ConversationKind::Room) {
            let ack = self.acks.entry(conversation.clone()).or_default();
            *ack = seq.max(*ack);
            self.ack_at.get_or_insert_with(|| Instant::now() + ACK);
        }
        for message in messages {
            self.events.emit(Event::Message(Box::new(message)));
        }
        for message in changed {
            self.events.emit(Event::Changed(Box::new(message)));
        }
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, connection: &Connection, now: Instant) {
        self.acks.retain(|conversation, seq| {
            !connection.tell(ClientFrame::Delivered(Mark { conversation: conversation.clone(), seq: *seq }))
        });
        self.ack_at = (!self.acks.is_empty()).then(|| now + ACK);
    }

    pub(super) fn pull(&mut self, connection: &Connection) {
        if self.pulling {
            return;
        }
        let items = self.timelines.due(Instant::now());
        if items.is_empty() {
            return;
        }
        self.pulling = true;
        let connection = connection.clone();
        self.running.spawn(async move {
            let sync = ClientFrame::Sync(Sync { items: items.clone(), many: true, limit: LIST_MAX });
            let answers = connection.ask_many(sync, SYNC_ITEMS).await;
            Done::Pulled(items, answers)
        });
    }

    pub(super) async fn pulled(
        &mut self,
        items: Vec<SyncItem>,
        answers: Result<Vec<ServerFrame>, RequestError>,
    ) -> Result<(), StoreError> {
        self.pulling = false;
        for answer in answers.unwrap_or_default() {
            match answer {
                ServerFrame::Messages(messages) => {
                    let Some(cursor) = self.timelines.known(&messages.conversation) else { continue };
                    let step = cursor.answer(&messages);
                    self.step(&messages.conversation, step).await?;
                }
                ServerFrame::Error(error) if !error.retryable => {
                    // Not a member any more, or never: the list tells.
                    if let Some(conversation) = error.conversation {
                        self.timelines.settle(&conversation);
                    }
                }
                _ => {}
            }
        }
        let now = Instant::now();
        for item in items {
            self.timelines.pulled(&item.conversation, now);
        }
        Ok(())
    }

    /// Pulls what those in the room may read.
    pub(super) fn entered(&mut self, conversation: &ConversationId) {
        let cursor = self.timelines.cursor(conversation, Position::default());
        // How far the room is, only the answer tells.
        let next = cursor.position().seq + 1;
        cursor.heard(next, 0);
        self.timelines.touched(conversation, Instant::now(), true);
    }
}
