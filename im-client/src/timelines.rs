//! The cursors of all conversations, and when to pull what is missing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use im_protocol::client::SyncItem;
use im_protocol::limits::SYNC_ITEMS;
use im_protocol::{ConversationId, Seq};

use crate::cursor::{Cursor, Position};

/// How long to wait for what is missing to arrive by itself.
const HOLD: Duration = Duration::from_millis(250);
/// Pulls in vain before what was heard of is taken for not to be had. With the doubling that is a minute.
const FRUITLESS: u32 = 8;

/// All conversations of a device.
#[derive(Debug, Default)]
pub(crate) struct Timelines {
    cursors: HashMap<ConversationId, Cursor>,
    waiting: HashMap<ConversationId, Wait>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Instant,
    /// Where the last pull left it, and how often that changed nothing.
    last: Option<Position>,
    fruitless: u32,
}

impl Timelines {
    /// Takes up what an earlier client left.
    pub(crate) fn restore(positions: Vec<(ConversationId, Position)>) -> Self {
        let cursors = positions.into_iter().map(|(id, position)| (id, Cursor::new(position))).collect();
        Self { cursors, waiting: HashMap::new() }
    }

    /// The conversation's cursor; one that is new here begins at `position`.
    pub(crate) fn cursor(&mut self, id: &ConversationId, position: Position) -> &mut Cursor {
        self.cursors.entry(id.clone()).or_insert_with(|| Cursor::new(position))
    }

    /// The conversation's cursor, if it is known.
    pub(crate) fn known(&mut self, id: &ConversationId) -> Option<&mut Cursor> {
        self.cursors.get_mut(id)
    }

    /// Every conversation.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &ConversationId> {
        self.cursors.keys()
    }

    /// Forgets a conversation.
    pub(crate) fn forget(&mut self, id: &ConversationId) {
        self.cursors.remove(id);
        self.waiting.remove(id);
    }

    /// Something arrived: pull what is missing if it does not come by itself, `at_once` if nothing will.
    pub(crate) fn touched(&mut self, id: &ConversationId, now: Instant, at_once: bool) {
        if !self.cursors.get(id).is_some_and(Cursor::behind) {
            self.waiting.remove(id);
            return;
        }
        let hold = if at_once { Duration::ZERO } else { HOLD };
        let wait = self.waiting.entry(id.clone()).or_insert(Wait { until: now + hold, last: None, fruitless: 0 });
        if at_once && wait.fruitless == 0 {
            wait.until = now;
        }
    }

    /// A pull of the conversation was answered, or not.
    pub(crate) fn pulled(&mut self, id: &ConversationId, now: Instant) {
        let Some(cursor) = self.cursors.get_mut(id) else { return };
        let Some(wait) = self.waiting.get_mut(id).filter(|_| cursor.behind()) else {
            self.waiting.remove(id);
            return;
        };
        let position = cursor.position();
        if wait.last.replace(position) != Some(position) {
            wait.fruitless = 0;
            wait.until = now;
            return;
        }
        wait.fruitless += 1;
        wait.until = now + HOLD * (1 << wait.fruitless.min(FRUITLESS));
        if wait.fruitless >= FRUITLESS {
            self.settle(id);
        }
    }

    /// What is missing is not to be had.
    pub(crate) fn settle(&mut self, id: &ConversationId) {
        self.waiting.remove(id);
        if let Some(cursor) = self.cursors.get_mut(id) {
            cursor.settle();
        }
    }

    /// Whether nothing is missing.
    pub(crate) fn complete(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next pull is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|wait| wait.until).min()
    }

    /// What to ask for now, as much as one `sync` takes.
    pub(crate) fn due(&self, now: Instant) -> Vec<SyncItem> {
        let due = self.waiting.iter().filter(|(_, wait)| wait.until <= now).map(|(id, _)| id);
        due.filter_map(|id| Some((id, self.cursors.get(id)?.position())))
            .map(|(id, position)| SyncItem { conversation: id.clone(), after: position.seq, rev: position.rev })
            .take(SYNC_ITEMS)
            .collect()
    }
}

/// Where the cursor of a conversation begins that is new here and has come to `head`: so that the last `history`
/// messages are fetched, and no changes of older ones.
pub(crate) fn beginning(head: Seq, history: u64, known: Position) -> Position {
    Position { seq: head.saturating_sub(history), ..known }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ConversationId {
        "g:1".parse().unwrap()
    }

    fn behind(now: Instant, at_once: bool) -> Timelines {
        let mut timelines = Timelines::default();
        timelines.cursor(&id(), Position::default()).heard(5, 0);
        timelines.touched(&id(), now, at_once);
        timelines
    }

    #[test]
    fn what_is_missing_is_waited_for_before_it_is_pulled() {
        let now = Instant::now();
        let timelines = behind(now, false);
        assert!(timelines.due(now).is_empty());
        assert_eq!(timelines.due(now + HOLD).len(), 1);
    }

    #[test]
    fn what_will_not_come_by_itself_is_pulled_at_once() {
        let now = Instant::now();
        let mut timelines = behind(now, false);
        timelines.touched(&id(), now, true);
        assert_eq!(timelines.due(now).len(), 1);
    }

    #[test]
    fn a_pull_in_vain_is_repeated_ever_more_slowly_and_then_given_up() {
        let start = Instant::now();
        let mut timelines = behind(start, true);
        let mut now = start;
        let mut pulls = 0;
        while let Some(due) = timelines.next_due() {
            now = due;
            timelines.pulled(&id(), now);
            pulls += 1;
            assert!(pulls <= FRUITLESS + 1);
        }
        assert!(now - start > Duration::from_secs(30));
        assert!(timelines.complete() && !timelines.known(&id()).unwrap().behind());
    }

    #[test]
    fn a_new_conversation_begins_with_its_last_messages() {
        let known = Position { seq: 0, rev: 3, incarnation: 1 };
        assert_eq!(beginning(100, 20, known), Position { seq: 80, rev: 3, incarnation: 1 });
        assert_eq!(beginning(7, 20, known).seq, 0);
        assert_eq!(beginning(7, u64::MAX, known).seq, 0);
    }
}
