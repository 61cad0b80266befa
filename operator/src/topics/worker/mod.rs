//! Keeps topics as they are wished: a task per Kafka, which looks, plans, and writes what is missing.
//!
//! A task looks when a wish is new, after trouble (sooner first, then every minute), and otherwise every ten minutes. A Kafka
//! that does not answer is left alone in between, whoever wishes something of it, so that an outage costs nobody anything.
//! Only the leader writes; the others look, and write as soon as they lead.

mod board;
mod pace;
mod round;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::board::Board;
use self::task::Task;
use super::admin::{AdminError, KafkaAdmin};
use super::{KafkaSettings, Report, Topics, Wish};
use crate::leader::Writing;
use crate::wake::Wake;

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
    wake: Wake,
    connect: Connect,
    writing: Arc<dyn Writing>,
    confirm: Arc<dyn Confirm>,
    stop: CancellationToken,
}

impl KafkaTopics {
    /// Nothing runs until something is wished. [`super::admin::connect`] is what connects to a real Kafka. `wake` is told of
    /// every `ImCluster` whose report is another than before.
    pub fn new(connect: Connect, writing: Arc<dyn Writing>, confirm: Arc<dyn Confirm>, wake: Wake) -> Self {
        let shared =
            Shared { board: Board::default(), wake, connect, writing, confirm, stop: CancellationToken::new() };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
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
        if let Some(kafka) = new {
            self.tasks.spawn(Task::new(Arc::clone(&self.shared), kafka).run());
        }
        report
    }

    fn forget(&self, cluster: &str) {
        self.shared.board.forget(cluster);
    }
}
