//! What was committed, as frames for those concerned.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use im_protocol::record::About;
use im_protocol::server::{Event, Resync};
use im_protocol::{ConversationId, ConversationKind, Frame, ServerFrame};
use im_sdk::router::{Recipients, Routed};

use super::members::Members;
use crate::store::{Committed, CommittedMessage, Removal, Result};

/// For so long after a group is first met as large its records go to every live server: by then every server has the
/// members it holds in its index and has said so.
const FRESHLY_LARGE: Duration = Duration::from_secs(30);

/// Large groups that are remembered at most; when there are more, all are met anew.
const REMEMBERED: usize = 10_000;

/// Turns commits into pushes.
pub(super) struct Frames {
    members: Members,
    large: HashMap<ConversationId, Instant>,
}

/// How a message is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// The message itself.
    New,
    /// That it changed.
    Changed,
    /// That there is something to pull: an old backlog.
    Poke,
}

impl Frames {
    pub(super) fn new(members: Members) -> Self {
        Self { members, large: HashMap::new() }
    }

    /// Everything a transaction has to tell, in order.
    pub(super) async fn of(&mut self, committed: &Committed) -> Result<Vec<Routed>> {
        let mut routed =
            Vec::with_capacity(committed.messages.len() + committed.changed.len() + committed.removed.len());
        for message in &committed.messages {
            routed.push(self.message(message, Tell::New).await?);
        }
        for message in &committed.changed {
            routed.push(self.message(message, Tell::Changed).await?);
        }
        routed.extend(committed.removed.iter().map(removed));
        Ok(routed)
    }

    /// One message for those whose stint covers it.
    pub(super) async fn message(&mut self, committed: &CommittedMessage, tell: Tell) -> Result<Routed> {
        let CommittedMessage { message, members_version, large, changes } = committed;
        let conversation = message.conversation.clone();
        let to = if conversation.kind() == ConversationKind::Room {
            Recipients::Room(conversation.clone())
        } else if *large {
            Recipients::Members {
                conversation: conversation.clone(),
                seq: message.seq,
                members_version: *members_version,
                also: changes.iter().map(|change| change.user.clone()).collect(),
                everyone: self.is_freshly_large(&conversation),
            }
        } else {
            let users = self.members.recipients(&conversation, *members_version, message.seq).await?;
            Recipients::Users { users: users.into(), except: None }
        };
        let about = About { conversation: conversation.clone(), head: message.seq, rev: message.rev };
        let frame = match tell {
            Tell::New => ServerFrame::Message(Box::new(message.clone())),
            Tell::Changed => ServerFrame::Event(Event::MessageChanged {
                conversation: conversation.clone(),
                seq: message.seq,
                rev: message.rev,
                message: Box::new(message.clone()),
            }),
            Tell::Poke => resync(&about),
        };
        Ok(Routed { to, frame: Frame::encode(&frame), about: Some(about), key: Some(conversation) })
    }

    fn is_freshly_large(&mut self, conversation: &ConversationId) -> bool {
        if self.large.len() >= REMEMBERED {
            self.large.clear();
        }
        let met = *self.large.entry(conversation.clone()).or_insert_with(Instant::now);
        met.elapsed() < FRESHLY_LARGE
    }
}

fn resync(about: &About) -> ServerFrame {
    ServerFrame::Resync(Resync {
        conversation: Some(about.conversation.clone()),
        head: Some(about.head),
        rev: Some(about.rev),
    })
}

/// Tells users that a conversation left their list.
pub(super) fn removed(removal: &Removal) -> Routed {
    let Removal { conversation, users, reason } = removal;
    let event = Event::ConversationRemoved { conversation: conversation.clone(), reason: *reason };
    Routed {
        to: Recipients::Users { users: users.clone().into(), except: None },
        frame: Frame::encode(&ServerFrame::Event(event)),
        about: Some(About { conversation: conversation.clone(), head: 0, rev: 0 }),
        key: Some(conversation.clone()),
    }
}
