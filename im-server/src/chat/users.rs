//! Users: finding people, and what they show of themselves.

use im_protocol::limits::NOTE_CHARS;
use im_protocol::text::{self, Controls};
use im_protocol::{ErrorCode, UserId, WireError};

use super::accounts::shown_name;
use super::{Chat, Result};
use crate::store::{Account, ProfileChange};

/// Characters of a picture's address.
const AVATAR_CHARS: usize = 2_000;

impl Chat {
    /// People whose id begins with `query` or whose name contains it, by id; an empty query finds everyone.
    pub async fn search_users(&self, query: &str, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>> {
        let query = search_query(query)?;
        Ok(self.store.search_accounts(query, after, limit).await?)
    }

    /// What a user shows. Found without regard to case.
    pub async fn profile(&self, user: &UserId) -> Result<Account> {
        let found = self.store.accounts(std::slice::from_ref(user)).await?;
        found.into_iter().flatten().next().ok_or_else(|| unknown_user(user))
    }

    /// Changes what a user shows, and returns it as it is then.
    pub async fn change_profile(&self, user: &UserId, mut change: ProfileChange) -> Result<Account> {
        change.name = change.name.as_deref().map(shown_name).transpose()?;
        if let Some(avatar) = &change.avatar {
            check_avatar(avatar)?;
        }
        self.store.update_profile(user, change).await?.ok_or_else(|| unknown_user(user))
    }
}

/// A search query without surrounding white space.
pub(super) fn search_query(query: &str) -> Result<&str> {
    let query = query.trim();
    if query.is_empty() {
        return Ok(query);
    }
    text::name(query, NOTE_CHARS).map_err(|problem| WireError::invalid_field("query", problem))
}

pub(super) fn unknown_user(user: &UserId) -> WireError {
    WireError::new(ErrorCode::NotFound, format!("there is no user {user}"))
}

fn check_avatar(avatar: &str) -> Result<()> {
    let wrong = |problem: String| Err(WireError::invalid_field("avatar", problem));
    if avatar.chars().count() > AVATAR_CHARS {
        return wrong(format!("has more than {AVATAR_CHARS} characters"));
    }
    match text::forbidden_character(avatar, Controls::Refused) {
        Some(c) => wrong(format!("control character U+{:04X} is not allowed", u32::from(c))),
        None => Ok(()),
    }
}
