//! What a cluster does on its own time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Longest wait: rules reach the kernel, and descriptions the API server, seconds after what they follow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tries again until it succeeds.
pub(crate) fn eventually<T, E: Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(success) => return success,
            Err(error) => assert!(Instant::now() < deadline, "it still fails after {PATIENCE:?}: {error:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
