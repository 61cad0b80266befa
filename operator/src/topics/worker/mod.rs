//! Keeps topics as they are wished: a task per Kafka, which looks, plans, and writes what is missing.
//!
//! A task looks when a wish is new, after trouble (sooner first, then every minute), and otherwise every ten minutes. A Kafka
//! that does not answer is left alone in between, whoever wishes something of it, so that an outage costs nobody anything.
//! Only the leader writes; the others look, and write as soon as they lead.

mod board;
mod changes;
mod pace;
mod round;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::board::Board;
use self::changes::Changes;
use self::task::Task;
use super::admin::{AdminError, KafkaAdmin};
use super::{KafkaSettings, Report, Topics, Wish};
use crate::leader::Writing;

/// Makes a client of a Kafka. It may read files, and must not wait for the network.
pub type Connect = Arc<dyn Fn(&KafkaSettings) -> Result<Arc<dyn KafkaAdmin>, AdminError> + Send + Sync>;

/// Has the last word before topics are deleted: what they hold is gone then.
#[async_trait::async_trait]
pub trait Confirm: Send + Sync {
    /// Which of the topics of an `ImCluster` (by its UID) may really be deleted, by what the API server has now and not by
    /// what was seen some time ago. No answer within 5 s is a no.
    async fn may_delete(&self, cluster: &str, topics: &BTreeSet<String>) -> BTreeSet<String>;
}

/// The topics of all `ImCluster`s, in all their Kafkas.
pub struct KafkaTopics {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What all tasks have in common.
struct Shared {
    board: Board,
    changes: Changes,
    connect: Connect,
    writing: Arc<dyn Writing>,
    confirm: Arc<dyn Confirm>,
    stop: CancellationToken,
}

impl KafkaTopics {
    /// Nothing runs until something is wished. [`super::admin::connect`] is what connects to a real Kafka.
    pub fn new(connect: Connect, writing: Arc<dyn Writing>, confirm: Arc<dyn Confirm>) -> Self {
        let shared = Shared {
            board: Board::default(),
            changes: Changes::default(),
            connect,
            writing,
            confirm,
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
    }

    /// The UIDs of `ImCluster`s whose report is another than before. It never ends. One whose report changes again before it
    /// was taken comes once, so that no more are kept than there are. For one taker: what one has taken, another misses.
    pub fn changes(&self) -> impl Stream<Item = String> + Send + use<> {
        futures_util::stream::unfold(Arc::clone(&self.shared), |shared| async move {
            let cluster = shared.changes.next().await;
            Some((cluster, shared))
        })
    }

    /// Ends the tasks, and waits for what they are writing. What is wished from now on is not done.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// To be called within a Tokio runtime.
impl Topics for KafkaTopics {
    fn wish(&self, cluster: &str, kafka: &KafkaSettings, wish: Wish) -> Option<Arc<Report>> {
        let (report, new) = self.shared.board.wish(cluster, kafka, wish);
        if let Some((settings, wake)) = new {
            self.tasks.spawn(Task::new(Arc::clone(&self.shared), settings, wake).run());
        }
        report
    }

    fn forget(&self, cluster: &str) {
        self.shared.board.forget(cluster);
    }
}
