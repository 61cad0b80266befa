//! A store that forgets when the process ends.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use im_protocol::client::Target;
use im_protocol::{ClientMessageId, ConversationId, Message, Seq};
use parking_lot::Mutex;

use super::{LocalStore, StoreError, Unsent};
use crate::changes::supersedes;
use crate::cursor::Position;

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    since: Option<String>,
    conversations: HashMap<ConversationId, (Position, BTreeMap<Seq, Message>)>,
    unsent: Vec<Unsent>,
}

#[async_trait]
impl LocalStore for MemoryStore {
    async fn since(&self) -> Result<Option<String>, StoreError> {
        Ok(self.0.lock().since.clone())
    }

    async fn set_since(&self, since: &str) -> Result<(), StoreError> {
        self.0.lock().since = Some(since.to_owned());
        Ok(())
    }

    async fn positions(&self) -> Result<Vec<(ConversationId, Position)>, StoreError> {
        Ok(self.0.lock().conversations.iter().map(|(id, (position, _))| (id.clone(), *position)).collect())
    }

    async fn apply(
        &self,
        conversation: &ConversationId,
        position: Position,
        messages: &[Message],
        changed: &[Message],
    ) -> Result<(), StoreError> {
        let mut kept = self.0.lock();
        let (at, stored) = kept.conversations.entry(conversation.clone()).or_default();
        *at = position;
        for message in messages {
            match stored.get(&message.seq) {
                Some(old) if !supersedes(old, message) => {}
                _ => drop(stored.insert(message.seq, message.clone())),
            }
        }
        for message in changed {
            if let Some(old) = stored.get_mut(&message.seq)
                && supersedes(old, message)
            {
                *old = message.clone();
            }
        }
        Ok(())
    }

    async fn forget(&self, conversation: &ConversationId) -> Result<(), StoreError> {
        self.0.lock().conversations.remove(conversation);
        Ok(())
    }

    async fn messages(
        &self,
        conversation: &ConversationId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let kept = self.0.lock();
        let Some((_, stored)) = kept.conversations.get(conversation) else { return Ok(Vec::new()) };
        let older = stored.range(..before.unwrap_or(Seq::MAX));
        let mut newest: Vec<Message> = older.rev().take(limit as usize).map(|(_, message)| message.clone()).collect();
        newest.reverse();
        Ok(newest)
    }

    async fn put_unsent(&self, unsent: &Unsent) -> Result<(), StoreError> {
        self.0.lock().unsent.push(unsent.clone());
        Ok(())
    }

    async fn unsent(&self) -> Result<Vec<Unsent>, StoreError> {
        Ok(self.0.lock().unsent.clone())
    }

    async fn drop_unsent(&self, target: &Target, id: &ClientMessageId) -> Result<(), StoreError> {
        self.0.lock().unsent.retain(|unsent| unsent.client_message_id != *id || unsent.target != *target);
        Ok(())
    }
}
