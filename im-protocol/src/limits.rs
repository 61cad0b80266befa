//! Limits of the wire. Those in [`Limits`] are settings of a server, told in `welcome`; the constants are part of the
//! protocol.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the protocol this crate speaks.
pub const PROTOCOL: u32 = 1;
/// Largest frame before `hello`, in bytes: a stranger gets little memory.
pub const FRAME_BYTES_BEFORE_HELLO: usize = 16 * 1024;
/// A `hello` must come within this time, in milliseconds.
pub const HELLO_TIMEOUT_MS: u64 = 10_000;
/// How often a client makes itself heard, in milliseconds.
pub const HEARTBEAT_MS: u64 = 25_000;
/// A connection is closed as silent after this many tenths of a heartbeat.
pub const SILENCE_TENTHS: u64 = 25;
/// Lists: items where no `limit` is given.
pub const LIST_DEFAULT: u32 = 50;
/// Lists: items at most; a larger `limit` is clamped.
pub const LIST_MAX: u32 = 200;
/// Answers with lists end at this many bytes, with at least one item.
pub const ANSWER_BYTES: usize = 256 * 1024;
/// Items of one `sync` frame.
pub const SYNC_ITEMS: usize = 50;
/// People mentioned in one message.
pub const MENTIONS: usize = 100;
/// People in one `presence` frame, subscribed and unsubscribed each.
pub const PRESENCE_USERS: usize = 200;
/// Characters of a user's, group's or room's name.
pub const NAME_CHARS: usize = 100;
/// Characters of an announcement or a draft.
pub const TEXT_CHARS: usize = 4_000;
/// Characters of a remark, an alias, a friend request's or join request's message, and a search query.
pub const NOTE_CHARS: usize = 200;
/// People named in a notification; its `count` tells all.
pub const NOTIFICATION_USERS: usize = 20;
/// Messages of a room that those inside may read.
pub const ROOM_HISTORY: u64 = 50;

/// The limits of a server that a client must know, told in `welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Bytes of a message's content, as compact JSON.
    pub content_bytes: usize,
    /// Bytes of a client's frame.
    pub frame_bytes: usize,
    /// Messages a user may send per second in the long run; 0: no limit.
    pub messages_per_second: u32,
    /// Messages a user may send at once.
    pub message_burst: u32,
    /// Members of a group.
    pub group_members: u32,
    /// People named in one call (a group's first members, invitees).
    pub members_per_call: u32,
    /// Conversations of one user.
    pub conversations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes: 64 * 1024,
            frame_bytes: 128 * 1024,
            messages_per_second: 20,
            message_burst: 60,
            group_members: 100_000,
            members_per_call: 500,
            conversations: 5_000,
        }
    }
}
