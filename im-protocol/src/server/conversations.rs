//! The list of conversations, whole or what changed of it.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::absent::or_null;
use crate::ids::{ConversationId, FrameId, Incarnation, Rev, Seq, TimeMs};
use crate::message::Message;

/// What changed in the list of conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The conversations that changed, newest first.
    pub items: Vec<ConversationItem>,
    /// Ask `conversations` with this cursor for the rest.
    #[serde(default)]
    pub next: Option<String>,
    /// The token was unknown or too old: forget the list and start over.
    #[serde(default, deserialize_with = "or_null")]
    pub reset: bool,
}

/// A page of conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Conversations {
    /// The `id` of the request; absent over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Newest first.
    pub items: Vec<ConversationItem>,
    /// Ask with this cursor for the next page.
    #[serde(default)]
    pub next: Option<String>,
    /// Ask for what changed after this; the one of the last page counts.
    pub since: String,
    /// The asked token was unknown or too old: forget the list and start over.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// One item of the list: a conversation, or the tombstone of one.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum ConversationItem {
    Present(Box<ConversationView>),
    Removed(Tombstone),
}

impl ConversationItem {
    /// Which conversation.
    pub fn conversation(&self) -> &ConversationId {
        match self {
            Self::Present(view) => &view.conversation,
            Self::Removed(tombstone) => &tombstone.conversation,
        }
    }
}

impl<'de> Deserialize<'de> for ConversationItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Mark {
            #[serde(default, deserialize_with = "or_null")]
            removed: Option<bool>,
        }
        // Two looks at the text: serde's own untagged form copies it into a tree, which a raw content cannot be read from.
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        let mark: Mark = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        match mark.removed {
            Some(true) => serde_json::from_str(raw.get()).map(Self::Removed),
            _ => serde_json::from_str(raw.get()).map(Self::Present),
        }
        .map_err(D::Error::custom)
    }
}

/// A conversation as one user sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConversationView {
    /// Which.
    pub conversation: ConversationId,
    /// The group's name, or the other person's remark or name.
    pub title: String,
    /// The highest seq I may see.
    pub head: Seq,
    /// Its rev.
    pub rev: Rev,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// How far I have read.
    pub read: Seq,
    /// How many messages of others, after `read`, count.
    pub unread: u64,
    /// The newest message I may see.
    pub last: Option<Message>,
    /// I pinned it.
    pub pinned: bool,
    /// I want no push for it.
    pub do_not_disturb: bool,
    /// What I began to write.
    pub draft: Option<String>,
    /// I am mentioned in what is unread.
    pub mentioned: bool,
    /// When it last had something new, or I changed it: Unix milliseconds.
    pub updated: TimeMs,
}

/// A conversation that is no more in my list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tombstone {
    /// Which.
    pub conversation: ConversationId,
    /// Always true.
    pub removed: bool,
    /// Why.
    pub reason: RemovedReason,
}

/// Why a conversation left my list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RemovedReason {
    /// I left the group.
    Left,
    /// I was kicked.
    Kicked,
    /// The group was dissolved.
    Dissolved,
    /// I deleted it for me; it comes back with the next message.
    Deleted,
}
