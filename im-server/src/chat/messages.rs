//! Reading messages, with explicit gaps and what changed, and taking them back.

use im_protocol::limits::{ANSWER_BYTES, LIST_MAX, ROOM_HISTORY};
use im_protocol::server::Messages;
use im_protocol::{ConversationId, ConversationKind, ErrorCode, Kind, Message, Rev, Seq, TimeMs, UserId, WireError};

use super::gaps::gaps;
use super::views::{no_such_conversation, not_a_member};
use super::{Chat, Inside, Result, now_ms};
use crate::store::{Access, Page, Reader, RecallFacts, Recalled, Role, Slice, Stint};

/// Which messages someone asks for. Neither `before` nor `after`: the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagesQuery {
    /// The last ones before this seq.
    pub before: Option<Seq>,
    /// The first ones after this seq.
    pub after: Option<Seq>,
    /// With `after`: what changed since this rev as well.
    pub rev: Option<Rev>,
    /// Messages at most.
    pub limit: u32,
}

impl Chat {
    /// A stretch of a conversation, for someone who has no connection to speak of.
    pub async fn messages(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        query: MessagesQuery,
    ) -> Result<Messages> {
        let inside = match conversation.kind() {
            ConversationKind::Room => self.inside_anywhere(conversation, user).await?,
            _ => Inside::No,
        };
        self.messages_for(user, conversation, query, inside).await
    }

    /// A stretch of a conversation.
    pub async fn messages_for(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        query: MessagesQuery,
        inside: Inside,
    ) -> Result<Messages> {
        if query.before.is_some() && query.after.is_some() {
            return Err(WireError::invalid_field("before", "give before or after, not both"));
        }
        let access = self.access(user, conversation, inside).await?;
        let slice = match (query.after, query.before) {
            (Some(after), _) => Slice::After(after),
            (None, Some(before)) => Slice::Before(before),
            (None, None) => Slice::Newest,
        };
        let page = self.store.page(conversation, &access.visible(), slice, query.limit, ANSWER_BYTES).await?;
        let (changed, rev) = match query.after {
            None => (Vec::new(), access.rev),
            Some(after) => {
                let budget = ANSWER_BYTES.saturating_sub(page.messages.iter().map(bytes).sum());
                self.changes(conversation, &access, after, query.rev.unwrap_or(0), budget).await?
            }
        };
        let head = access.visible_head();
        let (first, last) = range(slice, &page, head);
        Ok(Messages {
            id: None,
            conversation: conversation.clone(),
            incarnation: access.incarnation,
            head,
            rev,
            gaps: gaps(&access.stints, first, last),
            more: page.more || (query.after.is_some() && rev < access.rev),
            messages: page.messages,
            changed,
            last: false,
        })
    }

    /// What changed after a rev among what the client has, and the rev it then has.
    async fn changes(
        &self,
        conversation: &ConversationId,
        access: &Access,
        after: Seq,
        rev: Rev,
        budget: usize,
    ) -> Result<(Vec<Message>, Rev)> {
        if rev >= access.rev {
            return Ok((Vec::new(), access.rev));
        }
        let (mut changed, more) = self.store.changed(conversation, &access.visible(), after, rev, LIST_MAX).await?;
        let mut used = 0;
        let fits = changed.iter().take_while(|message| {
            used += bytes(message);
            used <= budget
        });
        let fits = fits.count();
        if fits == changed.len() && !more {
            return Ok((changed, access.rev));
        }
        // With nothing else in the answer one goes out, however large.
        changed.truncate(if budget == ANSWER_BYTES { fits.max(1) } else { fits });
        let reached = changed.last().map_or(rev, |message| message.rev);
        Ok((changed, reached))
    }

    /// What a user may see of a conversation; an error for a stranger.
    pub(super) async fn access(&self, user: &UserId, conversation: &ConversationId, inside: Inside) -> Result<Access> {
        let mut access = self.store.access(user, conversation).await?.ok_or_else(no_such_conversation)?;
        if conversation.kind() == ConversationKind::Room {
            if inside == Inside::No {
                return Err(WireError::new(ErrorCode::NotAMember, "you are not inside this room: join it first"));
            }
            let joined = access.head.saturating_sub(ROOM_HISTORY - 1).max(1);
            access.stints = vec![Stint { joined, left: None }];
        }
        if access.stints.is_empty() { Err(not_a_member()) } else { Ok(access) }
    }

    /// Who has read a message: present members but its sender, by user id.
    pub async fn readers(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        seq: Seq,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<(Vec<Reader>, bool)> {
        let access = self.access(user, conversation, Inside::No).await?;
        if !access.is_member() {
            return Err(not_a_member());
        }
        let page =
            self.store.page(conversation, &access.visible(), Slice::After(seq.max(1) - 1), 1, ANSWER_BYTES).await?;
        let Some(message) = page.messages.first().filter(|message| message.seq == seq) else {
            return Err(no_such_message());
        };
        self.flush_reads().await?;
        let stored = self.store.readers(conversation, seq, &message.sender, after, limit + 1).await?;
        let mut readers = self.with_fresh_readers(stored, &access, conversation, seq, &message.sender, after).await?;
        let more = readers.len() > limit as usize;
        readers.truncate(limit as usize);
        Ok((readers, more))
    }

    /// Takes a message back: it keeps its seq and loses its content.
    pub async fn recall(&self, user: &UserId, conversation: &ConversationId, seq: Seq) -> Result<()> {
        let now = now_ms();
        let within = self.settings.recall_within;
        let decide = |facts: &RecallFacts| may_recall(facts, user, conversation.kind(), within, now);
        match self.store.recall(conversation, seq, user, now, &decide).await? {
            Recalled::NotFound => match self.store.access(user, conversation).await? {
                Some(access) if access.stints.is_empty() && conversation.kind() != ConversationKind::Room => {
                    Err(not_a_member())
                }
                Some(_) => Err(no_such_message()),
                None => Err(no_such_conversation()),
            },
            Recalled::Refused(error) => Err(error),
            Recalled::Already => Ok(()),
            Recalled::Done(committed) => {
                self.publish.committed(committed);
                Ok(())
            }
        }
    }
}

/// May this person take this message back?
fn may_recall(
    facts: &RecallFacts,
    user: &UserId,
    kind: ConversationKind,
    within: Option<TimeMs>,
    now: TimeMs,
) -> Result<()> {
    let RecallFacts { message, role, stints, dissolved } = facts;
    if kind != ConversationKind::Room {
        if stints.last().is_none_or(|stint| stint.left.is_some()) {
            return Err(not_a_member());
        }
        if !stints.iter().any(|stint| stint.covers(message.seq)) {
            return Err(no_such_message());
        }
    }
    if *dissolved {
        return Err(WireError::new(ErrorCode::GroupDissolved, "the group was dissolved"));
    }
    if message.kind == Kind::Notification {
        return Err(WireError::new(ErrorCode::Forbidden, "notifications cannot be recalled"));
    }
    if role.is_some_and(|role| role >= Role::Admin) {
        return Ok(());
    }
    if message.sender != *user {
        return Err(WireError::new(ErrorCode::Forbidden, "only the sender, the owner and admins may recall a message"));
    }
    match within {
        Some(within) if now - message.time > within => Err(WireError::new(
            ErrorCode::Forbidden,
            format!("a message may be recalled within {} s; ask the owner or an admin", within / 1000),
        )),
        _ => Ok(()),
    }
}

fn no_such_message() -> WireError {
    WireError::new(ErrorCode::NotFound, "there is no such message")
}

/// About what a message takes in an answer.
fn bytes(message: &Message) -> usize {
    message.content.as_str().len() + 400
}

/// The seqs, both included, that a page speaks of. Empty where `first > last`.
fn range(slice: Slice, page: &Page, head: Seq) -> (Seq, Seq) {
    let first_seq = page.messages.first().map(|message| message.seq);
    let last_seq = page.messages.last().map(|message| message.seq);
    match slice {
        Slice::After(after) => (after.saturating_add(1), if page.more { last_seq.unwrap_or(after) } else { head }),
        Slice::Before(_) | Slice::Newest => {
            let first = if page.more { first_seq.unwrap_or(1) } else { 1 };
            let last = match slice {
                Slice::Before(before) => before.saturating_sub(1).min(head),
                _ => head,
            };
            (first, last)
        }
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::Content;

    use super::*;

    fn facts(sender: &str, time: TimeMs, role: Option<Role>) -> RecallFacts {
        RecallFacts {
            message: Message {
                conversation: ConversationId::parse("g:a").unwrap(),
                seq: 5,
                rev: 0,
                incarnation: 1,
                sender: UserId::parse(sender).unwrap(),
                client_message_id: None,
                time,
                kind: Kind::Text,
                content: Content::text("x"),
                mentions: vec![],
                mention_all: false,
                reply_to: None,
                forwarded_from: None,
                recalled: false,
                edited: None,
                reactions: std::collections::BTreeMap::default(),
            },
            role,
            stints: vec![Stint::ALWAYS],
            dissolved: false,
        }
    }

    fn code(facts: &RecallFacts) -> Option<ErrorCode> {
        let alice = UserId::parse("alice").unwrap();
        may_recall(facts, &alice, ConversationKind::Group, Some(1_000), 5_000).err().map(|error| error.code)
    }

    #[test]
    fn the_sender_may_recall_within_the_time_and_managers_always() {
        assert_eq!(code(&facts("alice", 4_500, Some(Role::Member))), None);
        assert_eq!(code(&facts("alice", 3_000, Some(Role::Member))), Some(ErrorCode::Forbidden));
        assert_eq!(code(&facts("bob", 4_500, Some(Role::Member))), Some(ErrorCode::Forbidden));
        assert_eq!(code(&facts("bob", 0, Some(Role::Admin))), None);
    }

    #[test]
    fn nobody_recalls_what_they_may_not_see() {
        let mut gone = facts("alice", 4_500, None);
        gone.stints = vec![Stint { joined: 1, left: Some(9) }];
        assert_eq!(code(&gone), Some(ErrorCode::NotAMember));
        let mut before = facts("alice", 4_500, Some(Role::Owner));
        before.stints = vec![Stint { joined: 6, left: None }];
        assert_eq!(code(&before), Some(ErrorCode::NotFound));
    }
}
