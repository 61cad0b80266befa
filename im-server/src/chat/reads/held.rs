//! What this process knows and the database does not yet, and what has to be told.

use std::collections::HashMap;

use im_protocol::{ConversationId, Seq, TimeMs, UserId};
use parking_lot::Mutex;

use crate::store::ReadPosition;

/// Things of each kind held at most; beyond, a hint is forgotten and a read waits for the database.
const HELD: usize = 200_000;

/// What is not in the database yet, and what has to be told.
#[derive(Default)]
pub(in crate::chat) struct Reads(Mutex<Held>);

/// How far devices have received, by conversation and user.
pub(super) type Delivered = HashMap<(ConversationId, UserId), Seq>;

/// Seqs `(from, to]` that someone has newly read, by conversation.
pub(super) type Counts = HashMap<ConversationId, (Seq, Seq)>;

#[derive(Default)]
struct Held {
    /// When users were last seen.
    seen: HashMap<UserId, TimeMs>,
    /// How far users have read.
    reads: HashMap<UserId, HashMap<ConversationId, Seq>>,
    /// How many there are in `reads`.
    count: usize,
    /// Since the last round.
    delivered: Delivered,
    /// Of large groups, since the last round.
    counts: Counts,
}

impl Reads {
    /// What a user has read and the database does not know.
    pub(in crate::chat) fn of(&self, user: &UserId) -> HashMap<ConversationId, Seq> {
        self.0.lock().reads.get(user).cloned().unwrap_or_default()
    }

    /// The same for one conversation.
    pub(super) fn pending(&self, conversation: &ConversationId, user: &UserId) -> Option<Seq> {
        self.0.lock().reads.get(user)?.get(conversation).copied()
    }

    /// A user was seen now. Held like a read: when a server stops, thousands are seen for the last time at once.
    pub(in crate::chat) fn seen(&self, user: &UserId, now: TimeMs) {
        let mut held = self.0.lock();
        if held.seen.len() < HELD {
            held.seen.insert(user.clone(), now);
        }
    }

    /// When a user was last seen, if the database does not know yet.
    pub(in crate::chat) fn last_seen(&self, user: &UserId) -> Option<TimeMs> {
        self.0.lock().seen.get(user).copied()
    }

    /// When users were last seen, as far as the database does not know yet.
    pub(super) fn all_seen(&self) -> Vec<(UserId, TimeMs)> {
        self.0.lock().seen.clone().into_iter().collect()
    }

    /// Forgets what the database has, unless it has moved on meanwhile.
    pub(super) fn seen_is_stored(&self, seen: &[(UserId, TimeMs)]) {
        let mut held = self.0.lock();
        for (user, time) in seen {
            if held.seen.get(user) == Some(time) {
                held.seen.remove(user);
            }
        }
    }

    /// Takes a read in. False if there is no room: the database has to take it at once.
    pub(super) fn read(&self, conversation: &ConversationId, user: &UserId, seq: Seq) -> bool {
        let mut held = self.0.lock();
        let held = &mut *held;
        let known = held.reads.get_mut(user).and_then(|of_user| of_user.get_mut(conversation));
        match known {
            Some(known) => *known = seq.max(*known),
            None if held.count >= HELD => return false,
            None => {
                held.reads.entry(user.clone()).or_default().insert(conversation.clone(), seq);
                held.count += 1;
            }
        }
        true
    }

    /// What has been read and the database does not know.
    pub(super) fn snapshot(&self) -> Vec<ReadPosition> {
        let held = self.0.lock();
        let all = held.reads.iter().flat_map(|(user, positions)| {
            positions.iter().map(|(conversation, &seq)| ReadPosition {
                conversation: conversation.clone(),
                user: user.clone(),
                seq,
            })
        });
        all.collect()
    }

    /// Forgets what the database has, unless it has moved on meanwhile.
    pub(super) fn stored(&self, positions: &[ReadPosition]) {
        let mut held = self.0.lock();
        for position in positions {
            let Some(of_user) = held.reads.get_mut(&position.user) else { continue };
            let same = of_user.get(&position.conversation) == Some(&position.seq);
            if same {
                of_user.remove(&position.conversation);
            }
            if of_user.is_empty() {
                held.reads.remove(&position.user);
            }
            held.count -= usize::from(same);
        }
    }

    /// A device has everything up to a seq.
    pub(super) fn delivered(&self, conversation: &ConversationId, user: &UserId, seq: Seq) {
        let mut held = self.0.lock();
        if held.delivered.len() < HELD {
            let position = held.delivered.entry((conversation.clone(), user.clone())).or_default();
            *position = seq.max(*position);
        }
    }

    /// What has been delivered since the last call.
    pub(super) fn take_delivered(&self) -> Delivered {
        std::mem::take(&mut self.0.lock().delivered)
    }

    /// Someone has newly read what lies in `(from, to]` of a large group.
    pub(super) fn newly_read(&self, conversation: &ConversationId, (from, to): (Seq, Seq)) {
        let mut held = self.0.lock();
        if held.counts.len() < HELD {
            let range = held.counts.entry(conversation.clone()).or_insert((from, to));
            *range = (range.0.min(from), range.1.max(to));
        }
    }

    /// What has been newly read in large groups since the last call.
    pub(super) fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.0.lock().counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(user: &str, seq: Seq) -> ReadPosition {
        ReadPosition {
            conversation: ConversationId::parse("g:1").expect("a group"),
            user: UserId::parse(user).expect("a user"),
            seq,
        }
    }

    #[test]
    fn what_moved_on_while_it_was_stored_is_still_held() {
        let reads = Reads::default();
        let [first, second] = [position("alice", 3), position("alice", 5)];
        assert!(reads.read(&first.conversation, &first.user, first.seq));
        assert!(reads.read(&second.conversation, &second.user, second.seq));
        reads.stored(std::slice::from_ref(&first));
        assert_eq!(reads.snapshot(), std::slice::from_ref(&second));
        reads.stored(&[second]);
        assert!(reads.snapshot().is_empty());
    }

    #[test]
    fn a_full_memory_takes_no_more_reads_until_some_are_stored() {
        let reads = Reads::default();
        for n in 0..HELD {
            let ReadPosition { conversation, user, seq } = position(&format!("user{n}"), 1);
            assert!(reads.read(&conversation, &user, seq));
        }
        let late = position("late", 1);
        assert!(!reads.read(&late.conversation, &late.user, 1));
        let known = position("user7", 2);
        assert!(reads.read(&known.conversation, &known.user, 2), "one that is held can move");
        reads.stored(&[known]);
        assert!(reads.read(&late.conversation, &late.user, 1));
    }
}
