//! Ids as validated newtypes: a value of one of these types has the shape the protocol promises.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::{Controls, forbidden_character};

/// Position of a message in its conversation: from 1, without holes.
pub type Seq = u64;
/// Change number of a conversation: from 0, raised by one with every recall, edit or reaction.
pub type Rev = u64;
/// Raised when a conversation's history was restored from a backup: a cache of another incarnation is void.
pub type Incarnation = u32;
/// Unix time in milliseconds, by the server's clock.
pub type TimeMs = i64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct IdError {
    what: &'static str,
    problem: &'static str,
}

/// A shared, immutable text with a validated shape. Cloning it copies a pointer.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
        #[schemars(transparent)]
        $(#[$doc])*
        pub struct $name(#[schemars(with = "String")] Arc<str>);

        impl $name {
            /// Checks the shape.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(problem) => Err(IdError { what: $what, problem }),
                }
            }

            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A person or a bot: `[A-Za-z0-9_.@-]{1,64}`, unique without regard to case, spelled as registered.
    #[schemars(extend("pattern" = "^[A-Za-z0-9_.@-]{1,64}$"))]
    UserId,
    "user id",
    check_user
);
text_id!(
    /// A conversation: `d:<user>:<user>` (sorted by byte), `g:<id>` or `r:<id>`.
    #[schemars(extend("pattern" = "^(d:[A-Za-z0-9_.@-]{1,64}:[A-Za-z0-9_.@-]{1,64}|[gr]:[A-Za-z0-9_-]{1,64})$"))]
    ConversationId,
    "conversation",
    check_conversation
);
text_id!(
    /// A group; its conversation is `g:<id>`.
    GroupId,
    "group id",
    check_key
);
text_id!(
    /// A chat room; its conversation is `r:<id>`.
    RoomId,
    "room id",
    check_key
);
text_id!(
    /// Random id that a sender gives a message, unique per (conversation, sender): 1–64 characters.
    #[schemars(extend("minLength" = 1, "maxLength" = 64))]
    ClientMessageId,
    "client_message_id",
    check_short
);
text_id!(
    /// Random id kept per browser profile or installation: 1–64 characters.
    #[schemars(extend("minLength" = 1, "maxLength" = 64))]
    DeviceId,
    "device",
    check_short
);
text_id!(
    /// What a client calls a request, repeated by the answer: up to 64 characters.
    #[schemars(extend("maxLength" = 64))]
    FrameId,
    "id",
    check_frame_id
);

fn check_user(text: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-');
    if !(1..=64).contains(&text.len()) || !text.bytes().all(allowed) {
        Err("must match [A-Za-z0-9_.@-]{1,64}")
    } else if text.eq_ignore_ascii_case("me") {
        Err("must not be the reserved word me")
    } else {
        Ok(())
    }
}

fn check_key(text: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err("must match [A-Za-z0-9_-]{1,64}")
    }
}

fn check_conversation(text: &str) -> Result<(), &'static str> {
    const SHAPE: &str = "must be d:<user>:<user> with the users sorted by byte, g:<id> or r:<id>";
    match text.split_once(':') {
        Some(("d", users)) => match users.split_once(':') {
            Some((a, b)) if a <= b && check_user(a).is_ok() && check_user(b).is_ok() => Ok(()),
            _ => Err(SHAPE),
        },
        Some(("g" | "r", key)) => check_key(key).map_err(|_| SHAPE),
        _ => Err(SHAPE),
    }
}

fn check_short(text: &str) -> Result<(), &'static str> {
    // No character takes more than four bytes, so the byte length bounds the work of counting.
    if text.is_empty() || text.len() > 256 || text.chars().count() > 64 {
        Err("must have 1 to 64 characters")
    } else if forbidden_character(text, Controls::Refused).is_some() {
        Err("must not hold control characters")
    } else {
        Ok(())
    }
}

fn check_frame_id(text: &str) -> Result<(), &'static str> {
    if text.len() > 256 || text.chars().count() > 64 { Err("must have at most 64 characters") } else { Ok(()) }
}

/// What a conversation is, read from its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConversationKind {
    /// Two people, or one with themself.
    Direct,
    /// A group with stored members.
    Group,
    /// A chat room: its members are the connections in it now.
    Room,
}

impl ConversationId {
    /// The direct conversation of two people.
    pub fn direct(a: &UserId, b: &UserId) -> Self {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        Self(format!("d:{a}:{b}").into())
    }

    /// A group's conversation.
    pub fn group(group: &GroupId) -> Self {
        Self(format!("g:{group}").into())
    }

    /// A room's conversation.
    pub fn room(room: &RoomId) -> Self {
        Self(format!("r:{room}").into())
    }

    /// What kind of conversation this is.
    pub fn kind(&self) -> ConversationKind {
        match self.0.as_bytes()[0] {
            b'd' => ConversationKind::Direct,
            b'g' => ConversationKind::Group,
            _ => ConversationKind::Room,
        }
    }

    /// The two ends of a direct conversation, sorted by byte.
    pub fn ends(&self) -> Option<(UserId, UserId)> {
        let (a, b) = self.0.strip_prefix("d:")?.split_once(':')?;
        Some((UserId(a.into()), UserId(b.into())))
    }

    /// The other end of a direct conversation of `user`; `user` for the conversation with oneself. `None` where
    /// `user` is no end of it.
    pub fn peer(&self, user: &UserId) -> Option<UserId> {
        let (a, b) = self.ends()?;
        if a == *user {
            Some(b)
        } else if b == *user {
            Some(a)
        } else {
            None
        }
    }

    /// The group, if this is a group's conversation.
    pub fn as_group(&self) -> Option<GroupId> {
        self.0.strip_prefix("g:").map(|key| GroupId(key.into()))
    }
}

/// Device class of a connection; the terminal policy counts devices per class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Terminal {
    Web,
    Desktop,
    Mobile,
    Mini,
    Bot,
}

impl Terminal {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Web, Self::Desktop, Self::Mobile, Self::Mini, Self::Bot];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Mini => "mini",
            Self::Bot => "bot",
        }
    }
}

impl FromStr for Terminal {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::ALL
            .into_iter()
            .find(|terminal| terminal.as_str() == text)
            .ok_or(IdError { what: "terminal", problem: "must be one of web, desktop, mobile, mini, bot" })
    }
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Number of a gateway: the `StatefulSet` ordinal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerId(pub u16);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many times a server id has been taken. What an older epoch says is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection of a user, unique among that user's connections: 64 random bits, 16 hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConnectionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let bad = IdError { what: "connection", problem: "must be 16 lower-case hex digits" };
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(bad);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| bad)
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ConnectionId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConnectionId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{16}$" })
    }
}
