//! The outbox: what was committed and is not known to be on the bus.

use async_trait::async_trait;
use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, TimeMs, UserId};
use serde::{Deserialize, Serialize};

use super::{Holder, NewWork, Result};

/// Id of an outbox row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub i64);

/// One thing to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxItem {
    /// A new message.
    Message(ConversationId, Seq),
    /// A message that changed.
    Changed(ConversationId, Seq),
    /// A conversation left these users' lists.
    Removed(ConversationId, Vec<UserId>, RemovedReason),
}

/// A batch that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its id.
    pub id: OutboxId,
    /// When it was committed: Unix milliseconds.
    pub time: TimeMs,
    /// What to publish, in order.
    pub items: Vec<OutboxItem>,
}

/// The outbox. Rows are written by the commits themselves, and belong to the process that is to publish them.
#[async_trait]
pub trait Outbox {
    /// Rows that are written from now on through this store, or a clone of it, belong to `holder`.
    fn write_as(&self, holder: Holder);

    /// Forgets rows whose every item the bus has acked, and stores the push work that is left of them, in one
    /// transaction.
    async fn forget(&self, ids: &[OutboxId], work: &[NewWork]) -> Result<()>;

    /// A holder's rows with an id above `after`, committed before `before`, oldest first.
    async fn waiting(&self, holder: Holder, after: OutboxId, before: TimeMs, limit: u32) -> Result<Vec<OutboxRow>>;

    /// Gives `holder` rows of processes whose lease is over or whose id was taken by another, oldest first. Two that
    /// ask at once never get the same row, and neither waits for the other.
    async fn take_over(&self, holder: Holder, limit: u32) -> Result<Vec<OutboxRow>>;
}
