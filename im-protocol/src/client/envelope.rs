//! The outside of a client's frame, and the way from there to its body.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw::{
    RawAuth, RawConversation, RawConversations, RawHello, RawHistory, RawMark, RawPresence, RawSend, RawSync,
    parse_json, required,
};
use super::{Auth, ClientFrame, Room, Typing};
use crate::error::WireError;
use crate::ids::FrameId;

/// The outside of a frame: enough to answer it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The frame's type, as it was written.
    pub kind: String,
    /// What the client calls it.
    pub id: Option<FrameId>,
    text: &'a str,
}

impl<'a> Envelope<'a> {
    /// Reads `type` and `id`. The error carries the `id` whenever the JSON had a string `id`.
    pub fn parse(text: &'a str) -> Result<Self, WireError> {
        #[derive(Deserialize)]
        struct Outside<'a> {
            #[serde(borrow, default)]
            r#type: Option<&'a RawValue>,
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
        }
        if !text.trim_start().starts_with('{') {
            return Err(WireError::invalid_frame(None, "a frame must be a JSON object"));
        }
        let outside: Outside<'a> = serde_json::from_str(text)
            .map_err(|e| WireError::invalid_frame(None, format!("a frame must be a JSON object: {e}")))?;
        let id = match outside.id.map(|raw| (raw, serde_json::from_str::<String>(raw.get()))) {
            None => None,
            Some((raw, _)) if raw.get() == "null" => None,
            Some((_, Ok(id))) => match FrameId::parse(&id) {
                Ok(id) => Some(id),
                Err(e) => return Err(WireError::invalid_frame(Some("id".into()), e.to_string())),
            },
            Some((_, Err(_))) => return Err(WireError::invalid_frame(Some("id".into()), "id must be a string")),
        };
        let wrong_type = |message: &str| WireError::invalid_frame(Some("type".into()), message).answering(id.clone());
        let kind = match outside.r#type {
            None => return Err(wrong_type("type is missing")),
            Some(raw) => serde_json::from_str::<String>(raw.get()).map_err(|_| wrong_type("type must be a string"))?,
        };
        Ok(Self { kind, id, text })
    }

    /// Reads the rest. The error carries the `id` and, where one is to blame, the `field`.
    pub fn body(&self) -> Result<ClientFrame, WireError> {
        self.decode().map_err(|error| error.answering(self.id.clone()))
    }

    fn decode(&self) -> Result<ClientFrame, WireError> {
        Ok(match self.kind.as_str() {
            "send" => ClientFrame::Send(self.raw::<RawSend>()?.check()?),
            "delivered" => ClientFrame::Delivered(self.raw::<RawMark>()?.check()?),
            "read" => ClientFrame::Read(self.raw::<RawMark>()?.check()?),
            "ping" => ClientFrame::Ping,
            "sync" => ClientFrame::Sync(self.raw::<RawSync>()?.check()?),
            "history" => ClientFrame::History(self.raw::<RawHistory>()?.check()?),
            "conversations" => ClientFrame::Conversations(self.raw::<RawConversations>()?.check()),
            "typing" => {
                let conversation = self.raw::<RawConversation>()?.check()?;
                ClientFrame::Typing(Typing { conversation })
            }
            "join" => ClientFrame::Join(Room { conversation: self.raw::<RawConversation>()?.check()? }),
            "leave" => ClientFrame::Leave(Room { conversation: self.raw::<RawConversation>()?.check()? }),
            "presence" => ClientFrame::Presence(self.raw::<RawPresence>()?.check()?),
            "hello" => ClientFrame::Hello(self.raw::<RawHello>()?.check()?),
            "auth" => ClientFrame::Auth(Auth { token: required(self.raw::<RawAuth>()?.token, "token")? }),
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(WireError::invalid_frame(
                    Some("type".into()),
                    format!("{shown:?} is not a type of frame this server knows"),
                ));
            }
        })
    }

    fn raw<T: Deserialize<'a>>(&self) -> Result<T, WireError> {
        parse_json(self.text)
    }
}
