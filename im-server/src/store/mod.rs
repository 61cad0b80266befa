//! The truth: everything that must survive, behind one trait with one contract suite for every implementation.
//!
//! The store keeps facts and evaluates a short fixed list of them inside its transactions; it knows no rules. A change
//! that needs a decision under a lock (a group's, a recall's) is handed the decision as a pure function of the facts.
//!
//! Every committed write takes a [`Stamp`]; a reader that keeps the stamp of its last look finds what came after.

mod accounts;
mod change;
mod conversations;
mod groups;
mod large;
mod messages;
mod moves;
mod outbox;
mod paging;
pub mod postgres;
mod push;
mod recall;
mod rotation;
mod servers;
mod sessions;
mod social;
pub mod sqlite;
mod tail;
mod values;

pub use accounts::{Account, Accounts, NewAccount, ProfileChange};
pub use conversations::{
    Access, Arrival, Arriving, Conversations, ListCursor, MemberList, Preferences, ReadPosition, Reader, Row, RowState,
    Stint, UserRows,
};
pub use groups::{
    Decide, Group, GroupChange, GroupChanged, GroupEffects, GroupFacts, GroupSettings, Groups, JoinMode, JoinRequest,
    Member, MemberWithName, NewGroup, NewJoinRequest, NewRoom, Role, Room, Subject,
};
pub use large::LargeGroups;
pub use messages::{
    Committed, CommittedMessage, DecideRecall, MemberChange, Messages, NewMessage, Outcome, Page, RecallFacts,
    Recalled, Refusal, Removal, Slice,
};
pub use outbox::{Outbox, OutboxId, OutboxItem, OutboxRow};
pub use push::{
    Asked, Candidate, DeadLetter, Job, JobKey, JobOutcome, NewWork, Notice, PushItem, PushTotals, Pushes, Rest,
    Settled, Work,
};
pub use servers::{Holder, Renewal, Report, ServerRow, Servers};
pub use sessions::{NewSession, Rotation, Session, SessionId, Sessions};
pub use social::{Answered, Friend, FriendRequest, Requested, Social};

/// When a write was committed, as a position in an order of commits that moves on with the wall clock, so that a restored
/// database goes on above all it gave before. As a token of a reader: everything committed up to here was seen. Whoever asks
/// for what came after misses nothing, and may be told a row twice while others are committing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub i64);

/// All of it. `Arc<dyn Store>` is what the rest of the server holds.
pub trait Store:
    Accounts + Sessions + Social + Groups + Messages + Conversations + Outbox + Pushes + Servers + Send + Sync + 'static
{
}

impl<T> Store for T where
    T: Accounts
        + Sessions
        + Social
        + Groups
        + Messages
        + Conversations
        + Outbox
        + Pushes
        + Servers
        + Send
        + Sync
        + 'static
{
}

/// Why the store did not answer. What was asked may be tried again; nothing was half done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is busy for too long, or its disk is full.
    #[error("the database is out of reach: {0}")]
    Unavailable(String),
    /// A fault of ours: a statement that does not fit the schema, a value that cannot be read back.
    #[error("the database gave a wrong answer: {0}")]
    Broken(String),
}

/// What a store's method returns.
pub type Result<T> = std::result::Result<T, StoreError>;
