//! How far people have read, shared by all servers as soon as it is acknowledged, and before the database has it.
//!
//! A cache in front of the database, which has the last word: what is missing here is asked for there, and whoever reads
//! both takes the higher. It may vanish at any time.

mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use async_trait::async_trait;
use im_protocol::{ConversationId, Seq, UserId};

use crate::registry::RegistryError;

pub use memory::MemoryReadPositions;

/// A member has read a conversation up to a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Who; a present member.
    pub user: UserId,
    /// Up to which seq.
    pub seq: Seq,
}

/// Read positions of members.
#[async_trait]
pub trait ReadPositions: Send + Sync + 'static {
    /// Moves positions forward, many in one round trip. Never back: what is behind the known position changes nothing.
    /// Returns the positions known before, in the order of `reads`; `None` is one to ask the database for.
    async fn advance(&self, reads: &[Read]) -> Result<Vec<Option<Seq>>, RegistryError>;

    /// How far a user has read lately, in any conversation: whatever the database may not have yet is among it.
    async fn recent(&self, user: &UserId) -> Result<Vec<(ConversationId, Seq)>, RegistryError>;

    /// Who is known to have read a conversation up to at least `seq`, and how far: all whom the database may not know yet
    /// are among them. In no order; some may have left since.
    async fn readers(&self, conversation: &ConversationId, seq: Seq) -> Result<Vec<(UserId, Seq)>, RegistryError>;

    /// How many members without `except` have read up to at least `seq`. `None`: nobody has [filled](Self::fill) it in
    /// under this `version` of the membership, or it has been lost since.
    async fn count(
        &self,
        conversation: &ConversationId,
        version: u64,
        seq: Seq,
        except: &UserId,
    ) -> Result<Option<u64>, RegistryError>;

    /// Takes in everyone's position from the database, as of a version of the membership: `positions` are all present
    /// members. From now on it is complete. Whoever is known to be further stays further; whoever is not among them is
    /// forgotten.
    async fn fill(
        &self,
        conversation: &ConversationId,
        version: u64,
        positions: &[(UserId, Seq)],
    ) -> Result<(), RegistryError>;
}
