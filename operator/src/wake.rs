//! Waking a reconcile: which `ImCluster`s have something new to look at.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// UIDs of `ImCluster`s that wait for a reconcile. One that is named again before it was taken waits once, so there are never
/// more than there are clusters.
#[derive(Clone, Default)]
pub struct Wake {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<BTreeSet<String>>,
    news: Notify,
}

impl Wake {
    /// Asks for a reconcile of a cluster. Does not wait.
    pub fn wake(&self, cluster: &str) {
        self.shared.waiting.lock().insert(cluster.to_owned());
        self.shared.news.notify_one();
    }

    /// The next cluster that waits. Nothing is lost if the future is dropped. One task takes them.
    pub async fn next(&self) -> String {
        loop {
            if let Some(cluster) = self.shared.waiting.lock().pop_first() {
                return cluster;
            }
            self.shared.news.notified().await;
        }
    }

    /// The clusters that wait, one after the other, without an end.
    pub fn stream(self) -> impl Stream<Item = String> {
        futures_util::stream::unfold(self, |wake| async move { Some((wake.next().await, wake)) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_cluster_that_is_named_twice_before_it_was_taken_waits_once() {
        let wake = Wake::default();
        for cluster in ["b", "a", "b"] {
            wake.wake(cluster);
        }
        let taken: Vec<_> = wake.clone().stream().take(2).collect().await;
        assert_eq!(taken, ["a", "b"]);
        assert_eq!(wake.next().now_or_never(), None);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_what_comes_later() {
        let wake = Wake::default();
        let waiting = tokio::spawn({
            let wake = wake.clone();
            async move { wake.next().await }
        });
        tokio::task::yield_now().await;
        wake.wake("a");
        assert_eq!(waiting.await.expect("it does not panic"), "a");
    }
}
