//! What was committed, as frames for those concerned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use im_protocol::record::About;
use im_protocol::server::{Event, Resync};
use im_protocol::{ConversationId, ConversationKind, Frame, Seq, ServerFrame, UserId};
use im_sdk::router::{Recipients, Routed};
use tokio::time::Instant;

use super::members::Members;
use crate::store::{Committed, CommittedMessage, MemberList, Removal, Result};

/// For so long after a group may have become large its records go to every live server: by then every server has the
/// members it holds in its index and has said so.
const FRESHLY_LARGE: Duration = Duration::from_secs(30);

/// Large groups that are remembered at most; when there are more, all are met anew.
const REMEMBERED: usize = 10_000;

/// Turns commits into pushes.
pub(super) struct Frames {
    members: Arc<Members>,
    large: HashMap<ConversationId, Large>,
}

impl Frames {
    pub(super) fn new(members: Arc<Members>) -> Self {
        Self { members, large: HashMap::new() }
    }

    /// Everything a transaction has to tell, in order.
    pub(super) async fn of(&mut self, committed: &Committed) -> Result<Vec<Routed>> {
        let mut routed =
            Vec::with_capacity(committed.messages.len() + committed.changed.len() + committed.removed.len());
        for message in &committed.messages {
            routed.push(self.message(message, false).await?);
        }
        for (at, trace) in &committed.traces {
            routed[*at].trace = Some(trace.clone());
        }
        for message in &committed.changed {
            routed.push(self.message(message, true).await?);
        }
        routed.extend(committed.removed.iter().map(removed));
        Ok(routed)
    }

    /// One message, new or `changed`, for those whose stint covers it.
    pub(super) async fn message(&mut self, committed: &CommittedMessage, changed: bool) -> Result<Routed> {
        let message = &committed.message;
        let conversation = message.conversation.clone();
        let also = || committed.changes.iter().map(|change| change.user.clone()).collect();
        let to = if let Some(to) = self.audience(committed, also) {
            to
        } else {
            let recipients = self.members.recipients(&conversation, committed.members_version, message.seq);
            Recipients::Users { users: recipients.await?.into(), except: None }
        };
        let frame = if changed {
            ServerFrame::Event(Event::MessageChanged {
                conversation: conversation.clone(),
                seq: message.seq,
                rev: message.rev,
                message: Box::new(message.clone()),
            })
        } else {
            ServerFrame::Message(Box::new(message.clone()))
        };
        let about = About { conversation: conversation.clone(), head: message.seq, rev: message.rev };
        Ok(Routed { to, frame: Frame::encode(&frame), about: Some(about), key: Some(conversation), trace: None })
    }

    /// Hints to pull a conversation, by its `newest` message, for everyone who may see any of the messages from `oldest`
    /// on: also for those who have left in between, as far as they may see.
    pub(super) async fn pokes(&mut self, newest: &CommittedMessage, oldest: Seq) -> Result<Vec<Routed>> {
        let (conversation, head) = (&newest.message.conversation, newest.message.seq);
        let rev = newest.message.rev;
        let mut pokes = Vec::new();
        let list = if matches!(conversation.kind(), ConversationKind::Room | ConversationKind::Direct) {
            None
        } else {
            self.members.load(conversation, oldest).await?
        };
        let mut seeing = list.map(|list| heads(&list, oldest, head)).unwrap_or_default();
        let whole = match self.audience(newest, Vec::new) {
            Some(to) => {
                seeing.remove(&head);
                Some(to)
            }
            None if conversation.kind() == ConversationKind::Direct => {
                let users = self.members.recipients(conversation, newest.members_version, head).await?;
                Some(Recipients::Users { users: users.into(), except: None })
            }
            None => None,
        };
        pokes.extend(whole.map(|to| poke(to, conversation, head, rev)));
        pokes.extend(seeing.into_iter().map(|(head, users)| {
            poke(Recipients::Users { users: users.into(), except: None }, conversation, head, rev)
        }));
        Ok(pokes)
    }

    /// Who gets a message where its recipients are not named one by one.
    fn audience(&mut self, committed: &CommittedMessage, also: impl FnOnce() -> Vec<UserId>) -> Option<Recipients> {
        let CommittedMessage { message, members_version, large, .. } = committed;
        let conversation = &message.conversation;
        if conversation.kind() == ConversationKind::Room {
            return Some(Recipients::Room(conversation.clone()));
        }
        if !large {
            self.large.remove(conversation);
            return None;
        }
        Some(Recipients::Members {
            conversation: conversation.clone(),
            seq: message.seq,
            members_version: *members_version,
            also: also(),
            everyone: self.is_freshly_large(conversation, *members_version),
        })
    }

    fn is_freshly_large(&mut self, conversation: &ConversationId, version: u64) -> bool {
        if self.large.len() >= REMEMBERED {
            self.large.clear();
        }
        let now = Instant::now();
        let large = self.large.entry(conversation.clone()).or_insert(Large { version, since: now });
        large.meet(version, now);
        now.duration_since(large.since) < FRESHLY_LARGE
    }
}

/// A large group as this process has met it. Others commit to it too, so what it was in between is known by its
/// `members_version` only: to shrink and to grow large again takes at least two changes of the membership. Whoever has
/// seen every version has seen the group large all along; whoever has missed one cannot know.
#[derive(Clone, Copy, Debug)]
struct Large {
    version: u64,
    /// Since when it has been large for certain.
    since: Instant,
}

impl Large {
    fn meet(&mut self, version: u64, now: Instant) {
        if version > self.version + 1 {
            self.since = now;
        }
        self.version = version.max(self.version);
    }
}

/// Those who may see any of the messages from `oldest` to `newest`, by the last one they may see.
fn heads(list: &MemberList, oldest: Seq, newest: Seq) -> BTreeMap<Seq, Vec<UserId>> {
    let mut last: BTreeMap<&UserId, Seq> = BTreeMap::new();
    for (user, stint) in &list.members {
        let head = stint.left.map_or(newest, |left| newest.min(left - 1));
        if head >= oldest.max(stint.joined) {
            let known = last.entry(user).or_default();
            *known = head.max(*known);
        }
    }
    let mut heads: BTreeMap<Seq, Vec<UserId>> = BTreeMap::new();
    for (user, head) in last {
        heads.entry(head).or_default().push(user.clone());
    }
    heads
}

fn poke(to: Recipients, conversation: &ConversationId, head: Seq, rev: im_protocol::Rev) -> Routed {
    let resync = Resync { conversation: Some(conversation.clone()), head: Some(head), rev: Some(rev) };
    Routed {
        to,
        frame: Frame::encode(&ServerFrame::Resync(resync)),
        about: Some(About { conversation: conversation.clone(), head, rev }),
        key: Some(conversation.clone()),
        trace: None,
    }
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
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stint;

    #[test]
    fn who_has_seen_every_version_knows_that_a_group_was_large_all_along() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut large = Large { version: 7, since: start };
        large.meet(8, later(40));
        large.meet(9, later(50));
        large.meet(8, later(51));
        assert_eq!(large.since, start);
        large.meet(11, later(60));
        assert_eq!(large.since, later(60), "it may have been small for a moment, and others may have come meanwhile");
    }

    #[test]
    fn a_hint_for_who_has_left_ends_where_the_stay_ended() {
        let user = |name: &str| UserId::parse(name).unwrap();
        let stint = |joined, left| Stint { joined, left };
        let members = vec![
            (user("here"), stint(1, None)),
            (user("came"), stint(6, None)),
            (user("left"), stint(1, Some(6))),
            (user("gone"), stint(1, Some(4))),
            (user("back"), stint(1, Some(5))),
            (user("back"), stint(8, None)),
            (user("later"), stint(9, None)),
        ];
        let list = MemberList { version: 1, members };
        let expected = [(5, vec![user("left")]), (8, vec![user("back"), user("came"), user("here")])];
        assert_eq!(heads(&list, 4, 8), BTreeMap::from(expected));
    }
}
