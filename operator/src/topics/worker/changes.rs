//! Who has a new report.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// `ImCluster`s by UID, each once, until somebody takes them.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<BTreeSet<String>>,
    ready: Notify,
}

impl Changes {
    pub(super) fn tell(&self, cluster: &str) {
        self.waiting.lock().insert(cluster.to_owned());
        self.ready.notify_one();
    }

    /// Waits for one, and takes it. It may be given up at any time.
    pub(super) async fn next(&self) -> String {
        loop {
            let first = self.waiting.lock().pop_first();
            match first {
                Some(cluster) => return cluster,
                None => self.ready.notified().await,
            }
        }
    }
}
