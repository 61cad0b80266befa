//! Whatever is lost, doubled or shuffled on the way, a device ends with exactly the stored sequence.

use std::collections::BTreeMap;

use im_client::changes::supersedes;
use im_client::cursor::{Cursor, Position, Step};
use im_protocol::{Message, Seq};
use proptest::prelude::*;

use crate::model::{Happening, History, Pushed, message};

/// A device: a cursor and what it applied.
struct Device {
    cursor: Cursor,
    kept: BTreeMap<Seq, Message>,
}

impl Device {
    fn new() -> Self {
        Self { cursor: Cursor::new(Position::default()), kept: BTreeMap::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Stale => {}
            Step::Reset => self.kept.clear(),
            Step::Apply { messages, changed } => {
                for message in messages {
                    let newest = self.kept.keys().next_back().copied().unwrap_or(0);
                    assert!(message.seq > newest, "{} was applied after {newest}", message.seq);
                    self.kept.insert(message.seq, message);
                }
                for message in changed {
                    if self.kept.get(&message.seq).is_some_and(|old| supersedes(old, &message)) {
                        self.kept.insert(message.seq, message);
                    }
                }
            }
        }
    }

    fn push(&mut self, pushed: Pushed) {
        let step = match pushed {
            Pushed::Message(message) => self.cursor.push(message),
            Pushed::Change(rev, message) => self.cursor.change(rev, message),
        };
        self.take(step);
    }

    fn pull(&mut self, history: &History, limit: usize) {
        let Position { seq, rev, .. } = self.cursor.position();
        let step = self.cursor.answer(&history.sync(seq, rev, limit));
        self.take(step);
    }

    fn catch_up(&mut self, history: &History, limit: usize) {
        self.cursor.heard(history.head, history.rev);
        for _ in 0..1_000 {
            if !self.cursor.behind() {
                return;
            }
            self.pull(history, limit);
        }
        panic!("the cursor does not catch up: {:?} of {history:?}", self.cursor);
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let happening = prop_oneof![
        5 => Just(Happening::Said),
        1 => Just(Happening::SaidUnseen),
        2 => any::<usize>().prop_map(Happening::Recalled),
    ];
    prop::collection::vec(happening, 1..60)
}

proptest! {
    #[test]
    fn shuffled_doubled_and_dropped_pushes_end_in_the_stored_sequence(
        happenings in happenings(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..120),
        limit in 1..10_usize,
    ) {
        let history = History::of(&happenings);
        let mut device = Device::new();
        for (pick, pull) in picks {
            if pull {
                device.pull(&history, limit);
            } else if !history.pushed.is_empty() {
                device.push(pick.get(&history.pushed).clone());
            }
        }
        device.catch_up(&history, limit);
        prop_assert_eq!(&device.kept, &history.messages);
        prop_assert_eq!(device.cursor.position(), Position { seq: history.head, rev: history.rev, incarnation: 1 });
    }

    #[test]
    fn answers_older_than_the_pushes_that_overtook_them_harm_nothing(
        happenings in happenings(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        limit in 1..10_usize,
    ) {
        let history = History::of(&happenings);
        let mut device = Device::new();
        for cut in cuts {
            // An answer of an earlier time, after pushes of a later one.
            let earlier = History::of(&happenings[..cut.index(happenings.len())]);
            device.pull(&earlier, limit);
            for pushed in history.pushed.iter().skip(earlier.pushed.len()).take(3) {
                device.push(pushed.clone());
            }
        }
        device.catch_up(&history, limit);
        prop_assert_eq!(&device.kept, &history.messages);
    }

    #[test]
    fn what_was_pushed_in_order_needs_no_pull(count in 1..50_u64) {
        let mut device = Device::new();
        for seq in 1..=count {
            device.push(Pushed::Message(message(seq, 0)));
            prop_assert!(!device.cursor.behind());
        }
        prop_assert_eq!(device.kept.len() as u64, count);
    }
}

#[test]
fn a_new_incarnation_voids_what_is_kept_and_an_old_one_is_ignored() {
    let mut device = Device::new();
    device.push(Pushed::Message(message(1, 0)));
    device.push(Pushed::Message(message(2, 0)));
    let mut restored = History::of(&[Happening::Said]);
    restored.incarnation = 2;
    restored.messages.values_mut().for_each(|message| message.incarnation = 2);
    assert_eq!(device.cursor.is_of(2), Step::Reset);
    device.take(Step::Reset);
    device.catch_up(&restored, 10);
    assert_eq!(device.kept, restored.messages);
    assert_eq!(device.cursor.push(message(3, 0)), Step::Stale);
    assert!(!device.cursor.behind());
}

#[test]
fn a_pushed_message_of_a_new_incarnation_is_kept_until_what_is_before_it_was_pulled() {
    let mut device = Device::new();
    device.push(Pushed::Message(message(1, 0)));
    let mut restored = History::of(&[Happening::Said, Happening::Said]);
    restored.incarnation = 2;
    restored.messages.values_mut().for_each(|message| message.incarnation = 2);
    device.push(Pushed::Message(restored.messages[&2].clone()));
    assert!(device.cursor.behind() && device.kept.is_empty());
    device.catch_up(&restored, 10);
    assert_eq!(device.kept, restored.messages);
}

#[test]
fn what_is_not_to_be_had_is_not_asked_for_forever() {
    let mut cursor = Cursor::new(Position::default());
    cursor.heard(9, 2);
    assert!(cursor.behind());
    cursor.settle();
    assert!(!cursor.behind());
    cursor.heard(10, 2);
    assert!(cursor.behind());
}
