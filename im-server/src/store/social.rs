//! Friends, friend requests and blocks.

use async_trait::async_trait;
use im_protocol::{TimeMs, UserId};

use super::{Account, Result};

/// A friend of mine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Friend {
    /// Who.
    pub user: UserId,
    /// Shown name.
    pub name: String,
    /// What I call them; empty for nothing.
    pub remark: String,
}

/// A wish to be friends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FriendRequest {
    /// Its id (ULID: sorts by time).
    pub id: String,
    /// Who asks.
    pub from: UserId,
    /// Whom.
    pub to: UserId,
    /// What they say.
    pub message: String,
    /// When: Unix milliseconds.
    pub time: TimeMs,
}

/// What became of a friend request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// It is open. The same request twice is one: the open one is returned, with the newer message.
    Open(FriendRequest),
    /// They are friends already.
    AlreadyFriends,
    /// The other has blocked the asking one.
    Blocked,
}

/// What became of an answer to a friend request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Done. When accepted, both are friends, and open requests between them in either direction are closed.
    Done(FriendRequest),
    /// There is no open request of this id to this user.
    NotFound,
}

/// Friends, requests, blocks. Lists are by user id (requests: by id, newest first), those after the cursor.
#[async_trait]
pub trait Social {
    /// Asks.
    async fn request_friend(&self, request: FriendRequest) -> Result<Requested>;
    /// Open requests to a user, newest first, those before `before`.
    async fn friend_requests(&self, to: &UserId, before: Option<&str>, limit: u32) -> Result<Vec<FriendRequest>>;
    /// Accepts or rejects an open request to `to`.
    async fn answer_friend_request(&self, to: &UserId, id: &str, accept: bool, time: TimeMs) -> Result<Answered>;
    /// A user's friends.
    async fn friends(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Friend>>;
    /// Which of `others` are friends of `user`.
    async fn friends_among(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>>;
    /// Sets what a user calls a friend. False if they are not friends.
    async fn set_remark(&self, user: &UserId, friend: &UserId, remark: &str) -> Result<bool>;
    /// Ends a friendship, for both. False if there was none.
    async fn remove_friend(&self, user: &UserId, friend: &UserId) -> Result<bool>;
    /// Whom a user has blocked.
    async fn blocks(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>>;
    /// Blocks or unblocks. Doing it twice is fine.
    async fn set_block(&self, user: &UserId, other: &UserId, blocked: bool, time: TimeMs) -> Result<()>;
    /// Which of `others` have blocked `user`.
    async fn blocked_by(&self, user: &UserId, others: &[UserId]) -> Result<Vec<UserId>>;
}
