//! The relay: publishes what was committed, from memory right after the commit, and from the outbox what memory does
//! not hold any more. Nothing is stored and not sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::TimeMs;
use im_protocol::record::Disconnect;
use im_protocol::{ConversationId, Seq, Terminal, UserId};
use im_sdk::registry::Registry;
use im_sdk::router::{Published, Routed, Router};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::frames::{self, Frames, Tell};
use super::members::Members;
use super::publisher::Job;
use super::push::Wanted;
use crate::chat::{Devices, now_ms};
use crate::store::{
    Committed, CommittedMessage, Holder, NewWork, OutboxId, OutboxItem, OutboxRow, PushItem, Removal, Store,
};

/// Jobs taken at once: their recipients are looked up in one round trip.
const BATCH: usize = 256;

/// Outbox rows taken over in one statement.
const SWEPT: u32 = 256;

/// Outbox rows forgotten in one statement.
const FORGET: usize = 1_000;

/// Pieces of push work stored in one statement.
const WORK: usize = 5_000;

/// Goodbyes that wait for the database; beyond, whoever is not told by push sees the message on coming back.
const GOODBYES: usize = 50_000;

/// When and what the sweep takes over.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Between two looks at the outbox.
    pub sweep_every: Duration,
    /// Rows older than this that memory does not hold are published by the sweep: milliseconds.
    pub orphaned_after: TimeMs,
    /// Older rows go out as a hint to pull: milliseconds.
    pub poke_after: TimeMs,
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
            poke_after: 10_000,
            forget_every: Duration::from_millis(200),
            push: None,
        }
    }
}

/// The receiving end of the publisher.
pub struct Queue(pub(super) mpsc::Receiver<Job>);

/// The relay of one process.
pub struct Relay {
    holder: Holder,
    store: Arc<dyn Store>,
    router: Arc<Router>,
    registry: Arc<dyn Registry>,
    config: RelayConfig,
    outbox: Mutex<InMemory>,
}

/// Outbox rows that this process knows of.
#[derive(Default)]
struct InMemory {
    /// Being published.
    held: HashSet<OutboxId>,
    /// On the bus, to be forgotten, each with the push work it leaves.
    acked: Vec<(OutboxId, Vec<NewWork>)>,
    /// Push work of connections that ended.
    goodbyes: Vec<NewWork>,
}

impl InMemory {
    /// What can be forgotten and stored in one statement each.
    fn done(&self) -> (Vec<OutboxId>, Vec<NewWork>) {
        let mut ids = Vec::new();
        let mut work: Vec<NewWork> = self.goodbyes.iter().take(FORGET).cloned().collect();
        for (id, left) in &self.acked {
            if ids.len() >= FORGET || !ids.is_empty() && work.len() + left.len() > WORK {
                break;
            }
            ids.push(*id);
            work.extend_from_slice(left);
        }
        (ids, work)
    }
}

impl Relay {
    /// The relay of what `holder` commits.
    pub fn new(
        holder: Holder,
        store: Arc<dyn Store>,
        router: Arc<Router>,
        registry: Arc<dyn Registry>,
        config: RelayConfig,
    ) -> Arc<Self> {
        Arc::new(Self { holder, store, router, registry, config, outbox: Mutex::default() })
    }

    /// Starts the tasks; they end with the set. What an earlier process left in the outbox is published first.
    pub fn start(self: Arc<Self>, queue: Queue, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().publish(queue));
        tasks.spawn(self.clone().sweep());
        tasks.spawn(self.forget());
    }

    fn frames(&self) -> Frames {
        Frames::new(Members::new(self.store.clone()))
    }

    async fn publish(self: Arc<Self>, mut queue: Queue) {
        let mut frames = self.frames();
        let mut jobs = Vec::with_capacity(BATCH);
        while queue.0.recv_many(&mut jobs, BATCH).await > 0 {
            let mut batch = Batch::default();
            let mut disconnects = Vec::new();
            for job in jobs.drain(..) {
                match job {
                    Job::Committed(committed) => self.add(&mut frames, &mut batch, &committed).await,
                    Job::Transient(routed) => batch.pushes.push(*routed),
                    Job::Disconnect(user, devices, reason) => disconnects.push((user, devices, reason)),
                    Job::Unheard(user, terminal, since) => self.unheard(user, terminal, since),
                }
            }
            for (user, devices, reason) in disconnects {
                self.disconnect(user, &devices, reason).await;
            }
            self.send(batch).await;
        }
    }

    /// The push work of new messages.
    fn work(&self, messages: &[CommittedMessage]) -> Vec<NewWork> {
        let Some(push) = self.config.push else { return Vec::new() };
        messages.iter().filter_map(|message| push.message(message)).collect()
    }

    fn unheard(&self, user: UserId, terminal: Terminal, since: TimeMs) {
        let Some(push) = self.config.push else { return };
        let mut outbox = self.outbox.lock();
        if outbox.goodbyes.len() < GOODBYES {
            outbox.goodbyes.push(push.goodbye(user, terminal, since, now_ms()));
        }
    }

    async fn add(&self, frames: &mut Frames, batch: &mut Batch, committed: &Committed) {
        let Some(id) = committed.outbox else { return };
        match frames.of(committed).await {
            Ok(pushes) => {
                self.outbox.lock().held.insert(id);
                batch.add(id, pushes, self.work(&committed.messages));
            }
            // The row stays in the outbox; the sweep finds it.
            Err(error) => tracing::warn!(%error, "recipients could not be read"),
        }
    }

    /// Publishes a batch and notes which outbox rows are done with.
    async fn send(&self, batch: Batch) {
        let Batch { pushes, rows } = batch;
        let count = pushes.len();
        let published = if pushes.is_empty() { Vec::new() } else { self.router.publish(pushes).await };
        debug_assert_eq!(published.len(), count);
        let records: usize = published.iter().map(|published| published.records).sum();
        metrics::counter!("im_records_published_total").increment(records as u64);
        let mut outbox = self.outbox.lock();
        for (id, range, work) in rows {
            outbox.held.remove(&id);
            if published[range].iter().all(|published: &Published| published.delivered.is_ok()) {
                outbox.acked.push((id, work));
            }
        }
    }

    async fn disconnect(&self, user: UserId, devices: &Devices, reason: im_protocol::close::CloseReason) {
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

    /// Publishes rows that nobody holds: those of a process that is gone, and own ones that were turned away.
    async fn sweep(self: Arc<Self>) {
        let mut frames = self.frames();
        let mut ticks = tokio::time::interval(self.config.sweep_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.take_over(&mut frames).await {
                tracing::warn!(%error, "the outbox could not be read");
            }
        }
    }

    /// Publishes rows of processes that are gone, then own ones that memory does not hold.
    async fn take_over(&self, frames: &mut Frames) -> crate::store::Result<()> {
        loop {
            let rows = self.store.take_over(self.holder, SWEPT).await?;
            if rows.is_empty() {
                break;
            }
            self.publish_again(frames, rows).await;
        }
        let before = now_ms() - self.config.orphaned_after;
        let mut after = OutboxId(i64::MIN);
        loop {
            let rows = self.store.waiting(self.holder, after, before, SWEPT).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id;
            let forgotten: Vec<OutboxRow> = {
                let outbox = self.outbox.lock();
                let acked: HashSet<OutboxId> = outbox.acked.iter().map(|(id, _)| *id).collect();
                let known = |id: &OutboxId| outbox.held.contains(id) || acked.contains(id);
                rows.into_iter().filter(|row| !known(&row.id)).collect()
            };
            self.publish_again(frames, forgotten).await;
        }
    }

    async fn publish_again(&self, frames: &mut Frames, rows: Vec<OutboxRow>) {
        for row in rows {
            metrics::counter!("im_outbox_taken_over_total").increment(1);
            let tell_changes = now_ms() - row.time <= self.config.poke_after;
            let mut batch = Batch::default();
            match self.again(frames, row.items, tell_changes).await {
                Ok((pushes, work)) => batch.add(row.id, pushes, work),
                // The others must not wait for one that cannot be read.
                Err(error) => tracing::warn!(%error, row = row.id.0, "an outbox row could not be read"),
            }
            self.send(batch).await;
        }
    }

    /// The pushes and the push work of an outbox row, read again from the store. Old ones only say what to pull.
    async fn again(
        &self,
        frames: &mut Frames,
        items: Vec<OutboxItem>,
        fresh: bool,
    ) -> crate::store::Result<(Vec<Routed>, Vec<NewWork>)> {
        let mut pushes = Vec::new();
        let mut messages: Vec<((ConversationId, Seq), Tell)> = Vec::new();
        let mut new = HashSet::new();
        for item in items {
            match item {
                OutboxItem::Message(conversation, seq) => {
                    new.insert((conversation.clone(), seq));
                    messages.push(((conversation, seq), if fresh { Tell::New } else { Tell::Poke }));
                }
                OutboxItem::Changed(conversation, seq) => {
                    messages.push(((conversation, seq), if fresh { Tell::Changed } else { Tell::Poke }));
                }
                OutboxItem::Removed(conversation, users, reason) => {
                    pushes.push(frames::removed(&Removal { conversation, users, reason }));
                }
            }
        }
        let wanted: Vec<_> = messages.iter().map(|(message, _)| message.clone()).collect();
        let found = self.store.committed(&wanted).await?;
        let is_new = |found: &&CommittedMessage| new.contains(&(found.message.conversation.clone(), found.message.seq));
        let work = self.work(&found.iter().filter(is_new).cloned().collect::<Vec<_>>());
        for ((conversation, seq), tell) in newest_pokes(messages) {
            let message =
                found.iter().find(|found| found.message.conversation == conversation && found.message.seq == seq);
            if let Some(message) = message {
                pushes.push(frames.message(message, tell).await?);
            }
        }
        Ok((pushes, work))
    }

    /// Deletes rows that are done with, many at a time.
    async fn forget(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.config.forget_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.forget_acked().await;
        }
    }

    /// Deletes what is done with now.
    pub async fn forget_acked(&self) {
        loop {
            let (ids, work) = self.outbox.lock().done();
            if ids.is_empty() && work.is_empty() {
                return;
            }
            if let Err(error) = self.store.forget(&ids, &work).await {
                tracing::warn!(%error, "published outbox rows could not be deleted; trying again");
                return;
            }
            // By what they are: another call may have forgotten some of them meanwhile.
            let forgotten: HashSet<OutboxId> = ids.into_iter().collect();
            let stored: HashSet<PushItem> = work.into_iter().map(|work| work.item).collect();
            let mut outbox = self.outbox.lock();
            outbox.acked.retain(|(id, _)| !forgotten.contains(id));
            outbox.goodbyes.retain(|work| !stored.contains(&work.item));
        }
    }
}

/// Pushes, which of them belong to which outbox row, and the push work of the row.
#[derive(Default)]
struct Batch {
    pushes: Vec<Routed>,
    rows: Vec<(OutboxId, std::ops::Range<usize>, Vec<NewWork>)>,
}

impl Batch {
    fn add(&mut self, id: OutboxId, pushes: Vec<Routed>, work: Vec<NewWork>) {
        let start = self.pushes.len();
        self.pushes.extend(pushes);
        self.rows.push((id, start..self.pushes.len(), work));
    }
}

/// One poke says everything about a conversation: only the newest of each is kept.
fn newest_pokes(messages: Vec<((ConversationId, Seq), Tell)>) -> Vec<((ConversationId, Seq), Tell)> {
    let mut poked = HashSet::new();
    let mut kept: Vec<_> = messages
        .into_iter()
        .rev()
        .filter(|((conversation, _), tell)| *tell != Tell::Poke || poked.insert(conversation.clone()))
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_backlog_goes_out_as_one_poke_per_conversation() {
        let id = |text: &str| ConversationId::parse(text).unwrap();
        let backlog = vec![
            ((id("g:a"), 1), Tell::Poke),
            ((id("g:b"), 7), Tell::Poke),
            ((id("g:a"), 2), Tell::Poke),
            ((id("g:a"), 3), Tell::New),
            ((id("g:a"), 4), Tell::New),
        ];
        let kept: Vec<_> = newest_pokes(backlog).into_iter().map(|((c, seq), _)| (c.to_string(), seq)).collect();
        let expected = [("g:b", 7), ("g:a", 2), ("g:a", 3), ("g:a", 4)];
        assert_eq!(kept, expected.map(|(c, seq)| (c.to_owned(), seq)));
    }
}
