//! The bodies of client frames as they stand on the wire, and the checks that make typed frames of them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::frames::{Conversations, Hello, History, Mark, Presence, Send, Sync, SyncItem, Target};
use crate::content::{Content, ContentError};
use crate::error::WireError;
use crate::ids::{ConversationId, Rev, Seq};
use crate::limits::{LIST_DEFAULT, LIST_MAX, MENTIONS, PRESENCE_USERS, PROTOCOL, SYNC_ITEMS};
use crate::message::{Body, Kind};

/// Parses JSON into `T`; the error names the field with the wrong type.
pub fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, WireError> {
    // The path is only followed once something is wrong: most frames are right.
    serde_json::from_str(text).map_err(|_| {
        let mut source = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut source) {
            Ok(_) => WireError::invalid_frame(None, "trailing characters after the JSON object"),
            Err(error) => {
                let path = shortened(error.path().to_string());
                let field = (path != "." && path != "?").then_some(path);
                let message = shortened(error.inner().to_string());
                let message = match &field {
                    Some(field) => format!("{field}: {message}"),
                    None => message,
                };
                WireError::invalid_frame(field, message)
            }
        }
    })
}

/// At most 200 characters: serde repeats a value of the wrong type, and that may be the whole frame.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(200) {
        text.truncate(end);
        text.push('…');
    }
    text
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
pub(super) struct RawHello {
    protocol: Option<u32>,
    token: Option<String>,
    terminal: Option<String>,
    device: Option<String>,
    since: Option<String>,
}

impl RawHello {
    pub(super) fn check(self) -> Result<Hello, WireError> {
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
pub(super) struct RawAuth {
    pub(super) token: Option<String>,
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
            ContentError::NotAnObject => WireError::invalid_frame(Some("content".into()), format!("content {e}")),
            ContentError::Invalid(_) => WireError::invalid_field("content", e),
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
pub(super) struct RawMark {
    conversation: Option<String>,
    seq: Option<Seq>,
}

impl RawMark {
    pub(super) fn check(self) -> Result<Mark, WireError> {
        Ok(Mark { conversation: required_id(self.conversation, "conversation")?, seq: required(self.seq, "seq")? })
    }
}

#[derive(Deserialize)]
pub(super) struct RawSync {
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
    pub(super) fn check(self) -> Result<Sync, WireError> {
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
pub(super) struct RawHistory {
    conversation: Option<String>,
    before: Option<Seq>,
    limit: Option<u32>,
}

impl RawHistory {
    pub(super) fn check(self) -> Result<History, WireError> {
        Ok(History {
            conversation: required_id(self.conversation, "conversation")?,
            before: self.before,
            limit: clamp_limit(self.limit),
        })
    }
}

#[derive(Deserialize)]
pub(super) struct RawConversations {
    cursor: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

impl RawConversations {
    pub(super) fn check(self) -> Conversations {
        Conversations { cursor: self.cursor, since: self.since, limit: clamp_limit(self.limit) }
    }
}

#[derive(Deserialize)]
pub(super) struct RawConversation {
    conversation: Option<String>,
}

impl RawConversation {
    pub(super) fn check(self) -> Result<ConversationId, WireError> {
        required_id(self.conversation, "conversation")
    }
}

#[derive(Deserialize)]
pub(super) struct RawPresence {
    subscribe: Option<Bounded<String, PRESENCE_USERS>>,
    unsubscribe: Option<Bounded<String, PRESENCE_USERS>>,
}

impl RawPresence {
    pub(super) fn check(self) -> Result<Presence, WireError> {
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
