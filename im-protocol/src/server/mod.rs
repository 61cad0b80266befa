//! Frames from the server.

mod conversations;
mod event;
mod frames;

use schemars::JsonSchema;
use serde::Serialize;

use crate::client::{Envelope, parse_json};
use crate::error::WireError;
use crate::ids::FrameId;
use crate::message::Message;

pub use conversations::{Changes, ConversationItem, ConversationView, Conversations, RemovedReason, Tombstone};
pub use event::Event;
pub use frames::{
    Answer, GoAway, Kicked, Messages, Pong, Presence, Receipt, Resync, Sent, Typing, UserPresence, Welcome,
};

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
