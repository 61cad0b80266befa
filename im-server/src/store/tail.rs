//! Putting messages at the end of a conversation.

use std::collections::BTreeMap;

use im_protocol::message::Body;
use im_protocol::notification::Notification;
use im_protocol::{ClientMessageId, ConversationId, Incarnation, Kind, Message, Rev, Seq, TimeMs, UserId};

/// The end of a conversation, as it grows in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) conversation: ConversationId,
    pub(super) head: Seq,
    pub(super) rev: Rev,
    pub(super) incarnation: Incarnation,
    /// Messages so far that count as unread.
    pub(super) badge_count: u64,
    /// Time of the last message.
    pub(super) last_time: TimeMs,
    /// Present members.
    pub(super) members: u32,
}

/// A message to insert.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) message: Message,
    /// Messages that count as unread, up to and with this one: of the conversation, and of its sender.
    pub(super) badge_count: u64,
    pub(super) own_count: u64,
}

impl Tail {
    /// The end of a conversation that has no message yet.
    pub(super) fn empty(conversation: ConversationId, members: u32) -> Self {
        Self { conversation, head: 0, rev: 0, incarnation: 1, badge_count: 0, last_time: 0, members }
    }

    /// Gives a message the next seq. `own_count` is the sender's count of messages that count as unread.
    pub(super) fn append(
        &mut self,
        now: TimeMs,
        sender: &UserId,
        own_count: &mut u64,
        client_message_id: Option<ClientMessageId>,
        body: Body,
    ) -> Draft {
        let badge = u64::from(body.kind.badges());
        self.head += 1;
        self.last_time = self.last_time.max(now);
        self.badge_count += badge;
        *own_count += badge;
        Draft {
            message: Message {
                conversation: self.conversation.clone(),
                seq: self.head,
                rev: self.rev,
                incarnation: self.incarnation,
                sender: sender.clone(),
                client_message_id,
                time: self.last_time,
                kind: body.kind,
                content: body.content,
                mentions: body.mentions,
                mention_all: body.mention_all,
                reply_to: body.reply_to,
                forwarded_from: None,
                recalled: false,
                edited: None,
                reactions: BTreeMap::new(),
            },
            badge_count: self.badge_count,
            own_count: *own_count,
        }
    }
}

/// What a notification says, as a message.
pub(super) fn notification_body(notification: &Notification) -> Body {
    Body {
        kind: Kind::Notification,
        content: notification.content(),
        mentions: Vec::new(),
        mention_all: false,
        reply_to: None,
    }
}
