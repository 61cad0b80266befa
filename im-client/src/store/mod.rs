//! What a device keeps: messages, how far it has each conversation, and what is on its way out.

mod memory;
mod sqlite;

use async_trait::async_trait;
use im_protocol::client::Target;
use im_protocol::message::Body;
use im_protocol::{ClientMessageId, ConversationId, Message, Seq};

use crate::cursor::Position;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// A message on its way out. It is the same until it is acked: a retry must repeat it.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsent {
    /// Where to.
    pub target: Target,
    /// The id that makes a retry harmless.
    pub client_message_id: ClientMessageId,
    /// What it says.
    pub body: Body,
}

/// A user id holds no colon, so the two forms cannot meet.
pub(crate) fn key(target: &Target) -> &str {
    match target {
        Target::Conversation(conversation) => conversation.as_str(),
        Target::User(user) => user.as_str(),
    }
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the local database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Its tables could not be brought up to date.
    #[error("the local database could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// What is stored is not what was put there.
    #[error("the local database holds something unreadable: {0}")]
    Unreadable(String),
}

/// What a device keeps of one user. Writes are durable when the future resolves, as far as the implementation goes.
#[async_trait]
pub trait LocalStore: Send + Sync + 'static {
    /// The token after which to ask for changes.
    async fn since(&self) -> Result<Option<String>, StoreError>;

    /// Keeps the token. Everything it stands for must have been applied before.
    async fn set_since(&self, since: &str) -> Result<(), StoreError>;

    /// Every conversation with its position.
    async fn positions(&self) -> Result<Vec<(ConversationId, Position)>, StoreError>;

    /// Stores new messages, replaces changed ones that are there in an older version, and moves the position: all of
    /// it or nothing.
    async fn apply(
        &self,
        conversation: &ConversationId,
        position: Position,
        messages: &[Message],
        changed: &[Message],
    ) -> Result<(), StoreError>;

    /// Forgets a conversation: its messages and its position.
    async fn forget(&self, conversation: &ConversationId) -> Result<(), StoreError>;

    /// The last `limit` messages before a seq, or of all; oldest first.
    async fn messages(
        &self,
        conversation: &ConversationId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError>;

    /// Appends to the queue of unsent messages.
    async fn put_unsent(&self, unsent: &Unsent) -> Result<(), StoreError>;

    /// The queue, in the order it was written.
    async fn unsent(&self) -> Result<Vec<Unsent>, StoreError>;

    /// Takes a message out of the queue. The id may be used in several conversations.
    async fn drop_unsent(&self, target: &Target, id: &ClientMessageId) -> Result<(), StoreError>;
}
