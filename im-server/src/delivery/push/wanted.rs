//! Which commits and which goodbyes leave push work.

use im_protocol::{ConversationKind, Terminal, TimeMs, UserId};

use crate::store::{CommittedMessage, NewWork, PushItem};

/// What leaves push work, and when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So long after the commit: milliseconds. Who reads a message on another device meanwhile is left in peace.
    pub delay_ms: TimeMs,
    /// In large groups only those who are mentioned.
    pub large_mentions_only: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { delay_ms: 5_000, large_mentions_only: true }
    }
}

impl Wanted {
    /// The work of a new message; `None` if nobody can want a push of it.
    pub fn message(self, committed: &CommittedMessage) -> Option<NewWork> {
        let CommittedMessage { message, large, .. } = committed;
        let told = message.conversation.kind() != ConversationKind::Room && message.kind.badges() && !message.recalled;
        let quiet = *large && self.large_mentions_only && !message.mention_all && message.mentions.is_empty();
        (told && !quiet).then(|| NewWork {
            item: PushItem::Message(message.conversation.clone(), message.seq),
            time: message.time,
            due: message.time + self.delay_ms,
        })
    }

    /// The work of a connection that ended with pushes since `since` that may not have arrived.
    pub fn goodbye(self, user: UserId, terminal: Terminal, since: TimeMs, now: TimeMs) -> NewWork {
        NewWork { item: PushItem::User(user, Some(terminal)), time: since, due: now + self.delay_ms }
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::{Content, ConversationId, Kind, Message};

    use super::*;

    fn message(conversation: &str, large: bool, change: impl FnOnce(&mut Message)) -> CommittedMessage {
        let mut message = Message {
            conversation: ConversationId::parse(conversation).unwrap(),
            seq: 7,
            rev: 0,
            incarnation: 1,
            sender: UserId::parse("alice").unwrap(),
            client_message_id: None,
            time: 1_000,
            kind: Kind::Text,
            content: Content::text("hi"),
            mentions: Vec::new(),
            mention_all: false,
            reply_to: None,
            forwarded_from: None,
            recalled: false,
            edited: None,
            reactions: std::collections::BTreeMap::new(),
        };
        change(&mut message);
        CommittedMessage { message, members_version: 1, large, changes: Vec::new() }
    }

    fn is_wanted(large_mentions_only: bool, committed: &CommittedMessage) -> bool {
        Wanted { delay_ms: 5_000, large_mentions_only }.message(committed).is_some()
    }

    #[test]
    fn work_is_due_a_while_after_the_commit() {
        let work = Wanted { delay_ms: 5_000, large_mentions_only: true }.message(&message("g:tea", false, |_| {}));
        let item = PushItem::Message(ConversationId::parse("g:tea").unwrap(), 7);
        assert_eq!(work, Some(NewWork { item, time: 1_000, due: 6_000 }));
    }

    #[test]
    fn rooms_notifications_and_what_was_recalled_leave_no_work() {
        assert!(is_wanted(true, &message("d:alice:bob", false, |_| {})));
        assert!(!is_wanted(true, &message("r:lobby", false, |_| {})));
        assert!(!is_wanted(true, &message("g:tea", false, |message| message.kind = Kind::Notification)));
        assert!(!is_wanted(true, &message("g:tea", false, |message| message.recalled = true)));
    }

    #[test]
    fn large_groups_push_mentions_only_unless_told_otherwise() {
        let bob = UserId::parse("bob").unwrap();
        let plain = message("g:tea", true, |_| {});
        assert!(!is_wanted(true, &plain));
        assert!(is_wanted(false, &plain));
        assert!(is_wanted(true, &message("g:tea", true, |message| message.mentions = vec![bob])));
        assert!(is_wanted(true, &message("g:tea", true, |message| message.mention_all = true)));
    }
}
