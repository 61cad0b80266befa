//! What the server says in a group: structured, so that each reader's client words it in the reader's language.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::or_null;
use crate::content::Content;
use crate::ids::UserId;
use crate::limits::NOTIFICATION_USERS;

/// Which sentence a client makes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Template {
    GroupCreated,
    GroupInvited,
    GroupJoined,
    GroupLeft,
    GroupKicked,
    GroupDissolved,
    GroupRenamed,
    OwnerChanged,
    RoleChanged,
    MemberMuted,
    MemberUnmuted,
    GroupMuted,
    GroupUnmuted,
    Announcement,
}

/// The content of a message of kind `notification`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// Which sentence.
    pub template: Template,
    /// Who acted.
    pub actor: UserId,
    /// Whom it concerns: the first 20.
    #[serde(default, deserialize_with = "or_null")]
    pub users: Vec<UserId>,
    /// How many it concerns.
    #[serde(default, deserialize_with = "or_null")]
    pub count: usize,
    /// The new name, role or announcement, where the template has one; else empty.
    #[serde(default, deserialize_with = "or_null")]
    pub text: String,
}

impl Notification {
    /// A notification about `users`, of whom at most 20 are named.
    pub fn new(template: Template, actor: UserId, users: &[UserId], text: impl Into<String>) -> Self {
        Self {
            template,
            actor,
            users: users.iter().take(NOTIFICATION_USERS).cloned().collect(),
            count: users.len(),
            text: text.into(),
        }
    }

    /// The notification as a message's content.
    pub fn content(&self) -> Content {
        Content::of(self).expect("a notification is a JSON object")
    }
}
