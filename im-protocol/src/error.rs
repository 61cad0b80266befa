//! The closed list of error codes, and the error that travels to a client.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::or_null;
use crate::ids::{ConversationId, FrameId};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, $status:literal;)+) => {
        /// Every error a client can be told, by socket or by HTTP. The list is closed: a client may match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The HTTP status that goes with the code.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// What the code means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+),)+ }
            }
        }
    };
}

error_codes! {
    /// The token is missing, malformed, revoked or of an ended session.
    Unauthorized = "unauthorized", 401;
    /// User and password do not match.
    InvalidCredentials = "invalid_credentials", 401;
    /// The token was good and has expired: get a fresh one with the refresh token.
    TokenExpired = "token_expired", 401;
    /// You may not do this.
    Forbidden = "forbidden", 403;
    /// You are not a member of this conversation, or not inside this room.
    NotAMember = "not_a_member", 403;
    /// You, or everyone, may not speak in this group now.
    Muted = "muted", 403;
    /// The other person has blocked you.
    Blocked = "blocked", 403;
    /// Only friends may do this.
    NotFriends = "not_friends", 403;
    /// There is no such thing.
    NotFound = "not_found", 404;
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405;
    /// What you ask contradicts the present state.
    Conflict = "conflict", 409;
    /// It exists already.
    AlreadyExists = "already_exists", 409;
    /// This `client_message_id` stands for a message with another body.
    ClientMessageIdReused = "client_message_id_reused", 409;
    /// The group was dissolved.
    GroupDissolved = "group_dissolved", 409;
    /// Larger than a limit that `welcome` tells.
    TooLarge = "too_large", 413;
    /// A field has a value that is not allowed.
    InvalidField = "invalid_field", 422;
    /// Not JSON, not an object, of an unknown type, or with a field of the wrong type.
    InvalidFrame = "invalid_frame", 422;
    /// The first frame of a connection must be `hello`.
    HelloRequired = "hello_required", 401;
    /// Too fast: try again after the time that is told.
    RateLimited = "rate_limited", 429;
    /// A fault of the server; its log has the details under the request id.
    Internal = "internal", 500;
    /// A part the server needs is out of reach: try again.
    Unavailable = "unavailable", 503;
    /// The last word on a TCP connection: another device of this class signed in.
    Kicked = "kicked", 403;
    /// The last word on a TCP connection: you read too slowly.
    TooSlow = "too_slow", 429;
    /// The last word on a TCP connection: the server is leaving, connect again.
    GoingAway = "going_away", 503;
    /// The last word on a TCP connection: a newer connection of this device took its place.
    Replaced = "replaced", 409;
    /// The last word on a TCP connection: nothing was heard from you for too long.
    Silent = "silent", 408;
    /// The last word on a TCP connection: no `hello` came in time.
    NoHello = "no_hello", 408;
    /// The last word on a TCP connection: too many connections or requests from your address.
    TooManyRequests = "too_many_requests", 429;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as a client is told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The `id` of the frame that caused it, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<FrameId>,
    /// Which error.
    pub code: ErrorCode,
    /// What is wrong and what to do, for a developer.
    pub message: String,
    /// The field that is wrong, as a path (`items[2].after`).
    #[serde(default)]
    pub field: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(default, deserialize_with = "or_null")]
    pub retryable: bool,
    /// When to try again, in milliseconds; always given and above 0 with `rate_limited`.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// The conversation an item of a `sync` with `items` asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// True on the last answer to a `sync` with `items`.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

impl WireError {
    /// An error with a code and a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = matches!(code, ErrorCode::RateLimited | ErrorCode::Unavailable | ErrorCode::GoingAway);
        Self {
            id: None,
            code,
            message: message.into(),
            field: None,
            retryable,
            retry_after_ms: None,
            conversation: None,
            last: false,
        }
    }

    /// A field with a value that is not allowed.
    pub fn invalid_field(field: impl Into<String>, message: impl fmt::Display) -> Self {
        let field = field.into();
        Self { field: Some(field.clone()), ..Self::new(ErrorCode::InvalidField, format!("{field}: {message}")) }
    }

    /// A frame or body of the wrong shape.
    pub fn invalid_frame(field: Option<String>, message: impl Into<String>) -> Self {
        Self { field, ..Self::new(ErrorCode::InvalidFrame, message) }
    }

    /// Too fast; `retry_after_ms` is raised to at least 1.
    pub fn rate_limited(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms.max(1)), ..Self::new(ErrorCode::RateLimited, message) }
    }

    /// The same error as the answer to a frame.
    #[must_use]
    pub fn answering(self, id: Option<FrameId>) -> Self {
        Self { id, ..self }
    }
}
