//! The list of conversations: what changed since the last time, and when that is taken for known.

use std::collections::HashSet;
use std::time::Instant;

use im_protocol::client::Room;
use im_protocol::limits::LIST_MAX;
use im_protocol::server::{self, ConversationItem, Conversations, Welcome};
use im_protocol::{ClientFrame, ConversationId, ConversationKind, ServerFrame, client};

use super::{Done, Supervisor};
use crate::connection::{Connection, RequestError};
use crate::cursor::Position;
use crate::events::Event;
use crate::store::StoreError;
use crate::timelines::beginning;

/// A listing under way.
#[derive(Default)]
pub(super) struct Listing {
    /// Known before a listing of everything began, and not named by it so far. What is new since then may have come
    /// too late for the list.
    unnamed: HashSet<ConversationId>,
}

impl Supervisor {
    pub(super) async fn welcomed(&mut self, connection: &Connection, mut welcome: Welcome) -> Result<(), StoreError> {
        let changes = welcome.changes.take();
        let since = welcome.since.clone();
        self.events.emit(Event::Online(Box::new(welcome)));
        for conversation in &self.rooms {
            let (connection, conversation) = (connection.clone(), conversation.clone());
            self.running.spawn(async move {
                let join = ClientFrame::Join(Room { conversation: conversation.clone() });
                Done::Rejoined(conversation, connection.ask(join).await.map(drop))
            });
        }
        let Some(server::Changes { items, next, reset }) = changes else {
            self.list(connection);
            return Ok(());
        };
        self.listing = Some(Listing::default());
        self.listed_page(connection, Conversations { id: None, items, next, since, reset }).await
    }

    /// Asks for what changed; for everything, if nothing is known.
    pub(super) fn list(&mut self, connection: &Connection) {
        if self.listing.is_some() {
            self.list_again = true;
            return;
        }
        let listed = |id: &&ConversationId| id.kind() != ConversationKind::Room;
        let unnamed = match &self.since {
            Some(_) => HashSet::new(),
            None => self.timelines.ids().filter(listed).cloned().collect(),
        };
        self.listing = Some(Listing { unnamed });
        self.list_page(connection, None, self.since.clone());
    }

    pub(super) fn list_page(&mut self, connection: &Connection, cursor: Option<String>, since: Option<String>) {
        let connection = connection.clone();
        let ask = ClientFrame::Conversations(client::Conversations { cursor, since, limit: LIST_MAX });
        self.running.spawn(async move {
            Done::Listed(match connection.ask(ask).await {
                Ok(ServerFrame::Conversations(page)) => Ok(page),
                Ok(_) => Err(RequestError::Answer),
                Err(error) => Err(error),
            })
        });
    }

    pub(super) async fn listed_page(&mut self, connection: &Connection, page: Conversations) -> Result<(), StoreError> {
        let now = Instant::now();
        if page.reset {
            // The token was too old: what is missing in the whole list is gone.
            self.since = None;
            self.listing = None;
            self.list(connection);
            return Ok(());
        }
        for item in page.items {
            if let Some(listing) = &mut self.listing {
                listing.unnamed.remove(item.conversation());
            }
            match &item {
                ConversationItem::Present(view) => {
                    let known = Position { seq: 0, rev: view.rev, incarnation: view.incarnation };
                    let start = beginning(view.head, self.config.initial_history, known);
                    let cursor = self.timelines.cursor(&view.conversation, start);
                    let step = cursor.is_of(view.incarnation);
                    cursor.heard(view.head, view.rev);
                    self.step(&view.conversation, step).await?;
                    self.timelines.touched(&view.conversation, now, true);
                }
                ConversationItem::Removed(tombstone) => self.forget(&tombstone.conversation).await?,
            }
            self.events.emit(Event::Conversation(Box::new(item)));
        }
        if page.next.is_some() {
            self.list_page(connection, page.next, None);
            return Ok(());
        }
        for gone in self.listing.take().map(|listing| listing.unnamed).unwrap_or_default() {
            self.forget(&gone).await?;
        }
        self.listed = Some(page.since);
        if std::mem::take(&mut self.list_again) {
            self.list(connection);
        }
        Ok(())
    }

    pub(super) async fn forget(&mut self, conversation: &ConversationId) -> Result<(), StoreError> {
        self.timelines.forget(conversation);
        self.acks.remove(conversation);
        self.store.forget(conversation).await
    }

    /// The token is kept once everything it stands for is.
    pub(super) async fn keep_since(&mut self) -> Result<(), StoreError> {
        if self.listing.is_some() || self.pulling || !self.timelines.complete() {
            return Ok(());
        }
        let Some(since) = self.listed.take() else { return Ok(()) };
        self.store.set_since(&since).await?;
        self.since = Some(since);
        Ok(())
    }
}
