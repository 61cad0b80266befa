//! A stored message as clients see it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::or_null;
use crate::content::Content;
use crate::ids::{ClientMessageId, ConversationId, Incarnation, Rev, Seq, TimeMs, UserId};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Text,
    Image,
    File,
    Voice,
    Video,
    Location,
    Custom,
    /// Made by the server only: the membership and settings of a group changed.
    Notification,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Image,
        Self::File,
        Self::Voice,
        Self::Video,
        Self::Location,
        Self::Custom,
        Self::Notification,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::File => "file",
            Self::Voice => "voice",
            Self::Video => "video",
            Self::Location => "location",
            Self::Custom => "custom",
            Self::Notification => "notification",
        }
    }

    /// Whether a message of this kind counts as unread.
    pub fn badges(self) -> bool {
        self != Self::Notification
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of text, image, file, voice, video, location, custom, notification")]
pub struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// Where a forwarded message came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForwardedFrom {
    /// The conversation of the original.
    pub conversation: ConversationId,
    /// Its seq there.
    pub seq: Seq,
}

/// A stored message: the same bytes for every recipient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// Where it was said.
    pub conversation: ConversationId,
    /// Its number there, from 1 without holes.
    pub seq: Seq,
    /// The conversation's rev when the message was made or last changed.
    pub rev: Rev,
    /// The conversation's incarnation.
    pub incarnation: Incarnation,
    /// Who said it; of a notification, who acted.
    pub sender: UserId,
    /// The id its sender gave it; null for notifications.
    pub client_message_id: Option<ClientMessageId>,
    /// When it was committed: Unix milliseconds, never before an earlier message's.
    pub time: TimeMs,
    /// What it is.
    pub kind: Kind,
    /// What it says; `{}` once recalled.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub content: Content,
    /// Who is mentioned.
    #[serde(default, deserialize_with = "or_null")]
    pub mentions: Vec<UserId>,
    /// Whether everyone is mentioned.
    #[serde(default, deserialize_with = "or_null")]
    pub mention_all: bool,
    /// The seq it answers to.
    #[serde(default)]
    pub reply_to: Option<Seq>,
    /// Where it was forwarded from.
    #[serde(default)]
    pub forwarded_from: Option<ForwardedFrom>,
    /// Whether it was recalled.
    #[serde(default, deserialize_with = "or_null")]
    pub recalled: bool,
    /// When it was last edited: Unix milliseconds.
    #[serde(default)]
    pub edited: Option<TimeMs>,
    /// Who reacted, by emoji.
    #[serde(default, deserialize_with = "or_null")]
    pub reactions: BTreeMap<String, Vec<UserId>>,
}

/// The fields of a message that a repeated `client_message_id` must match.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Body {
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub content: Content,
    /// Who is mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    /// Whether everyone is mentioned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mention_all: bool,
    /// The seq it answers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
}
