//! Frames from the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::{Envelope, parse_json};
use crate::error::WireError;
use crate::ids::{
    ClientMessageId, ConnectionId, ConversationId, DeviceId, Epoch, FrameId, Incarnation, Rev, Seq, ServerId, Terminal,
    TimeMs, UserId,
};
use crate::limits::Limits;
use crate::message::Message;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ServerFrame {
    Welcome(Box<Welcome>),
    Sent(Sent),
    Message(Box<Message>),
    Messages(Messages),
    Conversations(Conversations),
    Receipt(Receipt),
    Typing(Typing),
    Presence(Presence),
    Event(Event),
    Resync(Resync),
    #[serde(rename = "goaway")]
    GoAway(GoAway),
    Kicked(Kicked),
    Ok(Answer),
    Pong(Pong),
    Error(WireError),
}

impl ServerFrame {
    /// Decodes a frame. `Ok(None)` for a type this version does not know: clients ignore those.
    pub fn decode(text: &str) -> Result<Option<Self>, WireError> {
        let envelope = Envelope::parse(text)?;
        Ok(Some(match envelope.kind.as_str() {
            "message" => Self::Message(parse_json(text)?),
            "sent" => Self::Sent(parse_json(text)?),
            "welcome" => Self::Welcome(parse_json(text)?),
            "messages" => Self::Messages(parse_json(text)?),
            "conversations" => Self::Conversations(parse_json(text)?),
            "receipt" => Self::Receipt(parse_json(text)?),
            "typing" => Self::Typing(parse_json(text)?),
            "presence" => Self::Presence(parse_json(text)?),
            "event" => match Event::decode(text)? {
                Some(event) => Self::Event(event),
                None => return Ok(None),
            },
            "resync" => Self::Resync(parse_json(text)?),
            "goaway" => Self::GoAway(parse_json(text)?),
            "kicked" => Self::Kicked(parse_json(text)?),
            "ok" => Self::Ok(parse_json(text)?),
            "pong" => Self::Pong(parse_json(text)?),
            "error" => Self::Error(parse_json(text)?),
            _ => return Ok(None),
        }))
    }

    /// The `id` of the request this frame answers; pushed frames have none.
    pub fn id(&self) -> Option<&FrameId> {
        match self {
            Self::Welcome(frame) => frame.id.as_ref(),
            Self::Sent(frame) => frame.id.as_ref(),
            Self::Messages(frame) => frame.id.as_ref(),
            Self::Conversations(frame) => frame.id.as_ref(),
            Self::Presence(frame) => frame.id.as_ref(),
            Self::Ok(frame) => frame.id.as_ref(),
            Self::Pong(frame) => frame.id.as_ref(),
            Self::Error(frame) => frame.id.as_ref(),
            Self::Message(_)
            | Self::Receipt(_)
            | Self::Typing(_)
            | Self::Event(_)
            | Self::Resync(_)
            | Self::GoAway(_)
            | Self::Kicked(_) => None,
        }
    }
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The `id` of the `hello`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Version of the protocol.
    pub protocol: u32,
    /// Who you are, spelled as registered.
    pub user: UserId,
    /// Your device class.
    pub terminal: Terminal,
    /// Your device.
    pub device: DeviceId,
    /// This connection.
    pub connection: ConnectionId,
    /// The server that holds it.
    pub server: ServerId,
    /// That server's epoch.
    pub epoch: Epoch,
    /// Now: Unix milliseconds.
    pub time: TimeMs,
    /// When the access token expires: Unix milliseconds. Send a fresh one by `auth` before.
    pub token_expires: TimeMs,
    /// Make yourself heard at least this often, in milliseconds.
    pub heartbeat_ms: u64,
    /// The server's limits.
    pub limits: Limits,
    /// Ask for what changed after this.
    pub since: String,
    /// What changed since the token in `hello`; null without one.
    pub changes: Option<Changes>,
}

/// What changed in the list of conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// The conversations that changed, newest first.
    pub items: Vec<ConversationItem>,
    /// Ask `conversations` with this cursor for the rest.
    #[serde(default)]
    pub next: Option<String>,
    /// The token was unknown or too old: forget the list and start over.
    #[serde(default)]
    pub reset: bool,
}

/// The message is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sent {
    /// The `id` of the `send`; absent over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Where it went.
    pub conversation: ConversationId,
    /// Its number there.
    pub seq: Seq,
    /// The id you gave it.
    pub client_message_id: ClientMessageId,
    /// When it was committed: Unix milliseconds.
    pub time: TimeMs,
    /// True if it had been committed before: this is its first ack again.
    pub duplicate: bool,
}

/// A stretch of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Messages {
    /// The `id` of the request; absent over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Its head, as far as you may see.
    pub head: Seq,
    /// Its rev; when `changed` was cut, where to go on.
    pub rev: Rev,
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Messages with seq ≤ `after` that changed after the asked rev, oldest change first.
    #[serde(default)]
    pub changed: Vec<Message>,
    /// Seqs `[from, to]` in the range that you will never get.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<u64>>))]
    pub gaps: Vec<(Seq, Seq)>,
    /// Whether there is more in the asked direction.
    pub more: bool,
    /// True on the last answer to a `sync` with `items`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// One item of the list: a conversation, or the tombstone of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// How far someone has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Delivered to one of their devices up to this seq; 0 if unknown.
    pub delivered: Seq,
    /// Read up to this seq.
    pub read: Seq,
}

/// Someone is typing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
}

/// How people are: the answer to `presence`, or pushed when one comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// The `id` of the request; absent when pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// One each.
    pub users: Vec<UserPresence>,
}

/// How one person is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserPresence {
    /// Who.
    pub user: UserId,
    /// Has a connection.
    pub online: bool,
    /// On which device classes.
    pub terminals: Vec<Terminal>,
    /// When last seen: Unix milliseconds; null if never, or not known.
    pub last_seen: Option<TimeMs>,
}

/// A hint that something changed; the lists are the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A message was recalled.
    MessageChanged {
        /// Where.
        conversation: ConversationId,
        /// Which.
        seq: Seq,
        /// The conversation's rev with this change.
        rev: Rev,
        /// The message as it is now.
        message: Box<Message>,
    },
    /// I read on another of my connections.
    ReadElsewhere {
        /// Where.
        conversation: ConversationId,
        /// Up to which seq.
        seq: Seq,
    },
    /// How many members have read a message of mine, in a group too large for receipts.
    ReadCount {
        /// Where.
        conversation: ConversationId,
        /// Which message.
        seq: Seq,
        /// How many.
        count: u64,
    },
    /// Someone wants to be my friend.
    FriendRequest {
        /// The request.
        id: String,
        /// Who asks.
        from: UserId,
        /// What they say.
        message: String,
        /// When: Unix milliseconds.
        time: TimeMs,
    },
    /// Someone accepted my request.
    FriendAccepted {
        /// Who.
        user: UserId,
    },
    /// A conversation, or my settings of it, changed: ask for it.
    ConversationChanged {
        /// Which.
        conversation: ConversationId,
    },
    /// A conversation left my list.
    ConversationRemoved {
        /// Which.
        conversation: ConversationId,
        /// Why.
        reason: RemovedReason,
    },
}

impl Event {
    const NAMES: [&'static str; 7] = [
        "message_changed",
        "read_elsewhere",
        "read_count",
        "friend_request",
        "friend_accepted",
        "conversation_changed",
        "conversation_removed",
    ];

    fn decode(text: &str) -> Result<Option<Self>, WireError> {
        #[derive(Deserialize)]
        struct Name<'a> {
            #[serde(borrow)]
            event: std::borrow::Cow<'a, str>,
        }
        let name: Name<'_> = parse_json(text)?;
        if Self::NAMES.contains(&&*name.event) { parse_json(text).map(Some) } else { Ok(None) }
    }
}

/// Something was not pushed: pull it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resync {
    /// Which conversation; without one, ask for what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// Its head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Seq>,
    /// Its rev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<Rev>,
}

/// The server is leaving; a close follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GoAway {
    /// Why: `draining`, `fenced`, `stopping`.
    pub reason: String,
    /// Connect again after this many milliseconds.
    pub reconnect_after_ms: u64,
}

/// Another device took over; a close follows. Do not reconnect by yourself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kicked {
    /// Why: `another_device`, `signed_out`.
    pub reason: String,
}

/// Done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The `id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
}

/// The answer to `ping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// The `id` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Now: Unix milliseconds.
    pub time: TimeMs,
}
