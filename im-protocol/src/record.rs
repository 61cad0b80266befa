//! What travels between servers: one record per server id and message, never one per recipient.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::close::CloseReason;
use crate::frame::Frame;
use crate::ids::{ConnectionId, ConversationId, Epoch, Rev, Seq, ServerId, UserId};

/// One record in a server's topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The epoch of the target server it was made for. A server drops records of an older epoch than its own, and
    /// learns from a higher one that it has been replaced.
    pub epoch: Epoch,
    /// Who published it.
    pub from: ServerId,
    /// What to do.
    pub payload: Payload,
    /// The message is being followed: the W3C `traceparent` of its publication. Absent from nearly all records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<str>>,
}

/// What a record asks a server to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// Hand a frame to connections.
    Push(Push),
    /// End connections of a user.
    Disconnect(Disconnect),
}

/// A frame for some of a server's connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Push {
    /// Who gets it.
    pub audience: Audience,
    /// The frame, encoded once.
    pub frame: Frame,
    /// Set on what a client could miss for good: what to name in `resync` when a connection's queue is full. A frame
    /// without it (typing, presence) may be dropped.
    pub about: Option<About>,
}

/// Who gets a frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// All connections of these users, but one.
    Users {
        /// The users that have a connection on this server.
        users: Vec<UserId>,
        /// A connection that does not get it (the one that caused it).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        except: Option<ConnectionId>,
    },
    /// The members of a large group: each server expands it from its own index, filtered by stint.
    Members {
        /// The group's conversation.
        conversation: ConversationId,
        /// The message; a member gets it if the stint covers it.
        seq: Seq,
        /// An index older than this is loaded again first.
        members_version: u64,
    },
    /// The connections inside a room.
    Room {
        /// The room's conversation.
        conversation: ConversationId,
    },
    /// The connections that watch a user's presence.
    Watchers {
        /// The user who came or went.
        user: UserId,
    },
}

/// What a frame is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its head.
    pub head: Seq,
    /// Its rev.
    pub rev: Rev,
}

/// Connections to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub connections: Vec<ConnectionId>,
    /// Why.
    pub reason: CloseReason,
}
