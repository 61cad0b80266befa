//! Keeps the registry's index of interests equal to what the hub needs.
//!
//! One task writes, so that 0 → 1 and 1 → 0 of one topic cannot overtake each other: it asks the hub what is wanted at
//! the moment of writing, whatever the event was that called for it. What is asked for meanwhile goes out together in
//! the next round trip.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use im_protocol::{ConversationId, ConversationKind};
use im_sdk::registry::{Registry, Topic};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Hub;

/// Questions that may wait for the task. A sender waits when it is full.
const QUEUE: usize = 1024;

/// Between attempts while the registry is out of reach.
const RETRY: Duration = Duration::from_millis(200);

/// Topics written in one round trip.
const BATCH: usize = 500;

/// Groups that may wait for [`Begun`] to be read. The task waits when it is full.
const BEGUN: usize = 1024;

/// What the hub asks for, and whom to tell when it is done.
struct Asked {
    what: What,
    done: oneshot::Sender<()>,
}

enum What {
    /// To look at these topics.
    Topics(Vec<Topic>),
    /// To write all there is once more: the registry may have lost it.
    Everything,
}

/// The hub's end.
pub struct Interest(mpsc::Sender<Asked>);

/// The writing end.
pub struct InterestTask {
    asked: mpsc::Receiver<Asked>,
    begun: mpsc::Sender<(Instant, ConversationId)>,
}

/// The large groups that this server has become interested in, and when the registry knew it.
pub type Begun = mpsc::Receiver<(Instant, ConversationId)>;

pub(super) fn channel() -> (Interest, InterestTask, Begun) {
    let (asking, asked) = mpsc::channel(QUEUE);
    let (begin, begun) = mpsc::channel(BEGUN);
    (Interest(asking), InterestTask { asked, begun: begin }, begun)
}

impl Interest {
    /// Says that what the hub wants of topics may have changed, and waits until the registry agrees, or is known to be
    /// out of reach: then the task goes on trying, and the server is not announced.
    pub(super) async fn changed(&self, topics: Vec<Topic>) {
        if !topics.is_empty() {
            self.ask(What::Topics(topics)).await;
        }
    }

    /// Writes every interest once more. What could not be written is in [`Unwritten`](super::Unwritten) afterwards.
    pub(super) async fn write_again(&self) {
        self.ask(What::Everything).await;
    }

    async fn ask(&self, what: What) {
        let (done, written) = oneshot::channel();
        if self.0.send(Asked { what, done }).await.is_ok() {
            // An error means that the task has ended with the process.
            let _ = written.await;
        }
    }
}

impl InterestTask {
    /// Writes until the hub is gone.
    pub async fn run(mut self, hub: Arc<Hub>, registry: Arc<dyn Registry>) {
        let mut index = Index { hub, registry, written: HashSet::new(), doubtful: HashSet::new() };
        // Not a sleep that every new topic would begin again.
        let mut retries = interval(RETRY);
        retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Vec::with_capacity(QUEUE);
        loop {
            let mut topics = HashSet::new();
            let mut everything = false;
            tokio::select! {
                count = self.asked.recv_many(&mut asked, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                    for Asked { what, .. } in &mut asked {
                        match what {
                            What::Topics(some) => topics.extend(some.drain(..)),
                            What::Everything => everything = true,
                        }
                    }
                }
                _ = retries.tick(), if !index.doubtful.is_empty() => topics.clone_from(&index.doubtful),
            }
            let begun = index.reconcile(topics).await;
            if everything {
                index.write_again().await;
            }
            index.hub.unwritten().interests(!index.doubtful.is_empty());
            for Asked { done, .. } in asked.drain(..) {
                let _ = done.send(());
            }
            let now = Instant::now();
            for group in begun.into_iter().filter_map(large_group) {
                // An error means that nobody looks at heads any more: the process is about to end.
                let _ = self.begun.send((now, group)).await;
            }
        }
    }
}

/// What the registry has of this server, as far as the task knows.
struct Index {
    hub: Arc<Hub>,
    registry: Arc<dyn Registry>,
    written: HashSet<Topic>,
    /// A write of these failed, and may have been done all the same.
    doubtful: HashSet<Topic>,
}

impl Index {
    /// Makes the registry agree with the hub about topics. Returns those that it has newly been told of.
    async fn reconcile(&mut self, topics: HashSet<Topic>) -> Vec<Topic> {
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for topic in topics {
            let wanted = self.hub.wants(&topic);
            if self.doubtful.contains(&topic) || wanted != self.written.contains(&topic) {
                if wanted { &mut begin } else { &mut end }.push(topic);
            }
        }
        self.write(end, false).await;
        self.write(begin, true).await
    }

    /// Writes all there is once more. Nothing begins: nobody remembers anything as long as a server has not announced.
    async fn write_again(&mut self) {
        // What is not wanted any more has its own question in the queue.
        let topics = self.written.iter().filter(|topic| self.hub.wants(topic)).cloned().collect();
        self.write(topics, true).await;
    }

    /// Writes interests, many in one round trip. Returns those that the registry took.
    async fn write(&mut self, topics: Vec<Topic>, interested: bool) -> Vec<Topic> {
        let mut taken = Vec::with_capacity(topics.len());
        for batch in topics.chunks(BATCH) {
            let result = self.registry.set_interest(batch, self.hub.server(), self.hub.epoch(), interested).await;
            if let Err(error) = result {
                tracing::warn!(%error, topics = batch.len(), "interests could not be written; trying again");
                self.doubtful.extend(batch.iter().cloned());
                continue;
            }
            for topic in batch {
                self.doubtful.remove(topic);
                if interested {
                    self.written.insert(topic.clone());
                } else {
                    self.written.remove(topic);
                }
            }
            taken.extend_from_slice(batch);
        }
        taken
    }
}

fn large_group(topic: Topic) -> Option<ConversationId> {
    match topic {
        Topic::Conversation(id) if id.kind() == ConversationKind::Group => Some(id),
        _ => None,
    }
}
