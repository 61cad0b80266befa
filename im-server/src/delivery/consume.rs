//! The consumer: takes a server's records off the bus, in order, and hands them to its hub.
//!
//! A message of a large group that was made under a newer membership than the hub's index waits until the members are
//! loaded again; it holds up its own conversation and no other. After a gap every connection is told to pull, spread over
//! some seconds.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::record::{About, Audience, Payload, Push};
use im_protocol::server::Resync;
use im_protocol::{ConversationId, Frame, ServerFrame};
use im_sdk::bus::{Delivery, Subscription};
use tokio::task::JoinSet;

use super::spread::Spread;
use crate::hub::{Connection, Hub, SharedFrame};
use crate::store::{MemberList, Store};
use crate::telemetry::trace::{Part, Span};

/// Records taken at once: each connection they touch is written to once.
const BATCH: usize = 256;

/// Pushes that may wait for one group's members; beyond, its members here are told to pull.
const WAITING: usize = 1_024;

/// Between attempts to load members while the database is out of reach.
const RETRY: Duration = Duration::from_millis(500);

/// Why consuming ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The bus is closed.
    Closed,
    /// A record of a higher epoch came: another process has taken this server id.
    Fenced,
}

/// Consumes until the bus ends or another process takes over.
pub async fn consume(hub: Arc<Hub>, store: Arc<dyn Store>, mut subscription: Box<dyn Subscription>) -> Ended {
    let mut consumer = Consumer {
        hub,
        store,
        waiting: HashMap::new(),
        loads: JoinSet::new(),
        resync: Spread::new(),
        touched: Vec::new(),
        followed: Vec::new(),
    };
    let mut deliveries = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            open = subscription.next(&mut deliveries, BATCH) => {
                for delivery in deliveries.drain(..) {
                    if consumer.take(&delivery) == Taken::FromHigherEpoch {
                        return Ended::Fenced;
                    }
                }
                if !open {
                    tracing::error!(server = %consumer.hub.server(), "the topic is no longer read");
                    return Ended::Closed;
                }
            }
            Some(loaded) = consumer.loads.join_next() => match loaded {
                Ok((conversation, list)) => consumer.loaded(conversation, list).await,
                Err(error) => tracing::error!(%error, "loading members broke"),
            },
            () = consumer.resync.due() => consumer.tell_the_next(),
        }
        consumer.flush();
        // A large fan-out must not keep the others of this worker waiting.
        tokio::task::yield_now().await;
    }
}

/// What stands for a push, and for those before it that nobody kept: "pull it".
fn hint(push: &Push) -> Push {
    let Some(About { conversation, head, rev }) = push.about.clone() else { return push.clone() };
    let resync = Resync { conversation: Some(conversation), head: Some(head), rev: Some(rev) };
    Push { frame: Frame::encode(&ServerFrame::Resync(resync)), ..push.clone() }
}

#[derive(PartialEq, Eq)]
enum Taken {
    Here,
    FromHigherEpoch,
}

struct Consumer {
    hub: Arc<Hub>,
    store: Arc<dyn Store>,
    /// Pushes of groups whose members are being loaded.
    waiting: HashMap<ConversationId, Vec<Push>>,
    loads: JoinSet<(ConversationId, Option<MemberList>)>,
    resync: Spread<Arc<Connection>>,
    touched: Vec<Arc<Connection>>,
    /// Records that are being followed until they are written.
    followed: Vec<Span>,
}

impl Consumer {
    fn take(&mut self, delivery: &Delivery) -> Taken {
        let record = match delivery {
            Delivery::Gap => {
                tracing::warn!(server = %self.hub.server(), "records are missing: every connection has to resync");
                metrics::counter!("im_topic_gaps_total").increment(1);
                self.resync.begin(self.hub.all());
                return Taken::Here;
            }
            Delivery::Record(record) => record,
        };
        if record.epoch > self.hub.epoch() {
            return Taken::FromHigherEpoch;
        }
        if record.epoch < self.hub.epoch() {
            metrics::counter!("im_records_of_older_epochs_total").increment(1);
            return Taken::Here;
        }
        let span = Span::under(record.trace.as_deref(), "consume", Part::Consumer);
        let handing_over = Span::under(span.as_ref().map(Span::context).as_deref(), "push", Part::Inside);
        match &record.payload {
            Payload::Push(push) => self.push(push),
            Payload::Disconnect(disconnect) => self.hub.disconnect(disconnect),
        }
        self.followed.extend(handing_over);
        self.followed.extend(span);
        Taken::Here
    }

    fn push(&mut self, push: &Push) {
        if let Audience::Members { conversation, seq, members_version } = &push.audience {
            if let Some(waiting) = self.waiting.get_mut(conversation) {
                if waiting.len() < WAITING {
                    waiting.push(push.clone());
                } else if let Some(last) = waiting.last_mut() {
                    *last = hint(push);
                }
                return;
            }
            if !self.hub.knows_members(conversation, *members_version) {
                self.waiting.insert(conversation.clone(), vec![push.clone()]);
                self.load(conversation.clone(), *seq);
                return;
            }
        }
        self.hub.push(push, &mut self.touched);
    }

    fn load(&mut self, conversation: ConversationId, seq: u64) {
        let store = self.store.clone();
        self.loads.spawn(async move {
            // Tried until it works: no later message need come this way, and what waits is bounded.
            loop {
                match store.member_list(&conversation, seq).await {
                    Ok(list) => return (conversation, list),
                    Err(error) => tracing::warn!(%error, %conversation, "members could not be loaded; trying again"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    async fn loaded(&mut self, conversation: ConversationId, list: Option<MemberList>) {
        let Some(list) = list else {
            // No such conversation any more, so nobody to tell.
            self.waiting.remove(&conversation);
            return;
        };
        self.hub.load_members(&conversation, &list).await;
        for push in self.waiting.remove(&conversation).unwrap_or_default() {
            // One that was made under a yet newer membership starts the next load.
            self.push(&push);
        }
    }

    fn tell_the_next(&mut self) {
        let frame = SharedFrame::resync();
        metrics::counter!("im_resyncs_total", "reason" => "gap").increment(1);
        self.touched.extend(self.resync.next().filter(|connection| connection.sink.enqueue(&frame)));
    }

    fn flush(&mut self) {
        for connection in self.touched.drain(..) {
            connection.sink.flush();
        }
        self.followed.clear();
    }
}
