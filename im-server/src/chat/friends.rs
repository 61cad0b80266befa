//! Friends: asking, answering, remarks, blocks.

use im_protocol::limits::NOTE_CHARS;
use im_protocol::server::Event;
use im_protocol::{ErrorCode, UserId, WireError, text};

use super::users::unknown_user;
use super::{Chat, Result, now_ms};
use crate::store::{Account, Answered, Friend, FriendRequest, Requested};

impl Chat {
    /// Asks someone to be friends. Asking again replaces the message.
    pub async fn request_friend(&self, from: &UserId, to: &UserId, message: &str) -> Result<FriendRequest> {
        note("message", message)?;
        let to = self.other(from, to).await?.user;
        let request = FriendRequest {
            id: ulid::Ulid::generate().to_string(),
            from: from.clone(),
            to: to.clone(),
            message: message.to_owned(),
            time: now_ms(),
        };
        match self.store.request_friend(request).await? {
            Requested::Open(open) => {
                let event = Event::FriendRequest {
                    id: open.id.clone(),
                    from: open.from.clone(),
                    message: open.message.clone(),
                    time: open.time,
                };
                self.tell(&to, event);
                Ok(open)
            }
            Requested::AlreadyFriends => {
                Err(WireError::new(ErrorCode::AlreadyExists, format!("{to} is your friend already")))
            }
            Requested::Blocked => Err(WireError::new(ErrorCode::Blocked, format!("{to} has blocked you"))),
        }
    }

    /// Open requests to a user, newest first, those before `before`.
    pub async fn friend_requests(&self, to: &UserId, before: Option<&str>, limit: u32) -> Result<Vec<FriendRequest>> {
        Ok(self.store.friend_requests(to, before, limit).await?)
    }

    /// Accepts or rejects a request to `to`.
    pub async fn answer_friend_request(&self, to: &UserId, id: &str, accept: bool) -> Result<()> {
        match self.store.answer_friend_request(to, id, accept, now_ms()).await? {
            Answered::Done(request) => {
                if accept {
                    self.tell(&request.from, Event::FriendAccepted { user: to.clone() });
                }
                Ok(())
            }
            Answered::NotFound => Err(WireError::new(ErrorCode::NotFound, "you have no such open request")),
        }
    }

    /// A user's friends, by id, those after `after`.
    pub async fn friends(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Friend>> {
        Ok(self.store.friends(user, after, limit).await?)
    }

    /// Sets what a user calls a friend; empty for nothing.
    pub async fn set_remark(&self, user: &UserId, friend: &UserId, remark: &str) -> Result<()> {
        note("remark", remark)?;
        let friend = self.profile(friend).await?.user;
        if self.store.set_remark(user, &friend, remark).await? { Ok(()) } else { Err(no_friend(&friend)) }
    }

    /// Ends a friendship, for both.
    pub async fn remove_friend(&self, user: &UserId, friend: &UserId) -> Result<()> {
        let friend = self.profile(friend).await?.user;
        if self.store.remove_friend(user, &friend).await? { Ok(()) } else { Err(no_friend(&friend)) }
    }

    /// Whom a user has blocked, by id, those after `after`.
    pub async fn blocks(&self, user: &UserId, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        Ok(self.store.blocks(user, after, limit).await?)
    }

    /// Blocks or unblocks someone.
    pub async fn set_block(&self, user: &UserId, other: &UserId, blocked: bool) -> Result<()> {
        let other = self.other(user, other).await?.user;
        Ok(self.store.set_block(user, &other, blocked, now_ms()).await?)
    }

    /// Someone else, spelled as registered.
    async fn other(&self, user: &UserId, other: &UserId) -> Result<Account> {
        let found = self.store.accounts(std::slice::from_ref(other)).await?.into_iter().flatten().next();
        let account = found.ok_or_else(|| WireError { field: Some("user".to_owned()), ..unknown_user(other) })?;
        if account.user == *user {
            return Err(WireError::invalid_field("user", "must be someone else"));
        }
        Ok(account)
    }
}

/// Checks a short text: a remark, a message that goes with a request, an alias.
pub(super) fn note(field: &str, text: &str) -> Result<()> {
    text::free_text(text, NOTE_CHARS).map_err(|problem| WireError::invalid_field(field, problem))
}

fn no_friend(user: &UserId) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("{user} is not your friend"))
}
