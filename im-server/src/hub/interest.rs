//! Keeps the registry's index of interests equal to what the hub needs.
//!
//! One task writes, so that 0 → 1 and 1 → 0 of one topic cannot overtake each other: it asks the hub what is wanted at
//! the moment of writing, whatever the event was that called for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use im_sdk::registry::{Registry, Topic};
use tokio::sync::{mpsc, oneshot};

use super::Hub;

/// Topics that may wait for the task. A sender waits when it is full.
const QUEUE: usize = 1024;

/// Between attempts while the registry is out of reach.
const RETRY: Duration = Duration::from_millis(200);

/// Topics written again in one round trip.
const BATCH: usize = 500;

/// What the hub asks for, and whom to tell when it is done.
enum Asked {
    /// To look at one topic.
    Topic(Topic, oneshot::Sender<()>),
    /// To write all there is once more: the registry may have lost it.
    Everything(oneshot::Sender<()>),
}

/// The hub's end.
pub struct Interest(mpsc::Sender<Asked>);

/// The writing end.
pub struct InterestTask(mpsc::Receiver<Asked>);

pub(super) fn channel() -> (Interest, InterestTask) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Interest(sender), InterestTask(receiver))
}

impl Interest {
    /// Says that what the hub wants of a topic may have changed, and waits until the registry agrees, or is known to be
    /// out of reach: then the task goes on trying, and the server is not announced.
    pub(super) async fn changed(&self, topic: Topic) {
        self.ask(|done| Asked::Topic(topic, done)).await;
    }

    /// Writes every interest once more. What could not be written is in [`Unwritten`](super::Unwritten) afterwards.
    pub(super) async fn write_again(&self) {
        self.ask(Asked::Everything).await;
    }

    async fn ask(&self, what: impl FnOnce(oneshot::Sender<()>) -> Asked) {
        let (done, written) = oneshot::channel();
        if self.0.send(what(done)).await.is_ok() {
            // An error means that the task has ended with the process.
            let _ = written.await;
        }
    }
}

impl InterestTask {
    /// Writes until the hub is gone.
    pub async fn run(mut self, hub: Arc<Hub>, registry: Arc<dyn Registry>) {
        let mut written: HashSet<Topic> = HashSet::new();
        let mut failed: HashSet<Topic> = HashSet::new();
        // Not a sleep that every new topic would begin again.
        let mut retries = tokio::time::interval(RETRY);
        retries.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                next = self.0.recv() => {
                    let done = match next {
                        None => return,
                        Some(Asked::Topic(topic, done)) => {
                            if !reconcile(&hub, &*registry, &topic, &mut written).await {
                                failed.insert(topic);
                            }
                            done
                        }
                        Some(Asked::Everything(done)) => {
                            failed.extend(write_again(&hub, &*registry, &mut written).await);
                            done
                        }
                    };
                    hub.unwritten().interests(!failed.is_empty());
                    let _ = done.send(());
                }
                _ = retries.tick(), if !failed.is_empty() => {
                    let mut still = HashSet::new();
                    for topic in std::mem::take(&mut failed) {
                        if !reconcile(&hub, &*registry, &topic, &mut written).await {
                            still.insert(topic);
                        }
                    }
                    failed = still;
                    hub.unwritten().interests(!failed.is_empty());
                }
            }
        }
    }
}

/// Makes the registry agree with the hub about one topic. False if it could not be reached.
async fn reconcile(hub: &Hub, registry: &dyn Registry, topic: &Topic, written: &mut HashSet<Topic>) -> bool {
    loop {
        let wanted = hub.wants(topic);
        if wanted == written.contains(topic) {
            return true;
        }
        if let Err(error) = registry.set_interest(std::slice::from_ref(topic), hub.server(), hub.epoch(), wanted).await
        {
            tracing::warn!(%error, topic = topic.key(), "an interest could not be written; trying again");
            return false;
        }
        if wanted {
            written.insert(topic.clone());
        } else {
            written.remove(topic);
        }
    }
}

/// Writes what is written once more, many in one round trip. Returns what could not be: it counts as not written.
async fn write_again(hub: &Hub, registry: &dyn Registry, written: &mut HashSet<Topic>) -> Vec<Topic> {
    // What is not wanted any more has its own question in the queue.
    let topics: Vec<Topic> = written.iter().filter(|topic| hub.wants(topic)).cloned().collect();
    let mut failed = Vec::new();
    for batch in topics.chunks(BATCH) {
        if let Err(error) = registry.set_interest(batch, hub.server(), hub.epoch(), true).await {
            tracing::warn!(%error, "interests could not be written again; trying again");
            failed.extend_from_slice(batch);
        }
    }
    for topic in &failed {
        written.remove(topic);
    }
    failed
}
