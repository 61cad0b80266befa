//! A lease as its holder sees it. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A lease, by the holder's own clock. The store's clock decides, and it begins each lease after it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    ttl: Duration,
    /// When the last renewal that succeeded was asked for.
    renewed: Instant,
    /// Since when every renewal has succeeded.
    steady: Option<Instant>,
}

impl Lease {
    /// A lease that was asked for at `asked`.
    pub(super) fn taken(asked: Instant, ttl: Duration) -> Self {
        Self { ttl, renewed: asked, steady: None }
    }

    /// A renewal that was asked for at `asked` has succeeded at `answered`. True if the lease may have run out before.
    pub(super) fn renewed(&mut self, asked: Instant, answered: Instant) -> bool {
        let gap = answered.duration_since(self.renewed);
        if gap > self.ttl / 2 {
            self.steady = None;
        }
        self.steady.get_or_insert(answered);
        self.renewed = asked;
        gap > self.ttl
    }

    /// A renewal has failed: the store is out of reach, perhaps for everyone.
    pub(super) fn failed(&mut self) {
        self.steady = None;
    }

    /// How long ago it was renewed.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.renewed)
    }

    /// Whether another's lease that has run out means that its holder is dead. After an outage of the store everybody's
    /// lease has run out at once; who lives has renewed it one time to live later.
    pub(super) fn may_judge(&self, now: Instant) -> bool {
        // A process that was stopped does not know how the others fared meanwhile.
        let fresh = self.age(now) <= self.ttl / 2;
        fresh && self.steady.is_some_and(|since| now.duration_since(since) >= self.ttl)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Renews every three seconds from `from` to `to`.
    fn renew(lease: &mut Lease, start: Instant, from: u64, to: u64) -> bool {
        (from..=to).step_by(3_000).fold(false, |lapsed, at| lapsed | lease.renewed(start + ms(at), start + ms(at + 5)))
    }

    #[test]
    fn who_has_renewed_for_one_time_to_live_may_judge() {
        let start = Instant::now();
        let mut lease = Lease::taken(start, TTL);
        assert!(!renew(&mut lease, start, 100, 9_100));
        assert!(!lease.may_judge(start + ms(10_000)));
        assert!(lease.may_judge(start + ms(10_105)));
    }

    #[test]
    fn after_an_outage_nobody_may_judge_for_one_time_to_live() {
        let start = Instant::now();
        let mut lease = Lease::taken(start, TTL);
        renew(&mut lease, start, 0, 30_000);
        assert!(lease.may_judge(start + ms(31_000)));
        lease.failed();
        assert!(!lease.may_judge(start + ms(32_000)));
        assert!(renew(&mut lease, start, 60_000, 69_000), "the lease has run out");
        assert!(!lease.may_judge(start + ms(69_900)));
        assert!(lease.may_judge(start + ms(70_005)));
    }

    #[test]
    fn who_was_stopped_may_not_judge_before_it_has_renewed_again() {
        let start = Instant::now();
        let mut lease = Lease::taken(start, TTL);
        renew(&mut lease, start, 0, 30_000);
        assert!(!lease.may_judge(start + ms(36_000)), "nothing has failed, but it has not been heard of for long");
        assert!(!lease.renewed(start + ms(36_000), start + ms(36_010)), "in time");
        assert!(!lease.may_judge(start + ms(37_000)));
        assert!(lease.may_judge(start + ms(36_010) + TTL) || lease.age(start + ms(36_010) + TTL) > TTL / 2);
    }

    proptest! {
        #[test]
        fn nobody_judges_within_a_time_to_live_of_a_failure_or_a_gap(
            steps in prop::collection::vec((1_u64..8_000, any::<bool>()), 1..40),
            later in 0_u64..20_000,
        ) {
            let start = Instant::now();
            let mut lease = Lease::taken(start, TTL);
            let (mut at, mut good, mut broken) = (0, 0, 0);
            for (pause, works) in steps {
                at += pause;
                if at - good > 5_000 || !works {
                    broken = at;
                }
                if works {
                    lease.renewed(start + ms(at), start + ms(at));
                    good = at;
                } else {
                    lease.failed();
                }
            }
            let now = at + later;
            if lease.may_judge(start + ms(now)) {
                prop_assert!(now - broken >= 10_000, "{now} {broken}");
                prop_assert!(now - good <= 5_000);
            }
        }
    }
}
