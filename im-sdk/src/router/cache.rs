//! Which servers are interested in a large group, remembered for a moment, so that its messages cost no look-up.
//!
//! A server that becomes interested meanwhile is missed for as long as an entry lives: such a server looks at the
//! conversation's head once more after [`INTEREST_CACHE_TTL`]. That covers those whose interest began after the entry
//! was read. One that had not announced then may have had the interest before, so nothing is kept while there is such a
//! server. Rooms have no head to look at and are never kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::{ConversationKind, Epoch, ServerId};
use parking_lot::Mutex;

use crate::registry::{Marker, ServerTable, Topic};

/// How long the servers interested in a large group are remembered.
pub const INTEREST_CACHE_TTL: Duration = Duration::from_secs(2);

/// Groups remembered at most: an entry of a few hundred bytes each.
const HELD: usize = 10_000;

/// The servers interested in a topic, and the marker that was read with them.
pub(super) struct Interested {
    pub(super) marker: Marker,
    pub(super) servers: BTreeMap<ServerId, Epoch>,
}

#[derive(Default)]
pub(super) struct InterestCache(Mutex<HashMap<Topic, (Instant, Arc<Interested>)>>);

impl InterestCache {
    pub(super) fn get(&self, topic: &Topic, now: Instant) -> Option<Arc<Interested>> {
        let held = self.0.lock();
        let (asked, interested) = held.get(topic)?;
        is_fresh(*asked, now).then(|| interested.clone())
    }

    /// Takes in what was asked for at `asked`, under the table known then.
    pub(super) fn put(&self, topic: &Topic, interested: &Arc<Interested>, asked: Instant, table: &ServerTable) {
        let is_group = matches!(topic, Topic::Conversation(id) if id.kind() == ConversationKind::Group);
        if !is_group || table.live().any(|(_, server)| server.announced != Some(interested.marker)) {
            return;
        }
        let mut held = self.0.lock();
        if held.len() >= HELD {
            held.retain(|_, (other, _)| is_fresh(*other, asked));
        }
        if held.len() < HELD {
            held.insert(topic.clone(), (asked, interested.clone()));
        }
    }
}

fn is_fresh(asked: Instant, now: Instant) -> bool {
    now.saturating_duration_since(asked) < INTEREST_CACHE_TTL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Server;

    const MARKER: Marker = Marker(7);

    fn group(n: usize) -> Topic {
        Topic::Conversation(format!("g:{n}").parse().expect("a group"))
    }

    fn table(announced: Option<Marker>) -> ServerTable {
        let mut table = ServerTable::default();
        table.observe(ServerId(0), Server { epoch: Epoch(1), live: true, serving: true, announced });
        table
    }

    fn interested() -> Arc<Interested> {
        Arc::new(Interested { marker: MARKER, servers: BTreeMap::from([(ServerId(0), Epoch(1))]) })
    }

    #[test]
    fn an_entry_is_good_for_its_time_from_when_it_was_asked_for() {
        let (cache, asked) = (InterestCache::default(), Instant::now());
        cache.put(&group(1), &interested(), asked, &table(Some(MARKER)));
        let just_before = asked + INTEREST_CACHE_TTL.saturating_sub(Duration::from_millis(1));
        assert!(cache.get(&group(1), just_before).is_some());
        assert!(cache.get(&group(1), asked + INTEREST_CACHE_TTL).is_none());
    }

    #[test]
    fn nothing_is_kept_while_a_server_may_be_interested_without_having_said_so() {
        let now = Instant::now();
        for announced in [None, Some(Marker(8))] {
            let cache = InterestCache::default();
            cache.put(&group(1), &interested(), now, &table(announced));
            assert!(cache.get(&group(1), now).is_none());
        }
    }

    #[test]
    fn it_stays_bounded_and_makes_room_when_entries_are_over() {
        let (cache, start) = (InterestCache::default(), Instant::now());
        for n in 0..HELD + 5 {
            cache.put(&group(n), &interested(), start, &table(Some(MARKER)));
        }
        assert_eq!(cache.0.lock().len(), HELD);
        let later = start + INTEREST_CACHE_TTL;
        cache.put(&group(HELD + 5), &interested(), later, &table(Some(MARKER)));
        assert!(cache.get(&group(HELD + 5), later).is_some());
    }
}
