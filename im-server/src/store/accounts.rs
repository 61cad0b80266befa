//! Accounts: who there is.

use async_trait::async_trait;
use im_protocol::{TimeMs, UserId};

use super::Result;

/// An account as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Spelled as registered.
    pub user: UserId,
    /// Shown name.
    pub name: String,
    /// Address of a picture; empty for none.
    pub avatar: String,
}

/// An account to make.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The id, unique without regard to case.
    pub user: UserId,
    /// Shown name.
    pub name: String,
    /// PHC string of the password.
    pub password_hash: String,
    /// When: Unix milliseconds.
    pub created: TimeMs,
}

/// What to change of a profile; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Shown name.
    pub name: Option<String>,
    /// Address of a picture.
    pub avatar: Option<String>,
}

/// Accounts.
#[async_trait]
pub trait Accounts {
    /// Makes an account. False if the id is taken, in whatever case.
    async fn create_account(&self, account: NewAccount) -> Result<bool>;

    /// The accounts of these ids, found without regard to case, spelled as registered, in the order asked; `None` where
    /// there is none.
    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>>;

    /// The id as registered and the PHC string of its password. Found without regard to case.
    async fn credentials(&self, user: &UserId) -> Result<Option<(UserId, String)>>;

    /// Changes a profile and returns it as it is then.
    async fn update_profile(&self, user: &UserId, change: ProfileChange) -> Result<Option<Account>>;

    /// Accounts whose id begins with `query` or whose name contains it, without regard to case, by id; those after
    /// `after`.
    async fn search_accounts(&self, query: &str, after: Option<&UserId>, limit: u32) -> Result<Vec<Account>>;

    /// Notes when users were last seen. A time before the stored one changes nothing.
    async fn save_last_seen(&self, seen: &[(UserId, TimeMs)]) -> Result<()>;

    /// When users were last seen, in their order.
    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<TimeMs>>>;
}
