//! The right to write of this process.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{LEFT_FOR_WRITES, Writing};

/// The right to write: there while the lease is, until it is given up.
#[derive(Debug, Default)]
pub struct Hold {
    right: Mutex<Right>,
    under_way: TaskTracker,
}

#[derive(Debug, Default)]
struct Right {
    /// Until when the lease is this process's.
    until: Option<Instant>,
    /// Given up for good, whatever comes of the lease.
    given_up: bool,
}

impl Hold {
    /// The lease lasts until then; `None`: this process has none.
    pub fn lasts(&self, until: Option<Instant>) {
        self.right.lock().until = until;
    }

    /// No write begins any more. Returns when none is under way: after [`super::WRITE_LIMIT`] at the latest.
    pub async fn give_up(&self) {
        self.right.lock().given_up = true;
        self.under_way.close();
        self.under_way.wait().await;
    }
}

impl Writing for Hold {
    fn left(&self) -> Option<Duration> {
        let right = self.right.lock();
        let until = right.until.filter(|_| !right.given_up)?;
        until.checked_duration_since(Instant::now() + LEFT_FOR_WRITES)
    }

    fn under_way(&self) -> Option<TaskTrackerToken> {
        Some(self.under_way.token())
    }
}
