//! The bodies of client frames, checked and typed.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::ids::{ClientMessageId, ConversationId, DeviceId, Rev, Seq, Terminal, UserId};
use crate::limits::LIST_DEFAULT;
use crate::message::Body;

/// The first frame: who I am.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
pub struct Hello {
    /// Version of the protocol; 1 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// Access token.
    pub token: String,
    /// Device class.
    pub terminal: Terminal,
    /// Which device.
    pub device: DeviceId,
    /// A `since` token: `welcome` then tells what changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").field("terminal", &self.terminal).field("device", &self.device).finish_non_exhaustive()
    }
}

/// A fresh access token of the same user.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
pub struct Auth {
    /// Access token.
    pub token: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Target {
    /// A conversation.
    #[serde(rename = "conversation")]
    Conversation(ConversationId),
    /// The direct conversation with this user.
    #[serde(rename = "to")]
    User(UserId),
}

/// A message to commit.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Send {
    /// Where to.
    #[serde(flatten)]
    pub target: Target,
    /// The sender's id for it: random, unique per conversation and sender. A retry repeats it.
    pub client_message_id: ClientMessageId,
    /// What a retry must match.
    #[serde(flatten)]
    pub body: Body,
}

/// A position in a conversation: `delivered` and `read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mark {
    /// The conversation.
    pub conversation: ConversationId,
    /// Everything up to this seq.
    pub seq: Seq,
}

/// What to bring up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// One item, or up to 50.
    pub items: Vec<SyncItem>,
    /// Whether the frame had `items`: then each answer but the last is without `last`.
    pub many: bool,
    /// Messages at most, per item.
    pub limit: u32,
}

/// A conversation and how far the client has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SyncItem {
    /// The conversation.
    pub conversation: ConversationId,
    /// The highest seq the client has without a hole.
    pub after: Seq,
    /// The highest rev the client has applied.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rev: Rev,
}

/// The two forms of `sync` on the wire.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum SyncForm<'a> {
    /// One conversation.
    One {
        #[serde(flatten)]
        item: &'a SyncItem,
        /// Messages at most: 50 if absent, 200 if more is asked for.
        #[serde(skip_serializing_if = "is_list_default")]
        #[schemars(default = "list_default")]
        limit: u32,
    },
    /// Several conversations.
    Many {
        /// 1 to 50 of them: one answer each, the last with `last`.
        items: &'a [SyncItem],
        /// Messages at most, per item: 50 if absent, 200 if more is asked for.
        #[serde(skip_serializing_if = "is_list_default")]
        #[schemars(default = "list_default")]
        limit: u32,
    },
}

impl Serialize for Sync {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let limit = self.limit;
        match self.items.as_slice() {
            [item] if !self.many => SyncForm::One { item, limit },
            items => SyncForm::Many { items, limit },
        }
        .serialize(serializer)
    }
}

impl JsonSchema for Sync {
    fn schema_name() -> Cow<'static, str> {
        "Sync".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        SyncForm::json_schema(generator)
    }
}

/// A page of older messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct History {
    /// The conversation.
    pub conversation: ConversationId,
    /// Messages before this seq; the newest if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    /// Messages at most: 50 if absent, 200 if more is asked for.
    #[serde(skip_serializing_if = "is_list_default")]
    #[schemars(default = "list_default")]
    pub limit: u32,
}

/// A page of the list of conversations, or of what changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ConversationsRequest")]
pub struct Conversations {
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Only what changed after this token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Items at most: 50 if absent, 200 if more is asked for.
    #[serde(skip_serializing_if = "is_list_default")]
    #[schemars(default = "list_default")]
    pub limit: u32,
}

/// A room to enter or leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Room {
    /// The room's conversation.
    pub conversation: ConversationId,
}

/// I am typing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "TypingRequest")]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
}

/// Whose presence to watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "PresenceRequest")]
pub struct Presence {
    /// Watch these, and answer with how they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<UserId>,
    /// Do not watch these any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribe: Vec<UserId>,
}

// Serde calls these two with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(rev: &Rev) -> bool {
    *rev == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_list_default(limit: &u32) -> bool {
    *limit == LIST_DEFAULT
}

fn list_default() -> u32 {
    LIST_DEFAULT
}
