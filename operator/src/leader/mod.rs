//! One operator writes: the holder of a `Lease`.

use std::future::Future;
use std::time::Duration;

/// How long a write may take at most, with all its retries.
pub const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// What must be left of the lease when a write begins.
pub const LEFT_FOR_WRITES: Duration = Duration::from_secs(6);

/// Whether this process may write. Every write of the operator, to Kubernetes and to Kafka, passes here.
#[async_trait::async_trait]
pub trait Writing: Send + Sync {
    /// How long writes may begin from now on; `None`: not the leader, or too little is left of the lease.
    fn left(&self) -> Option<Duration>;
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
    if writing.left().is_none() {
        return Err(NotWritten::NotLeading);
    }
    tokio::time::timeout(WRITE_LIMIT, operation).await.map_err(|_| NotWritten::TimedOut)
}
