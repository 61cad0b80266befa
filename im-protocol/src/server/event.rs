//! Hints that something changed.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::RemovedReason;
use crate::client::parse_json;
use crate::error::WireError;
use crate::ids::{ConversationId, Rev, Seq, TimeMs, UserId};
use crate::message::Message;

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

    /// Decodes an `event` frame; `Ok(None)` for an event this version does not know.
    pub(super) fn decode(text: &str) -> Result<Option<Self>, WireError> {
        #[derive(Deserialize)]
        struct Outside<'a> {
            #[serde(borrow)]
            event: Cow<'a, str>,
            #[serde(borrow)]
            data: &'a RawValue,
        }
        let Outside { event, data } = parse_json(text)?;
        if !Self::NAMES.contains(&&*event) {
            return Ok(None);
        }
        // With the name in front the data is read as it stands; behind it, it would be copied into a tree first, which a
        // raw content cannot be read from.
        parse_json(&format!(r#"{{"event":"{event}","data":{data}}}"#)).map(Some)
    }
}
