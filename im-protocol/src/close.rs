//! Why a connection is closed: a WebSocket close code, or the last `error` frame on TCP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;

/// The reason the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The peer closed; the server answers in kind (1000).
    Normal,
    /// Broken WebSocket framing (1002), or a TCP length of 0 or over the limit.
    ProtocolError,
    /// A text frame that is not UTF-8 (1007).
    InvalidUtf8,
    /// A frame over the limit (1009).
    TooBig,
    /// The token is not, or no longer, good (4001).
    Unauthorized,
    /// Another device of the class took over (4002): do not reconnect by yourself.
    Kicked,
    /// The peer does not read what it is sent (4003).
    TooSlow,
    /// The server is leaving (4004).
    GoingAway,
    /// A newer connection of the same device took this one's place (4005).
    Replaced,
    /// Nothing was heard for 2.5 heartbeats (4006).
    Silent,
    /// No `hello` within 10 s (4008).
    NoHello,
    /// Too many connections or requests (4029).
    TooManyRequests,
}

impl CloseReason {
    /// The WebSocket close code (RFC 6455 §7.4; 4000–4999 are the application's).
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::Unauthorized => 4001,
            Self::Kicked => 4002,
            Self::TooSlow => 4003,
            Self::GoingAway => 4004,
            Self::Replaced => 4005,
            Self::Silent => 4006,
            Self::NoHello => 4008,
            Self::TooManyRequests => 4029,
        }
    }

    /// The code of the last `error` frame on TCP. `None` for a normal end, which needs no words.
    pub fn error_code(self) -> Option<ErrorCode> {
        Some(match self {
            Self::Normal => return None,
            Self::ProtocolError | Self::InvalidUtf8 | Self::TooBig => ErrorCode::InvalidFrame,
            Self::Unauthorized => ErrorCode::Unauthorized,
            Self::Kicked => ErrorCode::Kicked,
            Self::TooSlow => ErrorCode::TooSlow,
            Self::GoingAway => ErrorCode::GoingAway,
            Self::Replaced => ErrorCode::Replaced,
            Self::Silent => ErrorCode::Silent,
            Self::NoHello => ErrorCode::NoHello,
            Self::TooManyRequests => ErrorCode::TooManyRequests,
        })
    }

    /// A sentence for the close frame (at most 123 bytes by RFC 6455 §5.5) or the last error.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Normal => "goodbye",
            Self::ProtocolError => "broken framing",
            Self::InvalidUtf8 => "text that is not UTF-8",
            Self::TooBig => "the frame is over the limit that welcome tells (16 KiB before hello)",
            Self::Unauthorized => "the token is not, or no longer, good: sign in or refresh it",
            Self::Kicked => "another device of this class signed in",
            Self::TooSlow => "you read too slowly: reconnect and sync",
            Self::GoingAway => "the server is leaving: connect again",
            Self::Replaced => "a newer connection of this device took this one's place",
            Self::Silent => "nothing was heard from you for 2.5 heartbeats",
            Self::NoHello => "no hello within 10 s",
            Self::TooManyRequests => "too many connections or requests: slow down",
        }
    }
}
