//! Groups and rooms: what they are, who is in them, and changes decided under the conversation's lock.

use async_trait::async_trait;
use im_protocol::notification::Notification;
use im_protocol::server::RemovedReason;
use im_protocol::{GroupId, RoomId, TimeMs, UserId, WireError};
use serde::{Deserialize, Serialize};

use super::{Committed, Result};

/// How one gets into a group without being invited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum JoinMode {
    /// By asking: at once.
    Open,
    /// By asking: the owner or an admin approves.
    Approval,
    /// Not at all.
    Invite,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    Member,
    Admin,
    Owner,
}

/// What can be set of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Shown name.
    pub name: String,
    /// Who owns it.
    pub owner: UserId,
    /// Pinned text; empty for none.
    pub announcement: String,
    /// How one gets in.
    pub join: JoinMode,
    /// Only the owner and admins may speak.
    pub muted: bool,
    /// It is over: history stays readable, nothing can be said.
    pub dissolved: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub group: GroupId,
    /// Its settings.
    pub settings: GroupSettings,
    /// How many members it has now.
    pub members: u32,
}

/// A present member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// Their name here; empty for none.
    pub alias: String,
    /// May not speak until then: Unix milliseconds; 0 for not muted.
    pub muted_until: TimeMs,
    /// When they came: Unix milliseconds.
    pub joined: TimeMs,
}

/// A member with the account's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberWithName {
    /// The member.
    pub member: Member,
    /// The account's name.
    pub name: String,
}

/// A group to make. Message 1 is the notification.
#[derive(Clone, Debug)]
pub struct NewGroup {
    /// Its id.
    pub group: GroupId,
    /// Its settings; the owner is its first member.
    pub settings: GroupSettings,
    /// The other first members: accounts that exist, without the owner, no one twice.
    pub members: Vec<UserId>,
    /// Message 1.
    pub notification: Notification,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// A room to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoom {
    /// Its id.
    pub room: RoomId,
    /// Shown name.
    pub name: String,
    /// Who made it.
    pub owner: UserId,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its id.
    pub room: RoomId,
    /// Shown name.
    pub name: String,
    /// Who made it.
    pub owner: UserId,
}

/// A wish to join a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Its id (ULID: sorts by time).
    pub id: String,
    /// Which group.
    pub group: GroupId,
    /// Who asks.
    pub user: UserId,
    /// What they say.
    pub message: String,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// A wish to join, to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJoinRequest {
    /// Its id.
    pub id: String,
    /// Who asks.
    pub user: UserId,
    /// What they say.
    pub message: String,
}

/// A change someone wants to make: what the store has to look up for the decision.
#[derive(Clone, Debug)]
pub struct GroupChange {
    /// Which group.
    pub group: GroupId,
    /// Who acts.
    pub actor: UserId,
    /// Whom it concerns besides.
    pub subjects: Vec<UserId>,
    /// The join request it answers.
    pub request: Option<String>,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// Someone a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As asked for.
    pub user: UserId,
    /// Has an account of exactly this spelling.
    pub exists: bool,
    /// The membership, if they are a member now.
    pub member: Option<Member>,
    /// How many conversations they have.
    pub conversations: u32,
}

/// What a decision about a group may look at; read under the conversation's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    /// The group.
    pub group: Group,
    /// The acting person's membership.
    pub actor: Option<Member>,
    /// The subjects, in the order asked.
    pub subjects: Vec<Subject>,
    /// The open join request that was asked for.
    pub request: Option<JoinRequest>,
}

/// What to write. All of it is one transaction; each notification takes a seq. Who is added joins at the first
/// notification's seq and sees it; who is removed left at it and does not; a group that is dissolved ends for every
/// member after the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupEffects {
    /// The settings as they shall be, if they change.
    pub settings: Option<GroupSettings>,
    /// New members.
    pub add: Vec<UserId>,
    /// Members who go, and what they are told.
    pub remove: Vec<(UserId, RemovedReason)>,
    /// New roles.
    pub roles: Vec<(UserId, Role)>,
    /// New `muted_until`.
    pub mutes: Vec<(UserId, TimeMs)>,
    /// New aliases.
    pub aliases: Vec<(UserId, String)>,
    /// A join request to store; one that the user has open already is replaced.
    pub request: Option<NewJoinRequest>,
    /// A join request to close.
    pub close_request: Option<String>,
    /// What is said in the group about it.
    pub notifications: Vec<Notification>,
}

/// A decision: effects, or the error to answer with. It may run more than once.
pub type Decide<'a> = &'a (dyn Fn(&GroupFacts) -> std::result::Result<GroupEffects, WireError> + Send + Sync);

/// What became of a change.
#[derive(Debug, PartialEq)]
pub enum GroupChanged {
    /// There is no such group.
    NotFound,
    /// The decision was no.
    Refused(WireError),
    /// Done: the facts as they were, and what was committed.
    Done(Box<GroupFacts>, Committed),
}

/// Groups and rooms.
#[async_trait]
pub trait Groups {
    /// Makes a group with its first members and message 1.
    async fn create_group(&self, group: NewGroup) -> Result<Committed>;
    /// A group, dissolved or not.
    async fn group(&self, group: &GroupId) -> Result<Option<Group>>;
    /// The groups a user is in now, by id, those after `after`.
    async fn groups_of(&self, user: &UserId, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>>;
    /// Groups, not dissolved, whose name contains `query` without regard to case or whose id is `query`; by id.
    async fn search_groups(&self, query: &str, after: Option<&GroupId>, limit: u32) -> Result<Vec<Group>>;
    /// Present members with their names, by user id, those after `after`.
    async fn members(&self, group: &GroupId, after: Option<&UserId>, limit: u32) -> Result<Vec<MemberWithName>>;
    /// One present member.
    async fn member(&self, group: &GroupId, user: &UserId) -> Result<Option<Member>>;
    /// Locks the group, reads the facts, decides, writes the effects in one transaction.
    async fn change_group(&self, change: GroupChange, decide: Decide<'_>) -> Result<GroupChanged>;
    /// Open join requests, newest first, those before `before`.
    async fn join_requests(&self, group: &GroupId, before: Option<&str>, limit: u32) -> Result<Vec<JoinRequest>>;
    /// An open join request.
    async fn join_request(&self, group: &GroupId, id: &str) -> Result<Option<JoinRequest>>;
    /// The owner and the admins of a group.
    async fn managers(&self, group: &GroupId) -> Result<Vec<UserId>>;
    /// Makes a room.
    async fn create_room(&self, room: NewRoom) -> Result<()>;
    /// A room.
    async fn room(&self, room: &RoomId) -> Result<Option<Room>>;
}
