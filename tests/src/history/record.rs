//! The lines of a history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// A member may see `[joined, left)` of a conversation; recorded by whoever changed the membership.
    Stint {
        /// Conversation.
        conversation: String,
        /// Member.
        user: String,
        /// First seq.
        joined: u64,
        /// First seq no more; `None`: still there.
        left: Option<u64>,
    },
    /// A client sent a message, for the first time or again.
    Sent {
        /// Conversation.
        conversation: String,
        /// Sender.
        user: String,
        /// The sender's id for the message.
        client_message_id: String,
        /// Its content.
        content: String,
    },
    /// The server acknowledged it.
    Acked {
        /// Conversation.
        conversation: String,
        /// Sender.
        user: String,
        /// The sender's id for the message.
        client_message_id: String,
        /// The seq it was given.
        seq: u64,
    },
    /// A client showed a message to its user.
    Seen(View),
    /// A client was told that it will never get a seq.
    Skipped {
        /// Client: a user's device.
        client: String,
        /// Conversation.
        conversation: String,
        /// Which seq.
        seq: u64,
    },
    /// In the end a client read a conversation from the server again: one line per message, oldest first.
    Synced(View),
}

/// A message before a client's eyes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Client: a user's device.
    pub client: String,
    /// Its user.
    pub user: String,
    /// Conversation.
    pub conversation: String,
    /// Seq.
    pub seq: u64,
    /// Sender.
    pub sender: String,
    /// The sender's id for the message; `None` for a notification.
    pub client_message_id: Option<String>,
    /// Its content.
    pub content: String,
}

impl View {
    /// A message as the wire tells it, before the eyes of a client of a user.
    pub fn of(client: &str, user: &str, message: &Value) -> Self {
        let text = |field: &str| message[field].as_str().expect("a text").to_owned();
        Self {
            client: client.to_owned(),
            user: user.to_owned(),
            conversation: text("conversation"),
            seq: message["seq"].as_u64().expect("a seq"),
            sender: text("sender"),
            client_message_id: message["client_message_id"].as_str().map(str::to_owned),
            content: message["content"].to_string(),
        }
    }
}
