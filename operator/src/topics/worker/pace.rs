//! When to look again.

use std::time::Duration;

/// Between two looks at topics that are as wished, about.
const AUDIT: Duration = Duration::from_mins(10);

/// Before the first try after trouble, about. It doubles with every other.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// Between tries that go on failing, about.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// How long until all is looked at again.
pub(super) fn until_audit() -> Duration {
    around(AUDIT)
}

/// How long until the next try, after so many that failed.
pub(super) fn until_retry(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    around((FIRST_RETRY * (1 << doublings)).min(LAST_RETRY))
}

/// Up to a fifth more or less, so that what began at the same time does not go on so.
fn around(period: Duration) -> Duration {
    period.mul_f64(rand::random_range(0.8..=1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(duration: Duration, seconds: f64) -> bool {
        (0.8 * seconds..=1.2 * seconds + 1e-6).contains(&duration.as_secs_f64())
    }

    #[test]
    fn retries_begin_after_seconds_and_end_at_a_minute() {
        for (failures, seconds) in [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, 60.0), (7, 60.0), (u32::MAX, 60.0)] {
            let wait = until_retry(failures);
            assert!(within(wait, seconds), "{wait:?} after {failures}");
        }
    }

    #[test]
    fn audits_are_ten_minutes_apart_and_do_not_keep_step() {
        let waits: Vec<_> = (0..50).map(|_| until_audit()).collect();
        assert!(waits.iter().all(|&wait| within(wait, 600.0)));
        assert!(waits.iter().any(|&wait| wait != waits[0]));
    }
}
