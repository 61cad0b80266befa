//! The relay: publishes what was committed, from memory right after the commit, and from the outbox what memory does
//! not hold any more. Nothing is stored and not sent.
//!
//! Of one conversation everything goes out in the order of the commits, also when the bus fails in between: what failed
//! is tried again, with all that came after it, before anything else. What memory has no room for, or what has waited
//! too long to be worth it, is left to the sweep.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::close::CloseReason;
use im_protocol::record::Disconnect;
use im_protocol::{ConversationId, Terminal, TimeMs, UserId};
use im_sdk::bus::BusError;
use im_sdk::registry::Registry;
use im_sdk::router::{Published, Routed, Router};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::frames::Frames;
use super::members::Members;
use super::outstanding::Outstanding;
use super::publisher::{Job, Queue};
use super::push::Wanted;
use crate::chat::{Devices, now_ms};
use crate::store::{Committed, CommittedMessage, Holder, NewWork, OutboxId, Store};
use crate::telemetry::trace::{Part, Span};

/// Jobs taken at once: their recipients are looked up in one round trip.
const BATCH: usize = 256;

/// Before what the bus did not take is tried again; doubled each time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// When and what the sweep takes over.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Between two looks at the outbox; by up to a half more or less, so that servers do not look at once.
    pub sweep_every: Duration,
    /// Rows older than this that memory does not hold are published by the sweep: milliseconds.
    pub orphaned_after: TimeMs,
    /// Older rows go out as a hint to pull.
    pub poke_after: Duration,
    /// Between two deletions of rows that the bus has acked: one statement for all of them.
    pub forget_every: Duration,
    /// What leaves push work; `None`: there is no push, and nothing is written.
    pub push: Option<Wanted>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            sweep_every: Duration::from_secs(2),
            orphaned_after: 5_000,
            poke_after: Duration::from_secs(10),
            forget_every: Duration::from_millis(200),
            push: None,
        }
    }
}

/// What a relay rests on.
pub struct RelayParts {
    /// Whose outbox rows it publishes.
    pub holder: Holder,
    /// Where the outbox is.
    pub store: Arc<dyn Store>,
    /// Publishes.
    pub router: Arc<Router>,
    /// Where the connections are that are to end.
    pub registry: Arc<dyn Registry>,
    /// Whether a lease that has run out means that its holder is dead: see
    /// [`Identity::may_judge`](crate::identity::Identity::may_judge).
    pub may_judge: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The relay of one process.
pub struct Relay {
    pub(super) holder: Holder,
    pub(super) store: Arc<dyn Store>,
    pub(super) router: Arc<Router>,
    pub(super) may_judge: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(super) config: RelayConfig,
    pub(super) outstanding: Arc<Outstanding>,
    pub(super) members: Arc<Members>,
    registry: Arc<dyn Registry>,
}

impl Relay {
    /// Starts the tasks; they end with the set. What an earlier process left in the outbox is published first.
    pub fn start(parts: RelayParts, config: RelayConfig, queue: Queue, tasks: &mut JoinSet<()>) -> Arc<Self> {
        let RelayParts { holder, store, router, registry, may_judge } = parts;
        let members = Arc::new(Members::new(store.clone()));
        let outstanding = queue.outstanding.clone();
        let relay = Arc::new(Self { holder, store, router, may_judge, config, outstanding, members, registry });
        tasks.spawn(relay.clone().publish(queue));
        tasks.spawn(relay.clone().sweep());
        tasks.spawn(relay.clone().forget());
        relay
    }

    async fn publish(self: Arc<Self>, mut queue: Queue) {
        let mut frames = Frames::new(self.members.clone());
        let mut jobs = Vec::with_capacity(BATCH);
        let mut patience = Patience::new(self.config.poke_after);
        while queue.jobs.recv_many(&mut jobs, BATCH).await > 0 {
            let mut batch = Batch::default();
            let mut disconnects = Vec::new();
            for (since, job) in jobs.drain(..) {
                let late = since.elapsed() > self.config.poke_after;
                match job {
                    Job::Committed(committed) if late => self.leave(&committed),
                    Job::Committed(committed) => self.add(&mut frames, &mut batch, &committed).await,
                    Job::Transient(_) if late => {}
                    Job::Transient(routed) => batch.pushes.push(*routed),
                    Job::Disconnect(user, devices, reason) => disconnects.push((user, devices, reason)),
                    Job::Unheard(user, terminal, since) => self.unheard(user, terminal, since),
                }
            }
            for (user, devices, reason) in disconnects {
                self.disconnect(user, &devices, reason).await;
            }
            self.send(batch, &mut patience).await;
        }
    }

    /// Whether new messages leave push work.
    pub(super) fn leaves_work(&self) -> bool {
        self.config.push.is_some()
    }

    /// The push work of new messages.
    pub(super) fn work(&self, messages: &[CommittedMessage]) -> Vec<NewWork> {
        let Some(push) = self.config.push else { return Vec::new() };
        messages.iter().filter_map(|message| push.message(message)).collect()
    }

    fn unheard(&self, user: UserId, terminal: Terminal, since: TimeMs) {
        if let Some(push) = self.config.push {
            self.outstanding.goodbye(push.goodbye(user, terminal, since, now_ms()));
        }
    }

    /// Leaves a commit to the sweep.
    fn leave(&self, committed: &Committed) {
        if let Some(id) = committed.outbox {
            self.outstanding.let_go(id);
        }
    }

    async fn add(&self, frames: &mut Frames, batch: &mut Batch, committed: &Committed) {
        let Some(id) = committed.outbox else { return };
        match frames.of(committed).await {
            Ok(pushes) => batch.add(id, pushes, self.work(&committed.messages)),
            Err(error) => {
                tracing::warn!(%error, "recipients could not be read; the sweep tries again");
                self.outstanding.let_go(id);
            }
        }
    }

    /// Publishes a batch, trying again what failed as long as there is patience, and notes which rows are done with.
    async fn send(&self, batch: Batch, patience: &mut Patience) {
        let Batch { mut pushes, rows } = batch;
        let mut fates = vec![Fate::Again; pushes.len()];
        let mut asked: Vec<usize> = (0..pushes.len()).collect();
        let started = Instant::now();
        let mut pause = RETRY.0;
        let mut spans = follow(&mut pushes);
        while !asked.is_empty() {
            // What is tried again belongs to rows: a frame that is not stored is not worth it.
            let attempt = asked.iter().map(|&n| pushes[n].clone()).collect();
            let published = self.router.publish(attempt).await;
            count(&published);
            for (&n, published) in asked.iter().zip(&published) {
                fates[n] = Fate::of(&published.delivered);
                if let Some(span) = spans.get_mut(&n) {
                    span.note("im.records", published.records as u64);
                }
            }
            let stored = |n: &usize| rows.iter().any(|row| row.pushes.contains(n));
            asked = again(&asked, &fates, &pushes).into_iter().filter(stored).collect();
            if !patience.allows(asked.is_empty(), started.elapsed()) {
                break;
            }
            if !asked.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
        pushes.clear();
        for (n, mut span) in spans {
            if fates[n] != Fate::Delivered {
                span.fail("left to the sweep");
            }
        }
        for Row { id, pushes, work } in rows {
            if fates[pushes].iter().all(|fate| *fate == Fate::Delivered) {
                self.outstanding.acked(id, work);
            } else {
                self.outstanding.let_go(id);
            }
        }
    }

    async fn disconnect(&self, user: UserId, devices: &Devices, reason: CloseReason) {
        let routes = match self.registry.routes(std::slice::from_ref(&user)).await {
            Ok(routes) => routes.of.into_iter().flatten(),
            Err(error) => {
                // The session is dead all the same: the sweep of sessions closes the connection within a minute.
                tracing::warn!(%error, "the routes of a user could not be read");
                return;
            }
        };
        let concerned = routes.filter(|route| match devices {
            Devices::One(terminal, device) => route.terminal == *terminal && route.device == *device,
            Devices::Connection(connection) => route.connection == *connection,
        });
        for route in concerned {
            let disconnect = Disconnect { user: user.clone(), connections: vec![route.connection], reason };
            if let Err(error) = self.router.disconnect(route.server, route.epoch, disconnect).await {
                tracing::warn!(%error, "a connection could not be told to end");
            }
        }
    }

    /// Deletes rows that are done with, many at a time.
    async fn forget(self: Arc<Self>) {
        let mut ticks = interval(self.config.forget_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.forget_acked().await;
            metrics::gauge!("im_relay_lag_seconds").set(self.outstanding.lag(Instant::now()));
        }
    }

    /// Publishes what memory holds and deletes what is done with, for at most so long: the process is about to end.
    pub async fn finish(&self, within: Duration) {
        let published = async {
            while !self.outstanding.is_published() {
                sleep(RETRY.0).await;
            }
        };
        if tokio::time::timeout(within, published).await.is_err() {
            tracing::warn!("some commits are not published yet: another server takes them over");
        }
        self.forget_acked().await;
    }

    async fn forget_acked(&self) {
        loop {
            let (ids, work) = self.outstanding.done();
            if ids.is_empty() && work.is_empty() {
                return;
            }
            count_statement("forget");
            if let Err(error) = self.store.forget(&ids, &work).await {
                tracing::warn!(%error, "published outbox rows could not be deleted; trying again");
                return;
            }
            self.outstanding.settled(&ids, work);
        }
    }
}

/// Begins the publication of what is being followed, and has the records carry on from there.
fn follow(pushes: &mut [Routed]) -> HashMap<usize, Span> {
    let mut spans = HashMap::new();
    for (n, push) in pushes.iter_mut().enumerate() {
        if let Some(span) = Span::under(push.trace.as_deref(), "publish", Part::Producer) {
            push.trace = Some(span.context());
            spans.insert(n, span);
        }
    }
    spans
}

/// Counts a statement of the relay: there should be far fewer than messages.
pub(super) fn count_statement(of: &'static str) {
    metrics::counter!("im_relay_statements_total", "statement" => of).increment(1);
}

pub(super) fn count(published: &[Published]) {
    let records: usize = published.iter().map(|published| published.records).sum();
    metrics::counter!("im_records_published_total").increment(records as u64);
}

/// How long a batch is tried in its place. After one that failed all the while the next gets one attempt, until one
/// succeeds: a part of the bus that is away must not make all else wait each time.
struct Patience {
    most: Duration,
    lost: bool,
}

impl Patience {
    fn new(most: Duration) -> Self {
        Self { most, lost: false }
    }

    /// Whether to go on after an attempt, `complete` or not, that ended so long after the first began.
    fn allows(&mut self, complete: bool, elapsed: Duration) -> bool {
        if complete {
            self.lost = false;
            return true;
        }
        self.lost |= elapsed >= self.most;
        !self.lost
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Every record of it is on the bus.
    Delivered,
    /// The bus did not take it.
    Again,
    /// Trying at once is of no use: the sweep sees to it.
    Left,
}

impl Fate {
    fn of(delivered: &Result<(), BusError>) -> Self {
        match delivered {
            Ok(()) => Self::Delivered,
            Err(BusError::Unavailable(_)) => Self::Again,
            Err(BusError::NoTopic(_) | BusError::TooLarge { .. } | BusError::Refused(_)) => Self::Left,
        }
    }
}

/// Which of the pushes that were `asked` for are to be published again: those that failed, and of their conversations
/// all that came after, so that the last time each goes out is in order.
fn again(asked: &[usize], fates: &[Fate], pushes: &[Routed]) -> Vec<usize> {
    let mut broken: HashSet<&ConversationId> = HashSet::new();
    let mut again = Vec::new();
    for &n in asked {
        let key = pushes[n].key.as_ref();
        if fates[n] == Fate::Again {
            broken.extend(key);
            again.push(n);
        } else if key.is_some_and(|key| broken.contains(key)) {
            again.push(n);
        }
    }
    again
}

/// Pushes, and the outbox rows they belong to.
#[derive(Default)]
struct Batch {
    pushes: Vec<Routed>,
    rows: Vec<Row>,
}

struct Row {
    id: OutboxId,
    pushes: Range<usize>,
    work: Vec<NewWork>,
}

impl Batch {
    fn add(&mut self, id: OutboxId, pushes: Vec<Routed>, work: Vec<NewWork>) {
        let start = self.pushes.len();
        self.pushes.extend(pushes);
        self.rows.push(Row { id, pushes: start..self.pushes.len(), work });
    }
}

#[cfg(test)]
mod tests {
    use im_protocol::server::Typing;
    use im_protocol::{Frame, ServerFrame};
    use im_sdk::router::Recipients;
    use proptest::prelude::*;

    use super::*;

    fn push(key: u8) -> Routed {
        let conversation = ConversationId::parse(&format!("g:{key}")).unwrap();
        let typing = Typing { conversation: conversation.clone(), user: UserId::parse("alice").unwrap() };
        Routed {
            to: Recipients::Room(conversation.clone()),
            frame: Frame::encode(&ServerFrame::Typing(typing)),
            about: None,
            key: Some(conversation),
            trace: None,
        }
    }

    #[test]
    fn what_failed_is_tried_again_with_all_of_its_conversation_that_came_after() {
        let pushes: Vec<_> = [1, 2, 1, 3, 1, 2].map(push).into();
        let fates = [Fate::Delivered, Fate::Delivered, Fate::Again, Fate::Left, Fate::Delivered, Fate::Delivered];
        assert_eq!(again(&[0, 1, 2, 3, 4, 5], &fates, &pushes), [2, 4]);
        let fates = [Fate::Delivered; 6];
        assert!(again(&[2, 4], &fates, &pushes).is_empty());
    }

    #[test]
    fn after_a_batch_that_failed_all_the_while_the_next_gets_one_attempt() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(10 * second);
        assert!(patience.allows(false, 9 * second));
        assert!(!patience.allows(false, 10 * second));
        assert!(!patience.allows(false, second), "the next batch");
        assert!(patience.allows(true, second));
        assert!(patience.allows(false, second), "one has succeeded meanwhile");
    }

    proptest! {
        /// However the bus fails, the last time each push of a conversation went out, it went out in order.
        #[test]
        fn whatever_fails_the_last_attempts_of_a_conversation_are_in_order(
            keys in prop::collection::vec(0_u8..3, 1..12),
            failing in prop::collection::vec(prop::collection::vec(any::<bool>(), 12), 1..5),
        ) {
            let pushes: Vec<_> = keys.iter().map(|&key| push(key)).collect();
            let mut asked: Vec<usize> = (0..pushes.len()).collect();
            let mut fates = vec![Fate::Again; pushes.len()];
            // When each was last on the bus: the attempt, then its place in it.
            let mut last = vec![(0, 0); pushes.len()];
            for attempt in 0.. {
                for (place, &n) in asked.iter().enumerate() {
                    let fails = failing.get(attempt).is_some_and(|fails| fails[place]);
                    fates[n] = if fails { Fate::Again } else { Fate::Delivered };
                    if !fails {
                        last[n] = (attempt + 1, place);
                    }
                }
                asked = again(&asked, &fates, &pushes);
                if asked.is_empty() {
                    break;
                }
            }
            for a in 0..keys.len() {
                for b in a + 1..keys.len() {
                    if keys[a] == keys[b] {
                        prop_assert!(last[a] < last[b], "{a} {b} {last:?}");
                    }
                }
            }
        }
    }
}
