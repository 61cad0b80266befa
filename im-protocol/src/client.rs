//! Frames from clients, decoded in two stages: the envelope with `type` and `id`, then the body. The first stage copies
//! nothing, the second nothing that is larger than its input.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::content::Content;
use crate::error::WireError;
use crate::ids::{ClientMessageId, ConversationId, DeviceId, FrameId, Rev, Seq, Terminal, UserId};
use crate::limits::{LIST_DEFAULT, LIST_MAX, MENTIONS, PRESENCE_USERS, PROTOCOL, SYNC_ITEMS};
use crate::message::{Body, Kind};

/// A frame from a client.
#[derive(Clone, Debug, PartialEq)]
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

/// The first frame: who I am.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// Version of the protocol; 1 if absent.
    #[serde(default)]
    pub protocol: Option<u32>,
    /// Access token.
    pub token: String,
    /// Device class.
    pub terminal: Terminal,
    /// Which device.
    pub device: DeviceId,
    /// A `since` token: `welcome` then tells what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("terminal", &self.terminal).field("device", &self.device).finish_non_exhaustive()
    }
}

/// A fresh access token of the same user.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Auth {
    /// Access token.
    pub token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(…)")
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A conversation.
    Conversation(ConversationId),
    /// The direct conversation with this user.
    User(UserId),
}

/// A message to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// Where to.
    pub target: Target,
    /// The sender's id for it.
    pub client_message_id: ClientMessageId,
    /// What a retry must match.
    pub body: Body,
}

/// A position in a conversation: `delivered` and `read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncItem {
    /// The conversation.
    pub conversation: ConversationId,
    /// The highest seq the client has without a hole.
    pub after: Seq,
    /// The highest rev the client has applied.
    #[serde(default)]
    pub rev: Rev,
}

/// A page of older messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The conversation.
    pub conversation: ConversationId,
    /// Messages before this seq; the newest if absent.
    pub before: Option<Seq>,
    /// Messages at most.
    pub limit: u32,
}

/// A page of the list of conversations, or of what changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversations {
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Only what changed after this token.
    pub since: Option<String>,
    /// Items at most.
    pub limit: u32,
}

/// A room to enter or leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The room's conversation.
    pub conversation: ConversationId,
}

/// I am typing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
}

/// Whose presence to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Watch these, and answer with how they are.
    pub subscribe: Vec<UserId>,
    /// Do not watch these any more.
    pub unsubscribe: Vec<UserId>,
}

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

/// Parses JSON into `T`; the error names the field with the wrong type.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, WireError> {
    // The path is only followed once something is wrong: most frames are right.
    serde_json::from_str(text).map_err(|_| {
        let mut source = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut source) {
            Ok(_) => WireError::invalid_frame(None, "trailing characters after the JSON object"),
            Err(error) => {
                let path = error.path().to_string();
                let field = (path != "." && path != "?").then_some(path);
                let message = match &field {
                    Some(field) => format!("{field}: {}", error.inner()),
                    None => error.inner().to_string(),
                };
                WireError::invalid_frame(field, message)
            }
        }
    })
}

/// The value of a field that must be there.
pub fn required<T>(value: Option<T>, field: &str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::invalid_frame(Some(field.to_owned()), format!("{field} is missing")))
}

/// The typed value of a text field that must be there.
pub fn required_id<T>(value: Option<String>, field: &str) -> Result<T, WireError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    required(value, field)?.parse().map_err(|e| WireError::invalid_field(field, e))
}

/// A list's length as asked: 50 if absent, at most 200, at least 1.
pub fn clamp_limit(limit: Option<u32>) -> u32 {
    limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX)
}

#[derive(Deserialize)]
struct RawHello {
    protocol: Option<u32>,
    token: Option<String>,
    terminal: Option<String>,
    device: Option<String>,
    since: Option<String>,
}

impl RawHello {
    fn check(self) -> Result<Hello, WireError> {
        if self.protocol.is_some_and(|version| version != PROTOCOL) {
            return Err(WireError::invalid_field("protocol", format!("this server speaks version {PROTOCOL}")));
        }
        Ok(Hello {
            protocol: self.protocol,
            token: required(self.token, "token")?,
            terminal: required_id(self.terminal, "terminal")?,
            device: required_id(self.device, "device")?,
            since: self.since,
        })
    }
}

#[derive(Deserialize)]
struct RawAuth {
    token: Option<String>,
}

/// The fields of `send`, as they stand on the wire; the body of `POST /v1/messages` as well.
#[derive(Deserialize)]
pub struct RawSend<'a> {
    conversation: Option<String>,
    to: Option<String>,
    client_message_id: Option<String>,
    kind: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    mentions: Option<Bounded<String, MENTIONS>>,
    mention_all: Option<bool>,
    reply_to: Option<Seq>,
}

impl RawSend<'_> {
    /// Checks every field. The size of the content is the server's to judge: it is a setting.
    pub fn check(self) -> Result<Send, WireError> {
        let target = match (self.conversation, self.to) {
            (Some(_), Some(_)) => {
                return Err(WireError::invalid_frame(Some("to".into()), "give conversation or to, not both"));
            }
            (None, Some(to)) => Target::User(required_id(Some(to), "to")?),
            (conversation, None) => Target::Conversation(required_id(conversation, "conversation")?),
        };
        let kind: Kind = required_id(self.kind, "kind")?;
        if kind == Kind::Notification {
            return Err(WireError::invalid_field("kind", "only the server makes notifications"));
        }
        let content = Content::read(required(self.content, "content")?).map_err(|e| match e {
            crate::content::ContentError::NotAnObject => {
                WireError::invalid_frame(Some("content".into()), format!("content {e}"))
            }
            crate::content::ContentError::Invalid(_) => WireError::invalid_field("content", e),
        })?;
        if kind == Kind::Text && content.text_field().is_none() {
            return Err(WireError::invalid_field("content.text", "a text message needs a text"));
        }
        let mut mentions = Vec::new();
        for (n, user) in self.mentions.unwrap_or_default().0.into_iter().enumerate() {
            let user = required_id(Some(user), &format!("mentions[{n}]"))?;
            if !mentions.contains(&user) {
                mentions.push(user);
            }
        }
        Ok(Send {
            target,
            client_message_id: required_id(self.client_message_id, "client_message_id")?,
            body: Body {
                kind,
                content,
                mentions,
                mention_all: self.mention_all.unwrap_or(false),
                reply_to: self.reply_to,
            },
        })
    }
}

#[derive(Deserialize)]
struct RawMark {
    conversation: Option<String>,
    seq: Option<Seq>,
}

impl RawMark {
    fn check(self) -> Result<Mark, WireError> {
        Ok(Mark { conversation: required_id(self.conversation, "conversation")?, seq: required(self.seq, "seq")? })
    }
}

#[derive(Deserialize)]
struct RawSync {
    conversation: Option<String>,
    after: Option<Seq>,
    rev: Option<Rev>,
    items: Option<Bounded<RawSyncItem, SYNC_ITEMS>>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
struct RawSyncItem {
    conversation: Option<String>,
    after: Option<Seq>,
    rev: Option<Rev>,
}

impl RawSyncItem {
    fn check(self, prefix: &str) -> Result<SyncItem, WireError> {
        Ok(SyncItem {
            conversation: required_id(self.conversation, &format!("{prefix}conversation"))?,
            after: required(self.after, &format!("{prefix}after"))?,
            rev: self.rev.unwrap_or(0),
        })
    }
}

impl RawSync {
    fn check(self) -> Result<Sync, WireError> {
        let limit = clamp_limit(self.limit);
        let Some(items) = self.items else {
            let item = RawSyncItem { conversation: self.conversation, after: self.after, rev: self.rev }.check("")?;
            return Ok(Sync { items: vec![item], many: false, limit });
        };
        if items.0.is_empty() {
            return Err(WireError::invalid_field("items", "must name 1 to 50 conversations"));
        }
        let items = items.0.into_iter().enumerate().map(|(n, item)| item.check(&format!("items[{n}].")));
        Ok(Sync { items: items.collect::<Result<_, _>>()?, many: true, limit })
    }
}

#[derive(Deserialize)]
struct RawHistory {
    conversation: Option<String>,
    before: Option<Seq>,
    limit: Option<u32>,
}

impl RawHistory {
    fn check(self) -> Result<History, WireError> {
        Ok(History {
            conversation: required_id(self.conversation, "conversation")?,
            before: self.before,
            limit: clamp_limit(self.limit),
        })
    }
}

#[derive(Deserialize)]
struct RawConversations {
    cursor: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

impl RawConversations {
    fn check(self) -> Conversations {
        Conversations { cursor: self.cursor, since: self.since, limit: clamp_limit(self.limit) }
    }
}

#[derive(Deserialize)]
struct RawConversation {
    conversation: Option<String>,
}

impl RawConversation {
    fn check(self) -> Result<ConversationId, WireError> {
        required_id(self.conversation, "conversation")
    }
}

#[derive(Deserialize)]
struct RawPresence {
    subscribe: Option<Bounded<String, PRESENCE_USERS>>,
    unsubscribe: Option<Bounded<String, PRESENCE_USERS>>,
}

impl RawPresence {
    fn check(self) -> Result<Presence, WireError> {
        let users = |list: Option<Bounded<String, PRESENCE_USERS>>, field: &str| {
            let list = list.unwrap_or_default().0.into_iter().enumerate();
            list.map(|(n, user)| required_id(Some(user), &format!("{field}[{n}]"))).collect::<Result<Vec<_>, _>>()
        };
        Ok(Presence {
            subscribe: users(self.subscribe, "subscribe")?,
            unsubscribe: users(self.unsubscribe, "unsubscribe")?,
        })
    }
}

/// A list of at most `MAX` items; reading stops at the first one too many.
struct Bounded<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> serde::de::Visitor<'de> for Items<T, MAX> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {MAX} items")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX {
                        return Err(serde::de::Error::invalid_length(MAX + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Items::<T, MAX>(std::marker::PhantomData)).map(Self)
    }
}
