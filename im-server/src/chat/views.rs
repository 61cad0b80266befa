//! The list of conversations as one user sees it, and what the user sets of it.

use im_protocol::limits::{ANSWER_BYTES, TEXT_CHARS};
use im_protocol::server::{ConversationItem, ConversationView, Conversations, Event, RemovedReason, Tombstone};
use im_protocol::{ConversationId, ErrorCode, ServerFrame, UserId, WireError, text};
use im_sdk::router::Recipients;

use super::cursors::{Cursor, Since};
use super::{Chat, Result};
use crate::store::{ListCursor, Preferences, Row, RowState, Stamp};

/// Bytes of an item besides its last message, roughly: enough to keep an answer near its limit.
const ITEM_BYTES: usize = 512;

/// A token for "nothing has changed since then".
pub(crate) fn since_token(stamp: Stamp) -> String {
    Since(stamp).encode()
}

impl Chat {
    /// A page of a user's list; with `since`, of what changed.
    pub async fn conversations(
        &self,
        user: &UserId,
        cursor: Option<&str>,
        since: Option<&str>,
        limit: u32,
    ) -> Result<Conversations> {
        let mut reset = false;
        let (first, mut since, after) = if let Some(cursor) = cursor {
            let Some(Cursor { first, since, after }) = Cursor::decode(cursor) else {
                return Err(WireError::invalid_field("cursor", "is not one that this server gave"));
            };
            (Some(first), since, Some(after))
        } else {
            let known = match since.map(Since::decode) {
                None => None,
                Some(Some(Since(stamp))) => Some(stamp),
                // Not ours.
                Some(None) => {
                    reset = true;
                    None
                }
            };
            (None, known, None)
        };
        let reads: Vec<_> = self.fresh_reads(user).await.into_iter().collect();
        let mut page = self.store.list(user, since, after.as_ref(), limit, &reads).await?;
        if after.is_none() && since > Some(page.stamp) {
            // Of a time that a restored backup does not know.
            (reset, since) = (true, None);
            page = self.store.list(user, None, None, limit, &reads).await?;
        }
        let first = first.unwrap_or(page.stamp);

        let mut items = Vec::with_capacity(page.rows.len());
        let mut bytes = 0;
        let mut more = page.more;
        let mut end = None;
        for row in page.rows {
            let size = ITEM_BYTES + last_bytes(&row);
            if bytes + size > ANSWER_BYTES && !items.is_empty() {
                more = true;
                break;
            }
            bytes += size;
            end = Some(ListCursor { updated: row.updated, conversation: row.conversation.clone() });
            items.push(item(row));
        }
        let next = end.filter(|_| more).map(|after| Cursor { first, since, after }.encode());
        Ok(Conversations { id: None, items, next, since: Since(first).encode(), reset })
    }

    /// One conversation of a user.
    pub async fn conversation(&self, user: &UserId, conversation: &ConversationId) -> Result<ConversationItem> {
        let read = self.fresh_reads(user).await.remove(conversation);
        match self.store.row(user, conversation, read).await? {
            Some(row @ Row { state: RowState::Present { .. }, .. }) => Ok(item(row)),
            Some(Row { state: RowState::Removed(reason), .. }) => Err(match reason {
                RemovedReason::Left | RemovedReason::Kicked => not_a_member(),
                RemovedReason::Dissolved => WireError::new(ErrorCode::GroupDissolved, "the group was dissolved"),
                RemovedReason::Deleted => {
                    WireError::new(ErrorCode::NotFound, "you deleted this conversation; it comes back with a message")
                }
            }),
            None => match self.store.access(user, conversation).await? {
                Some(access) if access.stints.is_empty() => Err(not_a_member()),
                _ => Err(no_such_conversation()),
            },
        }
    }

    /// Sets a user's switches of a conversation; the user's other connections are told.
    pub async fn set_preferences(&self, user: &UserId, conversation: &ConversationId, set: Preferences) -> Result<()> {
        if let Some(draft) = &set.draft {
            text::free_text(draft, TEXT_CHARS).map_err(|e| WireError::invalid_field("draft", e))?;
        }
        if !self.store.set_preferences(user, conversation, set).await? {
            return Err(no_such_conversation());
        }
        self.tell(user, Event::ConversationChanged { conversation: conversation.clone() });
        Ok(())
    }

    /// Hides a conversation for a user until something new comes.
    pub async fn delete_conversation(&self, user: &UserId, conversation: &ConversationId) -> Result<()> {
        if !self.store.delete_for(user, conversation).await? {
            return Err(no_such_conversation());
        }
        let reason = RemovedReason::Deleted;
        self.tell(user, Event::ConversationRemoved { conversation: conversation.clone(), reason });
        Ok(())
    }

    /// Pushes an event to all connections of one user.
    pub(crate) fn tell(&self, user: &UserId, event: Event) {
        let users = vec![user.clone()].into();
        self.publish.transient(Recipients::Users { users, except: None }, &ServerFrame::Event(event), None);
    }
}

pub(super) fn not_a_member() -> WireError {
    WireError::new(ErrorCode::NotAMember, "you are not a member of this conversation")
}

pub(super) fn no_such_conversation() -> WireError {
    WireError::new(ErrorCode::NotFound, "there is no such conversation")
}

fn last_bytes(row: &Row) -> usize {
    match &row.state {
        RowState::Present { last: Some(last), .. } => last.content.as_str().len(),
        _ => 0,
    }
}

fn item(row: Row) -> ConversationItem {
    match row.state {
        RowState::Removed(reason) => {
            ConversationItem::Removed(Tombstone { conversation: row.conversation, removed: true, reason })
        }
        RowState::Present {
            title,
            head,
            rev,
            incarnation,
            read,
            unread,
            last,
            mentioned,
            pinned,
            do_not_disturb,
            draft,
        } => ConversationItem::Present(Box::new(ConversationView {
            conversation: row.conversation,
            title,
            head,
            rev,
            incarnation,
            read,
            unread,
            last,
            pinned,
            do_not_disturb,
            draft,
            mentioned,
            updated: row.updated,
        })),
    }
}
