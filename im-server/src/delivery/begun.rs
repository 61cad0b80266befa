//! One more look at the large groups that this server has just become interested in.
//!
//! Other servers route for [`INTEREST_CACHE_TTL`] by what they remember, and do not send here what they do not know to be
//! wanted. By the end of that time all of it is committed, so the group's head tells the members here what there is to
//! pull; who has it already does nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use im_protocol::record::{Audience, Push};
use im_protocol::server::Resync;
use im_protocol::{ConversationId, Frame, ServerFrame};
use im_sdk::router::INTEREST_CACHE_TTL;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::hub::{Begun, Hub};
use crate::store::{self, Store};

/// Between attempts while the database is out of reach.
const RETRY: Duration = Duration::from_millis(500);

/// Looks until the hub's task ends.
pub async fn look_again(hub: Arc<Hub>, store: Arc<dyn Store>, mut begun: Begun) {
    let mut waiting = Waiting::default();
    // One at a time, and beside the loop: whoever says that a group begins must not wait for the database.
    let mut looking = JoinSet::new();
    loop {
        tokio::select! {
            group = begun.recv() => match group {
                Some((since, group)) => waiting.add(group, since + INTEREST_CACHE_TTL),
                None => return,
            },
            () = waiting.due(), if looking.is_empty() => {
                let Some(group) = waiting.next(Instant::now()) else { continue };
                let (hub, store) = (hub.clone(), store.clone());
                looking.spawn(async move { (tell_head(&hub, &*store, &group).await, group) });
            }
            Some(looked) = looking.join_next() => match looked {
                Ok((Ok(()), _)) => {}
                Ok((Err(error), group)) => {
                    tracing::warn!(%error, %group, "the head of a group could not be read; trying again");
                    waiting.add(group, Instant::now() + RETRY);
                }
                Err(error) => tracing::error!(%error, "looking at the head of a group broke"),
            }
        }
    }
}

/// Tells the members that are connected here how far their group is.
async fn tell_head(hub: &Hub, store: &dyn Store, group: &ConversationId) -> store::Result<()> {
    // Gone meanwhile: the next one to come begins anew.
    let Some(member) = hub.a_member(group) else { return Ok(()) };
    let Some(access) = store.access(&member, group).await? else { return Ok(()) };
    let resync = Resync { conversation: Some(group.clone()), head: Some(access.head), rev: Some(access.rev) };
    let audience =
        Audience::Members { conversation: group.clone(), seq: access.head, members_version: access.members_version };
    let push = Push { audience, frame: Frame::encode(&ServerFrame::Resync(resync)), about: None };
    let mut touched = Vec::new();
    hub.push(&push, &mut touched);
    for connection in touched {
        connection.sink.flush();
    }
    Ok(())
}

/// Groups and when to look at them: each once, however often its interest begins.
#[derive(Default)]
struct Waiting {
    order: VecDeque<(Instant, ConversationId)>,
    /// The latest time asked for.
    until: HashMap<ConversationId, Instant>,
}

impl Waiting {
    fn add(&mut self, group: ConversationId, until: Instant) {
        if self.until.insert(group.clone(), until).is_none() {
            self.order.push_back((until, group));
        }
    }

    /// Waits until the first is due, for ever when there is none.
    async fn due(&self) {
        match self.order.front() {
            Some((until, _)) => sleep_until(*until).await,
            None => std::future::pending().await,
        }
    }

    /// One that is due.
    fn next(&mut self, now: Instant) -> Option<ConversationId> {
        let (_, group) = self.order.pop_front()?;
        let until = self.until.get(&group).copied()?;
        if until > now {
            self.order.push_back((until, group));
            return None;
        }
        self.until.remove(&group);
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(n: u8) -> ConversationId {
        ConversationId::parse(&format!("g:{n}")).expect("a group")
    }

    #[test]
    fn a_group_that_begins_again_is_looked_at_once_and_later() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let later = start + Duration::from_secs(1);
        waiting.add(group(1), start);
        waiting.add(group(2), start);
        waiting.add(group(1), later);
        assert_eq!(waiting.next(start), None, "the first has begun again meanwhile");
        assert_eq!(waiting.next(start), Some(group(2)));
        assert_eq!(waiting.next(later), Some(group(1)));
        assert_eq!(waiting.next(later), None);
        assert!(waiting.until.is_empty());
    }
}
