//! One operator writes: the holder of a `Lease`.
//!
//! [`election`] decides, [`lease`] talks to the API server, [`task`] runs both, [`hold`] is the right to write that comes of it.
//!
//! A leader that loses the lease, or cannot renew it in time, ends its process: what it had under way was decided while it led,
//! and nothing of it may go on. The restarted process is a candidate like any other.
//!
//! What no clock can promise is what happens between the look at the clock and the arrival of a write: a process that stands still
//! there for longer than the lease lasts writes late, and on a machine that is suspended the clock stands still as well. So writes that cannot be taken back look at what they change first, and
//! name its version.

pub mod election;
pub mod hold;
pub mod lease;
pub mod task;

#[cfg(test)]
mod simulation;

use std::future::Future;
use std::time::Duration;

use tokio_util::task::task_tracker::TaskTrackerToken;

pub use election::Lost;
pub use lease::KubeLease;
pub use task::Leadership;

/// How long a write may take at most, with all its retries.
pub const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// What must be left of the lease when a write begins.
pub const LEFT_FOR_WRITES: Duration = Duration::from_secs(6);

/// Whether this process may write. Every write of the operator, to Kubernetes and to Kafka, passes here.
pub trait Writing: Send + Sync {
    /// How long writes may begin from now on; `None`: not the leader, or too little is left of the lease.
    fn left(&self) -> Option<Duration>;

    /// Counts a write as under way until what this gives is dropped: the lease is kept until none is.
    fn under_way(&self) -> Option<TaskTrackerToken> {
        None
    }
}

/// Why a write was not made, or is not known to have been.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// Another operator leads, or this one could not renew its lease in time.
    #[error("not the leader any more")]
    NotLeading,
    /// It took too long; it may have landed.
    #[error("no answer within {} s", WRITE_LIMIT.as_secs())]
    TimedOut,
}

/// Makes a write, if this process may, within the time that a write has.
pub async fn write<T>(writing: &dyn Writing, operation: impl Future<Output = T>) -> Result<T, NotWritten> {
    // Counted before the look: who releases the lease forbids first and waits then.
    let _under_way = writing.under_way();
    if writing.left().is_none() {
        return Err(NotWritten::NotLeading);
    }
    tokio::time::timeout(WRITE_LIMIT, operation).await.map_err(|_| NotWritten::TimedOut)
}
