//! Conversations as their members see them: lists, positions, preferences, who is in them.

use async_trait::async_trait;
use im_protocol::server::RemovedReason;
use im_protocol::{
    ConversationId, ConversationKind, DeviceId, Incarnation, Message, Rev, Seq, Terminal, TimeMs, UserId,
};

use super::{Result, SessionId, Stamp};

/// One stay of a member: seqs `[joined, left)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stint {
    /// The first seq the member sees.
    pub joined: Seq,
    /// The first seq the member does not see any more; `None` while a member.
    pub left: Option<Seq>,
}

impl Stint {
    /// Everything: a room for those inside, a direct conversation for the two.
    pub const ALWAYS: Self = Self { joined: 1, left: None };

    /// Whether the stint covers a seq.
    pub fn covers(&self, seq: Seq) -> bool {
        self.joined <= seq && self.left.is_none_or(|left| seq < left)
    }

    /// A user's stints where the conversation's id alone tells them: a room keeps none, and a direct conversation has the
    /// same before and after its first message. `None` for a group.
    pub(super) fn by_id(conversation: &ConversationId, user: &UserId) -> Option<Vec<Self>> {
        match conversation.kind() {
            ConversationKind::Room => Some(Vec::new()),
            ConversationKind::Direct => Some(conversation.peer(user).map(|_| Self::ALWAYS).into_iter().collect()),
            ConversationKind::Group => None,
        }
    }
}

/// What a user may see of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The conversation's head, whoever looks.
    pub head: Seq,
    /// Its rev.
    pub rev: Rev,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The user's stints, oldest first; empty for a stranger. A room's are for the caller to know.
    pub stints: Vec<Stint>,
    /// Present members.
    pub members: u32,
    /// The key of cached member lists.
    pub members_version: u64,
    /// The group is delivered to by interest.
    pub large: bool,
    /// The group was dissolved.
    pub dissolved: bool,
}

impl Access {
    /// A member now.
    pub fn is_member(&self) -> bool {
        self.stints.last().is_some_and(|stint| stint.left.is_none())
    }

    /// The highest seq the user may see; 0 if none.
    pub fn visible_head(&self) -> Seq {
        match self.stints.last() {
            None => 0,
            Some(Stint { left: None, .. }) => self.head,
            Some(Stint { left: Some(left), .. }) => self.head.min(left - 1),
        }
    }

    /// The stints, each with an end: what is committed after this look is not in it, for the user may have been removed
    /// before it.
    pub fn visible(&self) -> Vec<Stint> {
        let end = |stint: &Stint| Some(stint.left.unwrap_or(self.head + 1));
        self.stints.iter().map(|stint| Stint { joined: stint.joined, left: end(stint) }).collect()
    }
}

/// Who gets the messages of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    /// The version of this list.
    pub version: u64,
    /// Present members, and those whose stint ends after the asked seq; a user may stand here twice.
    pub members: Vec<(UserId, Stint)>,
}

impl MemberList {
    /// That of a direct conversation between two, who may be one and the same.
    pub(super) fn direct(version: u64, (a, b): (UserId, UserId)) -> Self {
        let other = (a != b).then_some(b);
        Self { version, members: std::iter::once(a).chain(other).map(|user| (user, Stint::ALWAYS)).collect() }
    }
}

/// How far a user has read, or got, a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPosition {
    /// Which.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Up to which seq.
    pub seq: Seq,
}

/// A member and how far they have read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Who.
    pub user: UserId,
    /// Up to which seq.
    pub read: Seq,
    /// Delivered up to which seq (direct conversations only; else 0).
    pub delivered: Seq,
}

/// My switches for a conversation; `None` leaves as it is. A draft of `Some("")` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Keep it on top.
    pub pinned: Option<bool>,
    /// No push.
    pub do_not_disturb: Option<bool>,
    /// What I began to write.
    pub draft: Option<String>,
}

/// A conversation in a user's list, as stored: without the reads that are still in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub conversation: ConversationId,
    /// The last commit that touched it for this user.
    pub stamp: Stamp,
    /// Its place in the list: Unix milliseconds of its last message, of the joining if there is none.
    pub updated: TimeMs,
    /// Present, or why not.
    pub state: RowState,
}

/// What a row of the list is.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // nearly every row is the large one
pub enum RowState {
    /// In the list.
    Present {
        /// The group's name, or the other person's remark, else name.
        title: String,
        /// The highest seq the user may see.
        head: Seq,
        /// The conversation's rev.
        rev: Rev,
        /// Its incarnation.
        incarnation: Incarnation,
        /// How far the user has read, by what is stored and by `reads`, whichever is further; not beyond `head`.
        read: Seq,
        /// Messages of others after `read` that count, as far as the user may see.
        unread: u64,
        /// The newest message the user may see.
        last: Option<Message>,
        /// Mentioned, by name or with all, in a message of another after `read`.
        mentioned: bool,
        /// Kept on top.
        pinned: bool,
        /// No push.
        do_not_disturb: bool,
        /// Began to write.
        draft: Option<String>,
    },
    /// Not in the list any more.
    Removed(RemovedReason),
}

/// Where a page of the list ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCursor {
    /// `updated` of its last row.
    pub updated: TimeMs,
    /// Its conversation.
    pub conversation: ConversationId,
}

/// A page of a user's list.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRows {
    /// Newest first (`updated`, then conversation, descending).
    pub rows: Vec<Row>,
    /// There are more after these.
    pub more: bool,
    /// Everything committed up to here was seen.
    pub stamp: Stamp,
}

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// The user.
    pub user: &'a UserId,
    /// By the right of this session.
    pub session: &'a SessionId,
    /// Device class.
    pub terminal: Terminal,
    /// Which device.
    pub device: &'a DeviceId,
}

/// What a gateway has to know of one who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The session is the user's and was not revoked.
    pub session_lives: bool,
    /// Another session of the user lives, for another device of the class.
    pub other_devices: bool,
    /// The large groups the user is in now, each with its `members_version` and the user's stint.
    pub large: Vec<(ConversationId, u64, Stint)>,
    /// As [`Conversations::stamp`] says.
    pub stamp: Stamp,
}

/// Conversations.
#[async_trait]
pub trait Conversations {
    /// Everything committed up to here can be seen: the stamp of the newest commit, where no other is under way.
    async fn stamp(&self) -> Result<Stamp>;

    /// A page of a user's list, newest first, after `cursor`. Without `since`: what is present. With `since`: what any
    /// commit after that stamp touched for this user, tombstones included. `reads` are positions not stored yet.
    async fn list(
        &self,
        user: &UserId,
        since: Option<Stamp>,
        cursor: Option<&ListCursor>,
        limit: u32,
        reads: &[(ConversationId, Seq)],
    ) -> Result<UserRows>;

    /// One row of a user's list, tombstones included; `None` if the user never had it.
    async fn row(&self, user: &UserId, conversation: &ConversationId, read: Option<Seq>) -> Result<Option<Row>>;

    /// What a user may see. `None`: no such conversation. A direct conversation of two accounts that exist is there even
    /// before its first message (head 0).
    async fn access(&self, user: &UserId, conversation: &ConversationId) -> Result<Option<Access>>;

    /// Present members, and those whose stint ends after `seq`. Both ends of a direct conversation, always.
    async fn member_list(&self, conversation: &ConversationId, seq: Seq) -> Result<Option<MemberList>>;

    /// What a gateway has to know when a user connects, in one statement: thousands come at once when a server is gone.
    async fn arrival(&self, arriving: Arriving<'_>, now: TimeMs) -> Result<Arrival>;

    /// Sets switches. False if the user does not have the conversation.
    async fn set_preferences(&self, user: &UserId, conversation: &ConversationId, set: Preferences) -> Result<bool>;

    /// Hides a conversation for a user until something new comes; what was there stays hidden and counts as read. False
    /// if the user does not have it.
    async fn delete_for(&self, user: &UserId, conversation: &ConversationId) -> Result<bool>;

    /// Stores read positions, never moving one back.
    async fn save_reads(&self, positions: &[ReadPosition]) -> Result<()>;

    /// Stores delivered positions of direct conversations, never moving one back.
    async fn save_delivered(&self, positions: &[ReadPosition]) -> Result<()>;

    /// Present members who have read up to at least `seq`, without `except`, by user id, those after `after`.
    async fn readers(
        &self,
        conversation: &ConversationId,
        seq: Seq,
        except: &UserId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<Reader>>;

    /// How many present members, without `except`, have read up to at least `seq`.
    async fn count_readers(&self, conversation: &ConversationId, seq: Seq, except: &UserId) -> Result<u64>;

    /// Positions of a user in a conversation.
    async fn position(&self, conversation: &ConversationId, user: &UserId) -> Result<Option<Reader>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_conversation_tells_the_stints_of_all_but_a_group() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let stints = |of: &str, name: &str| Stint::by_id(&ConversationId::parse(of).unwrap(), &user(name));
        assert_eq!(stints("g:tea", "alice"), None);
        assert_eq!(stints("r:hall", "alice"), Some(Vec::new()));
        assert_eq!(stints("d:alice:bob", "bob"), Some(vec![Stint::ALWAYS]));
        assert_eq!(stints("d:alice:bob", "eve"), Some(Vec::new()));
    }

    #[test]
    fn whoever_writes_to_oneself_is_one_member() {
        let members = |a: &str, b: &str| MemberList::direct(1, (UserId::parse(a).unwrap(), UserId::parse(b).unwrap()));
        assert_eq!(members("alice", "bob").members.len(), 2);
        assert_eq!(members("alice", "alice").members.len(), 1);
    }

    #[test]
    fn who_is_removed_after_a_look_sees_nothing_by_it_of_what_is_said_after() {
        let stints = vec![Stint { joined: 2, left: Some(5) }, Stint { joined: 7, left: None }];
        let access = Access {
            head: 9,
            rev: 0,
            incarnation: 1,
            stints,
            members: 2,
            members_version: 4,
            large: false,
            dissolved: false,
        };
        let visible = access.visible();
        let seen = |seq| visible.iter().any(|stint| stint.covers(seq));
        assert_eq!((1..=12).filter(|seq| seen(*seq)).collect::<Vec<_>>(), [2, 3, 4, 7, 8, 9]);
    }
}
