//! The bus of a single process: a bounded channel per server id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use im_protocol::ServerId;
use im_protocol::record::Record;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, Delivery, Outgoing, Subscription};

/// Topics in memory. A record is dropped when nobody reads its topic, since a subscriber begins at the end.
pub struct MemoryBus {
    topics: Mutex<HashMap<ServerId, Topic>>,
    capacity: usize,
}

/// The writing end of the newest subscriber's channel.
#[derive(Clone)]
struct Topic {
    channel: mpsc::Sender<Delivery>,
    /// Cancelled when another subscriber takes over.
    over: CancellationToken,
}

impl MemoryBus {
    /// A bus that holds up to `capacity` unread records per server; above that, publishing waits.
    pub fn new(capacity: usize) -> Self {
        Self { topics: Mutex::default(), capacity: capacity.max(1) }
    }

    async fn put(&self, server: ServerId, record: Arc<Record>) -> Result<(), BusError> {
        loop {
            let topic = self.topics.lock().get(&server).cloned().ok_or(BusError::NoTopic(server))?;
            tokio::select! {
                biased;
                // Who took over gets what had found no room yet.
                () = topic.over.cancelled() => {}
                room = topic.channel.reserve() => {
                    if let Ok(room) = room {
                        room.send(Delivery::Record(record));
                    }
                    return Ok(());
                }
            }
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<(), BusError>> {
        let mut results = vec![Ok(()); records.len()];
        let mut by_server = BTreeMap::<_, Vec<_>>::new();
        for (n, outgoing) in records.into_iter().enumerate() {
            by_server.entry(outgoing.server).or_default().push((n, outgoing.record));
        }
        // Side by side, so that a server which does not read holds up nobody else's records.
        let topics = by_server.into_iter().map(|(server, records)| async move {
            let mut done = Vec::with_capacity(records.len());
            for (n, record) in records {
                done.push((n, self.put(server, record).await));
            }
            done
        });
        for (n, result) in join_all(topics).await.into_iter().flatten() {
            results[n] = result;
        }
        results
    }

    async fn subscribe(&self, server: ServerId) -> Result<Box<dyn Subscription>, BusError> {
        let (channel, records) = mpsc::channel(self.capacity);
        let over = CancellationToken::new();
        let earlier = self.topics.lock().insert(server, Topic { channel, over: over.clone() });
        if let Some(earlier) = earlier {
            earlier.over.cancel();
        }
        Ok(Box::new(MemorySubscription { records, over }))
    }
}

struct MemorySubscription {
    records: mpsc::Receiver<Delivery>,
    over: CancellationToken,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self, into: &mut Vec<Delivery>, max: usize) -> bool {
        tokio::select! {
            biased;
            () = self.over.cancelled() => false,
            received = self.records.recv_many(into, max.max(1)) => received > 0,
        }
    }
}
