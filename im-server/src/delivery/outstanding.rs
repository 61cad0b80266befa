//! The outbox rows that this process has in its hands, and what is left to write when they are done with. Bounded: what
//! does not fit stays in the outbox, where the sweep finds it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::{NewWork, OutboxId, PushItem};

/// Bytes of commits that may wait for the bus.
const WAITING: usize = 64 * 1024 * 1024;

/// Rows on the bus that may wait to be forgotten; one that does not fit is published once more by the sweep.
const ACKED: usize = 100_000;

/// Rows forgotten in one statement.
const FORGET: usize = 1_000;

/// Pieces of push work stored in one statement.
const WORK: usize = 5_000;

/// Goodbyes that wait for the database; beyond, whoever is not told by push sees the message on coming back.
const GOODBYES: usize = 50_000;

/// What is outstanding.
#[derive(Default)]
pub(super) struct Outstanding(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// To be published, in the order of the commits.
    held: BTreeMap<OutboxId, Held>,
    /// What they take.
    bytes: usize,
    /// On the bus, to be forgotten, each with the push work it leaves.
    acked: BTreeMap<OutboxId, Vec<NewWork>>,
    /// Push work of connections that ended.
    goodbyes: Vec<NewWork>,
    /// Since when the oldest row waits that the sweep saw and could not publish.
    left: Option<Instant>,
}

struct Held {
    since: Instant,
    bytes: usize,
}

impl Outstanding {
    /// Takes a row in hand that was committed just now. False if there is no room.
    pub(super) fn hold(&self, id: OutboxId, bytes: usize, now: Instant) -> bool {
        let mut inner = self.0.lock();
        if inner.bytes + bytes > WAITING && inner.bytes > 0 {
            return false;
        }
        inner.bytes += bytes;
        let before = inner.held.insert(id, Held { since: now, bytes });
        inner.bytes -= before.map_or(0, |before| before.bytes);
        true
    }

    /// Leaves a row to the outbox.
    pub(super) fn let_go(&self, id: OutboxId) {
        let mut inner = self.0.lock();
        inner.bytes -= inner.held.remove(&id).map_or(0, |held| held.bytes);
    }

    /// The bus has every record of a row.
    pub(super) fn acked(&self, id: OutboxId, work: Vec<NewWork>) {
        self.let_go(id);
        let mut inner = self.0.lock();
        if inner.acked.len() < ACKED {
            inner.acked.insert(id, work);
        }
    }

    /// Push work that belongs to no row.
    pub(super) fn goodbye(&self, work: NewWork) {
        let mut inner = self.0.lock();
        if inner.goodbyes.len() < GOODBYES {
            inner.goodbyes.push(work);
        }
    }

    /// Whether a row is in hand.
    pub(super) fn knows(&self, id: OutboxId) -> bool {
        let inner = self.0.lock();
        inner.held.contains_key(&id) || inner.acked.contains_key(&id)
    }

    /// Whether nothing is left to publish.
    pub(super) fn is_published(&self) -> bool {
        self.0.lock().held.is_empty()
    }

    /// What can be forgotten and stored in one statement each.
    pub(super) fn done(&self) -> (Vec<OutboxId>, Vec<NewWork>) {
        let inner = self.0.lock();
        let mut ids = Vec::new();
        let mut work: Vec<NewWork> = inner.goodbyes.iter().take(FORGET).cloned().collect();
        for (id, left) in &inner.acked {
            if ids.len() >= FORGET || !ids.is_empty() && work.len() + left.len() > WORK {
                break;
            }
            ids.push(*id);
            work.extend_from_slice(left);
        }
        (ids, work)
    }

    /// These are forgotten and stored. By what they are: another call may have come first.
    pub(super) fn settled(&self, ids: &[OutboxId], work: Vec<NewWork>) {
        let stored: HashSet<PushItem> = work.into_iter().map(|work| work.item).collect();
        let mut inner = self.0.lock();
        for id in ids {
            inner.acked.remove(id);
        }
        inner.goodbyes.retain(|work| !stored.contains(&work.item));
    }

    /// What the sweep could not publish waits since then; `None` if it left nothing.
    pub(super) fn sweep_left(&self, since: Option<Instant>) {
        self.0.lock().left = since;
    }

    /// How long the oldest row waits that is not on the bus.
    pub(super) fn lag(&self, now: Instant) -> Duration {
        let inner = self.0.lock();
        let oldest = inner.held.first_key_value().map(|(_, held)| held.since).into_iter().chain(inner.left).min();
        oldest.map_or(Duration::ZERO, |since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::{ConversationId, Seq};

    use super::*;

    fn work(seq: Seq) -> NewWork {
        let item = PushItem::Message(ConversationId::parse("g:tea").unwrap(), seq);
        NewWork { item, time: 0, due: 0 }
    }

    #[test]
    fn what_waits_for_the_bus_is_bounded_in_bytes() {
        let outstanding = Outstanding::default();
        assert!(outstanding.hold(OutboxId(1), WAITING - 1, Instant::now()));
        assert!(outstanding.hold(OutboxId(2), 1, Instant::now()));
        assert!(!outstanding.hold(OutboxId(3), 1, Instant::now()), "full");
        outstanding.let_go(OutboxId(3));
        assert!(!outstanding.hold(OutboxId(3), 1, Instant::now()), "letting go of what is not held frees nothing");
        outstanding.let_go(OutboxId(2));
        assert!(outstanding.hold(OutboxId(3), 1, Instant::now()));
        outstanding.acked(OutboxId(1), Vec::new());
        assert!(outstanding.hold(OutboxId(4), WAITING - 1, Instant::now()));
        assert!(Outstanding::default().hold(OutboxId(1), 2 * WAITING, Instant::now()), "one alone is never too large");
    }

    #[test]
    fn what_is_acked_is_bounded_too() {
        let outstanding = Outstanding::default();
        for id in 0..=i64::try_from(ACKED).unwrap() {
            outstanding.acked(OutboxId(id), Vec::new());
        }
        assert!(outstanding.knows(OutboxId(0)));
        assert!(!outstanding.knows(OutboxId(i64::try_from(ACKED).unwrap())), "the sweep publishes it once more");
    }

    #[test]
    fn a_row_is_known_until_it_is_forgotten() {
        let outstanding = Outstanding::default();
        assert!(outstanding.hold(OutboxId(1), 1, Instant::now()));
        assert!(outstanding.knows(OutboxId(1)) && !outstanding.is_published());
        outstanding.acked(OutboxId(1), vec![work(7)]);
        assert!(outstanding.knows(OutboxId(1)) && outstanding.is_published());
        let (ids, stored) = outstanding.done();
        assert_eq!((&ids[..], &stored[..]), (&[OutboxId(1)][..], &[work(7)][..]));
        assert_eq!(outstanding.done().0, ids, "asked again until it is settled");
        outstanding.settled(&ids, stored);
        assert!(!outstanding.knows(OutboxId(1)));
        assert_eq!(outstanding.done(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_row_that_is_not_on_the_bus() {
        let outstanding = Outstanding::default();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(outstanding.lag(start), Duration::ZERO);
        outstanding.hold(OutboxId(1), 1, start);
        outstanding.hold(OutboxId(2), 1, start + second);
        assert_eq!(outstanding.lag(start + 3 * second), 3 * second);
        outstanding.acked(OutboxId(1), Vec::new());
        assert_eq!(outstanding.lag(start + 3 * second), 2 * second);
        outstanding.sweep_left(Some(start));
        assert_eq!(outstanding.lag(start + 3 * second), 3 * second);
    }
}
