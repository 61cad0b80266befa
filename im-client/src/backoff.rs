//! When to try again.

use std::time::Duration;

/// The bound of the first wait.
const BASE: Duration = Duration::from_millis(500);
/// No wait is longer than this.
const CAP: Duration = Duration::from_secs(30);

/// Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): uniform in `[0, min(cap, base · 2^attempt))`,
/// so that the clients of a server that died do not come back together.
///
/// `attempt` counts failures so far, from 0; `random` is uniform in `[0, 1)`.
pub fn full_jitter(attempt: u32, random: f64) -> Duration {
    let bound = BASE.saturating_mul(1 << attempt.min(16)).min(CAP);
    bound.mul_f64(random.clamp(0.0, 1.0))
}

/// A period spread by ±20 %, so that the periodic work of many clients does not line up.
pub fn spread(period: Duration, random: f64) -> Duration {
    period.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
}

/// When to connect again: what the server asked for in `goaway`, else by full jitter.
pub fn reconnect_after(asked_ms: Option<u64>, attempt: u32, random: f64) -> Duration {
    match asked_ms {
        // A server cannot keep a client away for good.
        Some(ms) => Duration::from_millis(ms).min(10 * CAP),
        None => full_jitter(attempt, random),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wait_is_below_the_doubled_base_and_never_above_the_cap(attempt in any::<u32>(), random in 0.0..1.0_f64) {
            let wait = full_jitter(attempt, random);
            let doubled = BASE.as_secs_f64() * 2_f64.powf(f64::from(attempt.min(1000)));
            prop_assert!(wait <= CAP);
            prop_assert!(wait.as_secs_f64() <= doubled);
        }

        #[test]
        fn a_spread_period_stays_within_a_fifth(random in 0.0..1.0_f64) {
            let period = spread(Duration::from_mins(5), random);
            prop_assert!((Duration::from_mins(4)..=Duration::from_mins(6)).contains(&period));
        }
    }

    #[test]
    fn the_whole_range_is_used_so_that_clients_spread() {
        assert_eq!(full_jitter(3, 0.0), Duration::ZERO);
        assert_eq!(full_jitter(3, 0.5), Duration::from_secs(2));
        assert_eq!(full_jitter(30, 1.0), CAP);
    }

    #[test]
    fn a_goaway_says_when_to_come_back() {
        assert_eq!(reconnect_after(Some(1830), 7, 0.9), Duration::from_millis(1830));
        assert_eq!(reconnect_after(None, 0, 0.5), Duration::from_millis(250));
        assert_eq!(reconnect_after(Some(u64::MAX), 0, 0.0), Duration::from_mins(5));
    }
}
