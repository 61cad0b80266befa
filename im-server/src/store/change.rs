//! What a change of a group comes to: all of it that can be said without the database.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, UserId};

use super::moves::Moves;
use super::tail::{Draft, Tail, notification_body};
use super::{
    Committed, CommittedMessage, GroupEffects, GroupFacts, LargeGroups, NewGroup, OutboxId, OutboxItem, Removal,
};

/// Whether the group ends with these effects.
pub(super) fn dissolves(facts: &GroupFacts, effects: &GroupEffects) -> bool {
    !facts.group.settings.dissolved && effects.settings.as_ref().is_some_and(|settings| settings.dissolved)
}

/// Whether the members are concerned: a join request alone is nothing in the conversation.
pub(super) fn concerns_members(effects: &GroupEffects) -> bool {
    let requests_alone = GroupEffects {
        request: effects.request.clone(),
        close_request: effects.close_request.clone(),
        ..GroupEffects::default()
    };
    *effects != requests_alone
}

/// Who is removed, together with all others for the same reason.
pub(super) fn removed_by_reason(effects: &GroupEffects) -> Vec<(RemovedReason, Vec<UserId>)> {
    [RemovedReason::Left, RemovedReason::Kicked, RemovedReason::Dissolved, RemovedReason::Deleted]
        .into_iter()
        .map(|reason| {
            let removed = effects.remove.iter().filter(|(_, why)| *why == reason);
            (reason, removed.map(|(user, _)| user.clone()).collect::<Vec<_>>())
        })
        .filter(|(_, users)| !users.is_empty())
        .collect()
}

/// A group before a change.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) conversation: ConversationId,
    /// The seq of the first notification of the change.
    pub(super) first: Seq,
    /// Present members.
    pub(super) members: u32,
    pub(super) members_version: u64,
    pub(super) large: bool,
}

impl Before {
    /// What the group is after these moves, of which the drafts tell.
    pub(super) fn after(self, moves: Moves, drafts: Vec<Draft>, sizes: LargeGroups) -> After {
        let members = moves.members(self.members);
        // The last words of a group go the way its messages always went, to the members as they were.
        let (large, members_version) = if moves.dissolving {
            (self.large, self.members_version)
        } else {
            (sizes.is_large(self.large, members), self.members_version + u64::from(!moves.none()))
        };
        let removed = moves.removals(&self.conversation);
        After { before: self, moves, drafts, members, members_version, large, removed }
    }
}

/// A group after a change.
#[derive(Debug)]
pub(super) struct After {
    before: Before,
    pub(super) moves: Moves,
    /// The notifications.
    pub(super) drafts: Vec<Draft>,
    /// Present members.
    pub(super) members: u32,
    /// As the notifications are delivered.
    members_version: u64,
    pub(super) large: bool,
    removed: Vec<Removal>,
}

impl After {
    /// What is to be told.
    pub(super) fn items(&self) -> Vec<OutboxItem> {
        let said = self.drafts.iter().map(|draft| &draft.message);
        let said = said.map(|message| OutboxItem::Message(message.conversation.clone(), message.seq));
        let removed = self.removed.iter().cloned();
        let removed = removed.map(|removal| OutboxItem::Removed(removal.conversation, removal.users, removal.reason));
        said.chain(removed).collect()
    }

    /// What was committed, with the outbox row that remembers it.
    pub(super) fn committed(self, outbox: Option<OutboxId>) -> Committed {
        let Self { before, moves, drafts, members_version, large, removed, .. } = self;
        let said = drafts.into_iter().map(|draft| draft.message);
        let mut messages: Vec<CommittedMessage> =
            said.map(|message| CommittedMessage { message, members_version, large, changes: Vec::new() }).collect();
        if let Some(first) = messages.first_mut()
            && large
            && !moves.dissolving
        {
            first.changes = moves.member_changes(&before.conversation, before.first);
        }
        Committed { outbox, messages, removed, ..Committed::default() }
    }
}

/// A group that is made: the end of its conversation, and what making it comes to.
pub(super) fn founded(new: &NewGroup, sizes: LargeGroups) -> (Tail, After) {
    let conversation = ConversationId::group(&new.group);
    let added = std::iter::once(&new.settings.owner).chain(&new.members).cloned().collect();
    let moves = Moves { added, ..Moves::default() };
    let mut tail = Tail::empty(conversation.clone(), moves.members(0));
    let body = notification_body(&new.notification);
    let draft = tail.append(new.time, &new.notification.actor, &mut 0, None, body);
    let nothing = Before { conversation, first: 1, members: 0, members_version: 0, large: false };
    (tail, nothing.after(moves, vec![draft], sizes))
}

#[cfg(test)]
mod tests {
    use im_protocol::Kind;
    use im_protocol::message::Body;

    use super::super::moves::Gone;
    use super::super::{GroupSettings, JoinMode, NewJoinRequest};
    use super::*;

    const SIZES: LargeGroups = LargeGroups { from: 5, below: 3 };

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn tea() -> ConversationId {
        ConversationId::parse("g:tea").unwrap()
    }

    /// The notifications from 8 on.
    fn drafts(count: usize) -> Vec<Draft> {
        let mut tail = Tail { head: 7, ..Tail::empty(tea(), 4) };
        let body = || Body {
            kind: Kind::Notification,
            content: im_protocol::Content::empty(),
            mentions: Vec::new(),
            mention_all: false,
            reply_to: None,
        };
        (0..count).map(|_| tail.append(1, &user("alice"), &mut 0, None, body())).collect()
    }

    fn after(large: bool, moves: Moves) -> After {
        let before = Before { conversation: tea(), first: 8, members: 4, members_version: 3, large };
        before.after(moves, drafts(2), SIZES)
    }

    fn gone(name: &str) -> Gone {
        Gone { user: user(name), joined: 2 }
    }

    fn settings(dissolved: bool) -> GroupSettings {
        GroupSettings {
            name: "Tea".to_owned(),
            owner: user("alice"),
            announcement: String::new(),
            join: JoinMode::Open,
            muted: false,
            dissolved,
        }
    }

    #[test]
    fn whoever_goes_for_one_reason_goes_together() {
        let remove = [("a", RemovedReason::Kicked), ("b", RemovedReason::Left), ("c", RemovedReason::Kicked)];
        let remove = remove.map(|(name, reason)| (user(name), reason)).to_vec();
        let removed = removed_by_reason(&GroupEffects { remove, ..GroupEffects::default() });
        let kicked = vec![user("a"), user("c")];
        assert_eq!(removed, [(RemovedReason::Left, vec![user("b")]), (RemovedReason::Kicked, kicked)]);
    }

    #[test]
    fn a_join_request_alone_does_not_concern_the_members() {
        let request = NewJoinRequest { id: "1".to_owned(), user: user("eve"), message: String::new() };
        let request =
            GroupEffects { request: Some(request), close_request: Some("0".to_owned()), ..Default::default() };
        assert!(!concerns_members(&request));
        assert!(concerns_members(&GroupEffects { add: vec![user("eve")], ..request }));
    }

    #[test]
    fn a_group_ends_once() {
        let group = |dissolved| super::super::Group {
            group: tea().as_group().unwrap(),
            settings: settings(dissolved),
            members: 4,
        };
        let facts = |over| GroupFacts { group: group(over), actor: None, subjects: Vec::new(), request: None };
        let effects = GroupEffects { settings: Some(settings(true)), ..GroupEffects::default() };
        assert!(dissolves(&facts(false), &effects));
        assert!(!dissolves(&facts(true), &effects), "it is over already");
        assert!(!dissolves(&facts(false), &GroupEffects::default()));
    }

    #[test]
    fn who_comes_and_goes_raises_the_version_once_and_is_told_with_the_first_notification_of_a_large_group() {
        let moves = || Moves {
            added: vec![user("bob"), user("carol")],
            removed: vec![(gone("dave"), RemovedReason::Kicked)],
            ..Moves::default()
        };
        let after = |large| {
            let after = after(large, moves());
            (after.members, after.large, after.committed(None).messages)
        };
        let (members, large, messages) = after(false);
        assert_eq!((members, large), (5, true));
        assert_eq!(messages.iter().map(|it| (it.members_version, it.large)).collect::<Vec<_>>(), [(4, true); 2]);
        let changes: Vec<_> = messages[0].changes.iter().map(|it| (it.user.as_str(), it.joined, it.left)).collect();
        assert_eq!(changes, [("dave", 2, Some(8)), ("bob", 8, None), ("carol", 8, None)]);
        assert!(messages[1].changes.is_empty(), "told once");
    }

    #[test]
    fn a_change_without_comings_and_goings_keeps_the_version() {
        let messages = after(false, Moves::default()).committed(None).messages;
        assert!(messages.iter().all(|it| it.members_version == 3 && !it.large && it.changes.is_empty()));
    }

    #[test]
    fn a_group_that_ends_tells_the_members_as_they_were() {
        let moves = Moves { dissolving: true, dissolved: vec![gone("alice"), gone("bob")], ..Moves::default() };
        let after = after(true, moves);
        assert_eq!((after.members, after.large), (2, true), "too few for a large one, and yet it goes the old way");
        let committed = after.committed(None);
        assert!(committed.messages.iter().all(|it| it.members_version == 3 && it.changes.is_empty()));
        assert_eq!(committed.removed[0].reason, RemovedReason::Dissolved);
    }

    #[test]
    fn notifications_are_told_before_what_leaves_the_lists() {
        let removed = vec![(gone("bob"), RemovedReason::Left)];
        let items = after(false, Moves { removed, ..Moves::default() }).items();
        let bob = OutboxItem::Removed(tea(), vec![user("bob")], RemovedReason::Left);
        assert_eq!(items, [OutboxItem::Message(tea(), 8), OutboxItem::Message(tea(), 9), bob]);
    }
}
