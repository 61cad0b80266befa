//! Who came and who went with a change of a group.

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Seq, TimeMs, UserId};

use super::{MemberChange, Removal, Stamp};

/// A coming to a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) conversation: &'a ConversationId,
    /// The first seq that is seen.
    pub(super) seq: Seq,
    pub(super) time: TimeMs,
    pub(super) stamp: Stamp,
}

/// A going from a conversation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure<'a> {
    pub(super) conversation: &'a ConversationId,
    /// The first seq that is not seen any more.
    pub(super) seq: Seq,
    pub(super) time: TimeMs,
    pub(super) stamp: Stamp,
}

/// Someone who went.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    pub(super) user: UserId,
    /// The first seq they saw.
    pub(super) joined: Seq,
}

/// Who came and who went.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) added: Vec<UserId>,
    pub(super) removed: Vec<(Gone, RemovedReason)>,
    pub(super) dissolved: Vec<Gone>,
    /// The group ends.
    pub(super) dissolving: bool,
}

impl Moves {
    pub(super) fn none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.dissolved.is_empty()
    }

    /// How many members there are after them.
    pub(super) fn members(&self, before: u32) -> u32 {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        before.saturating_add(count(self.added.len())).saturating_sub(count(self.removed.len() + self.dissolved.len()))
    }

    /// Whose lists lost the conversation, one entry per reason.
    pub(super) fn removals(&self, conversation: &ConversationId) -> Vec<Removal> {
        let mut removals: Vec<Removal> = Vec::new();
        let removed = self.removed.iter().map(|(gone, reason)| (gone, *reason));
        let dissolved = self.dissolved.iter().map(|gone| (gone, RemovedReason::Dissolved));
        for (gone, reason) in removed.chain(dissolved) {
            if let Some(removal) = removals.iter_mut().find(|removal| removal.reason == reason) {
                removal.users.push(gone.user.clone());
            } else {
                let users = vec![gone.user.clone()];
                removals.push(Removal { conversation: conversation.clone(), users, reason });
            }
        }
        removals
    }

    /// Who comes and goes with the notification `first`.
    pub(super) fn member_changes(&self, conversation: &ConversationId, first: Seq) -> Vec<MemberChange> {
        let change = |user: &UserId, joined, left| MemberChange {
            conversation: conversation.clone(),
            user: user.clone(),
            joined,
            left,
        };
        let went = self.removed.iter().map(|(gone, _)| change(&gone.user, gone.joined, Some(first)));
        let came = self.added.iter().map(|user| change(user, first, None));
        went.chain(came).collect()
    }
}
