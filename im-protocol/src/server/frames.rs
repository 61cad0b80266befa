//! Answers and pushes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Changes;
use crate::absent::or_null;
use crate::ids::{
    ClientMessageId, ConnectionId, ConversationId, DeviceId, Epoch, FrameId, Incarnation, Rev, Seq, ServerId, Terminal,
    TimeMs, UserId,
};
use crate::limits::Limits;
use crate::message::Message;

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
    #[serde(default, deserialize_with = "or_null")]
    pub changed: Vec<Message>,
    /// Seqs `[from, to]` in the range that you will never get.
    #[serde(default, deserialize_with = "or_null")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<u64>>))]
    pub gaps: Vec<(Seq, Seq)>,
    /// Whether there is more in the asked direction.
    pub more: bool,
    /// True on the last answer to a `sync` with `items`.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
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
