//! Waiting for what has to happen: looking again until it has, and failing when that takes too long.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until something is so, but not longer than `limit`.
#[track_caller]
pub(crate) fn until_within(limit: Duration, what: &str, mut so: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    done_within(limit, async move || so().await.then_some(()).ok_or(what))
}

/// Tries until it works, but not longer than `limit`; what the last try came to is told then.
#[track_caller]
pub(crate) fn done_within<T, E: Display>(
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let mut instead = None;
        let trying = async {
            loop {
                match attempt().await {
                    Ok(value) => break value,
                    Err(error) => instead = Some(error),
                }
                sleep(PAUSE).await;
            }
        };
        let value = timeout(limit, trying).await;
        value.unwrap_or_else(|_| {
            let instead = instead.map_or_else(|| "no try came to an end".to_owned(), |error| error.to_string());
            panic!("in vain for {limit:?} at {caller}: {instead}")
        })
    }
}
