//! Messages: stored once each, numbered without holes, committed in batches.

use std::sync::Arc;

use async_trait::async_trait;
use im_protocol::message::Body;
use im_protocol::server::RemovedReason;
use im_protocol::{ClientMessageId, ConversationId, Message, Rev, Seq, TimeMs, UserId, WireError};

use super::groups::Role;
use super::{OutboxId, Result, Stint};

/// A message to commit.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where.
    pub conversation: ConversationId,
    /// Who. An account that exists.
    pub sender: UserId,
    /// The sender's id for it.
    pub client_message_id: ClientMessageId,
    /// What.
    pub body: Body,
    /// A direct conversation is for friends only.
    pub friends_only: bool,
    /// Conversations one user may have; 0 for no limit.
    pub max_conversations: u32,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is stored.
    Committed(Box<CommittedMessage>),
    /// It was stored before, as this seq at this time.
    Duplicate {
        /// Its seq.
        seq: Seq,
        /// When it was committed: Unix milliseconds.
        time: TimeMs,
    },
    /// Its id stands for a message with another body.
    Reused,
    /// A fact stands against it.
    Refused(Refusal),
    /// The database cannot take it, though nothing stands against it: a fault of ours, and of this message alone.
    Unstorable,
}

/// The fact that stands against a message. Looked at in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such group, room or person.
    NotFound,
    /// The group was dissolved.
    Dissolved,
    /// The sender is not a member (group), or not one of the two (direct).
    NotAMember,
    /// The sender may not speak until then: Unix milliseconds.
    Muted(TimeMs),
    /// Nobody but the owner and admins may speak.
    GroupMuted,
    /// The other person has blocked the sender.
    Blocked,
    /// The two are not friends, and must be.
    NotFriends,
    /// `reply_to` is beyond the conversation's head, or before what the sender may see.
    UnknownReply,
    /// The sender, or the other person, has too many conversations for a new one.
    TooManyConversations,
}

/// A message with what delivery has to know of its conversation at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedMessage {
    /// As stored.
    pub message: Message,
    /// Raised by every change of the membership: the key of cached member lists.
    pub members_version: u64,
    /// Whether the group is delivered to by interest rather than by a list of recipients.
    pub large: bool,
    /// Who comes and goes with this message.
    pub changes: Vec<MemberChange>,
}

/// A member comes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// The group's conversation.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// The first seq the member sees.
    pub joined: Seq,
    /// The first seq the member does not see any more.
    pub left: Option<Seq>,
}

/// What a transaction committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// The outbox row that remembers it until the bus has it; `None` if there is nothing to tell.
    pub outbox: Option<OutboxId>,
    /// New messages, in order.
    pub messages: Vec<CommittedMessage>,
    /// Messages that changed, as they are now.
    pub changed: Vec<CommittedMessage>,
    /// Whose list lost a conversation.
    pub removed: Vec<Removal>,
    /// The messages that are being followed, by their place, each with the W3C `traceparent` of its send.
    pub traces: Vec<(usize, Arc<str>)>,
}

/// A conversation that left someone's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Which.
    pub conversation: ConversationId,
    /// Whose list.
    pub users: Vec<UserId>,
    /// Why.
    pub reason: RemovedReason,
}

/// Which messages to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Those after a seq, oldest first.
    After(Seq),
    /// The last ones before a seq, oldest first.
    Before(Seq),
    /// The last ones, oldest first.
    Newest,
}

/// A stretch of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Oldest first; only what the stints cover.
    pub messages: Vec<Message>,
    /// There is more, that the stints cover, in the asked direction.
    pub more: bool,
}

/// What a decision about a recall may look at.
#[derive(Clone, Debug, PartialEq)]
pub struct RecallFacts {
    /// The message as it is.
    pub message: Message,
    /// The acting person's role, if a present member of the group.
    pub role: Option<Role>,
    /// The acting person's stints.
    pub stints: Vec<Stint>,
    /// The group was dissolved.
    pub dissolved: bool,
}

/// May it be recalled?
pub type DecideRecall<'a> = &'a (dyn Fn(&RecallFacts) -> std::result::Result<(), WireError> + Send + Sync);

/// What became of a recall.
#[derive(Debug, PartialEq)]
pub enum Recalled {
    /// No such message.
    NotFound,
    /// It was recalled before: nothing changed.
    Already,
    /// The decision was no.
    Refused(WireError),
    /// Done.
    Done(Committed),
}

/// Messages.
#[async_trait]
pub trait Messages {
    /// Commits a batch in one transaction, in order, with one outbox row; a bad item fails alone. Known ids are looked
    /// up before any fact, so that a retry gets its first answer whatever the rules say now; the same id twice in one
    /// batch is a duplicate too. Rooms: that the sender is inside is the caller's to know.
    async fn commit(&self, batch: Vec<NewMessage>, now: TimeMs) -> Result<(Option<OutboxId>, Vec<Outcome>)>;

    /// What is known of an id: `Duplicate`, `Reused` or nothing.
    async fn known(
        &self,
        conversation: &ConversationId,
        sender: &UserId,
        id: &ClientMessageId,
        body: &Body,
    ) -> Result<Option<Outcome>>;

    /// Messages within the stints; ends before `max_bytes` of content with at least one.
    async fn page(
        &self,
        conversation: &ConversationId,
        stints: &[Stint],
        slice: Slice,
        limit: u32,
        max_bytes: usize,
    ) -> Result<Page>;

    /// Messages within the stints with seq ≤ `after` that changed after `rev`, oldest change first, with the rev of
    /// each one's change; and whether there are more.
    async fn changed(
        &self,
        conversation: &ConversationId,
        stints: &[Stint],
        after: Seq,
        rev: Rev,
        limit: u32,
    ) -> Result<(Vec<Message>, bool)>;

    /// Messages by seq, as they are now, with what delivery has to know: what the relay publishes for an outbox row
    /// that memory does not hold any more.
    async fn committed(&self, items: &[(ConversationId, Seq)]) -> Result<Vec<CommittedMessage>>;

    /// Takes a message's content away, if `decide` allows it. Keeps its seq, raises the conversation's rev.
    async fn recall(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        actor: &UserId,
        now: TimeMs,
        decide: DecideRecall<'_>,
    ) -> Result<Recalled>;
}
