//! Frames from clients.
//!
//! A server decodes them in two stages: the [`Envelope`] with `type` and `id`, then the body. The first stage copies
//! nothing, the second nothing that is larger than its input. A client encodes them with [`ClientFrame::encode`].

mod envelope;
mod frames;
mod raw;

use schemars::JsonSchema;
use serde::Serialize;

use crate::ids::FrameId;

pub use envelope::Envelope;
pub use frames::{Auth, Conversations, Hello, History, Mark, Presence, Room, Send, Sync, SyncItem, Target, Typing};
pub use raw::{RawSend, clamp_limit, parse_json, required, required_id};

/// A frame from a client. Its serialized form is the wire's; reading one goes through [`Envelope`], so that an error
/// can name the frame it answers.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ClientFrame {
    Hello(Hello),
    Auth(Auth),
    Send(Send),
    Delivered(Mark),
    Read(Mark),
    Sync(Sync),
    History(History),
    Conversations(Conversations),
    Join(Room),
    Leave(Room),
    Typing(Typing),
    Presence(Presence),
    Ping,
}

/// A client's frame as it stands on the wire.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ClientFrame")]
pub(crate) struct Addressed<'a> {
    #[serde(flatten)]
    frame: &'a ClientFrame,
    /// What the client calls the request; the answer repeats it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a FrameId>,
}

impl ClientFrame {
    /// The JSON text of the frame, with `type` and, where one is given, `id`.
    pub fn encode(&self, id: Option<&FrameId>) -> String {
        // Strings, numbers and text that is JSON already: nothing here can fail to serialize.
        serde_json::to_string(&Addressed { frame: self, id }).expect("a client frame is always JSON")
    }
}
