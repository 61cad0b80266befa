//! What to do at each moment of a drain: time and facts in, what to do out.

use std::time::{Duration, Instant};

/// How a server is to be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// After this time everyone who is left is sent away at once.
    pub deadline: Duration,
    /// Until then so many connections per second are.
    pub per_second: u32,
}

/// How long those who were sent away have to go, before the drain is over whether they went or not.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// After a pause no more are sent away at once than in this time: the rate is a promise to the other servers.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Shortest and longest time over which those who are sent away together come back: what is left at a deadline would
/// otherwise reach the others as one wave.
const SPREAD: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// What is known at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) connections: usize,
    /// No other server takes connections: there is nobody to spare, and nowhere to go.
    pub(super) alone: bool,
}

/// What to do at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Take new connections.
    pub(super) accept: bool,
    /// Send so many away.
    pub(super) send_away: usize,
    /// Over which time they are to come back.
    pub(super) spread: Duration,
    /// The drain is over.
    pub(super) over: bool,
}

/// A drain from its order to its end.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    order: Order,
    began: Instant,
    /// From here on no new connections are taken: until then balancers learn that this server is not ready.
    closed: Instant,
    /// Up to here the rate is used up.
    paid: Instant,
    /// When everyone was sent away.
    emptied: Option<Instant>,
    over: bool,
}

impl Plan {
    pub(super) fn new(order: Order, now: Instant, notice: Duration) -> Self {
        let closed = now + notice;
        Self { order, began: now, closed, paid: closed, emptied: None, over: false }
    }

    /// Another order: what has begun has begun, so its deadline counts from there.
    pub(super) fn change(&mut self, order: Order) {
        self.order = order;
    }

    pub(super) fn order(&self) -> Order {
        self.order
    }

    fn deadline(&self) -> Instant {
        self.began + self.order.deadline
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn step(&mut self, now: Instant, Facts { connections, alone }: Facts) -> Step {
        let mut step = Step { accept: false, send_away: 0, spread: SPREAD.0, over: false };
        if self.over {
            // Who slipped in at the last moment does not stay.
            step.send_away = connections;
        } else if let Some(emptied) = self.emptied {
            self.over = connections == 0 || now >= emptied + GOODBYE;
        } else if alone || now >= self.deadline() {
            self.emptied = Some(now);
            self.over = connections == 0;
            step.send_away = connections;
            step.spread = self.time_for(connections).clamp(SPREAD.0, SPREAD.1);
        } else if now < self.closed {
            step.accept = true;
        } else {
            self.paid = self.paid.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            let due = now.saturating_duration_since(self.paid).as_nanos() * u128::from(self.order.per_second);
            let due = u32::try_from(due / Duration::from_secs(1).as_nanos()).unwrap_or(u32::MAX);
            self.paid += self.time_for(due as usize);
            step.send_away = connections.min(due as usize);
            self.over = connections == 0;
        }
        step.over = self.over;
        step
    }

    fn time_for(&self, connections: usize) -> Duration {
        let nanos = Duration::from_secs(1).as_nanos() * connections as u128 / u128::from(self.order.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTICE: Duration = Duration::from_secs(7);

    /// Plays a drain of `connections`, all of whom go when they are told to: what each step said, with its time.
    fn play(order: Order, mut connections: usize, pauses: &[u64], alone_at: usize) -> Vec<(Duration, Step)> {
        let start = Instant::now();
        let mut plan = Plan::new(order, start, NOTICE);
        let mut now = start;
        let mut said = Vec::new();
        for (n, pause) in pauses.iter().enumerate() {
            let step = plan.step(now, Facts { connections, alone: n >= alone_at });
            connections -= step.send_away;
            said.push((now - start, step));
            now += Duration::from_millis(*pause);
        }
        said
    }

    fn orders() -> impl Strategy<Value = Order> {
        (0_u64..120, 1_u32..500)
            .prop_map(|(seconds, per_second)| Order { deadline: Duration::from_secs(seconds), per_second })
    }

    proptest! {
        #[test]
        fn until_the_deadline_nobody_is_sent_away_faster_than_the_rate(
            order in orders(), connections in 0_usize..20_000, pauses in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            let said = play(order, connections, &pauses, usize::MAX);
            for (n, (from, _)) in said.iter().enumerate() {
                let mut sent = 0;
                for (at, step) in said[n..].iter().filter(|(at, _)| *at < order.deadline) {
                    sent += step.send_away;
                    let seconds = (at.saturating_sub(*from) + CATCH_UP).as_secs_f64();
                    let sent = f64::from(u32::try_from(sent).expect("no more than there are"));
                    prop_assert!(sent <= seconds * f64::from(order.per_second) + 1.0, "{sent} in {seconds} s");
                }
            }
        }

        #[test]
        fn new_connections_are_taken_during_the_notice_and_never_after(
            order in orders(), connections in 0_usize..20_000, pauses in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            for (at, step) in play(order, connections, &pauses, usize::MAX) {
                let notice = at < NOTICE && at < order.deadline;
                prop_assert_eq!(step.accept, notice, "at {:?}", at);
                prop_assert!(!notice || step.send_away == 0);
            }
        }

        #[test]
        fn everyone_is_sent_away_by_the_deadline_and_then_it_is_over(
            order in orders(), connections in 0_usize..20_000, pauses in prop::collection::vec(0_u64..3_000, 1..200),
        ) {
            let said = play(order, connections, &pauses, usize::MAX);
            let mut left = connections;
            for (n, (at, step)) in said.iter().enumerate() {
                left -= step.send_away;
                prop_assert!(*at < order.deadline || left == 0);
                prop_assert!(!step.over || left == 0);
                prop_assert!(said[..n].iter().all(|(_, earlier)| !earlier.over) || step.over, "over stays over");
            }
            let late = said.last().is_some_and(|(at, _)| *at > order.deadline + GOODBYE + Duration::from_secs(3));
            prop_assert!(!late || said.last().unwrap().1.over);
        }

        #[test]
        fn with_nowhere_to_go_it_ends_at_once(
            order in orders(), connections in 0_usize..20_000, alone_at in 0_usize..5,
        ) {
            let said = play(order, connections, &[100; 7], alone_at);
            let sent: usize = said[..=alone_at].iter().map(|(_, step)| step.send_away).sum();
            prop_assert_eq!(sent, connections);
            prop_assert!(said[alone_at + 1].1.over);
        }
    }

    #[test]
    fn twenty_thousand_go_in_a_hundred_seconds_at_two_hundred_per_second() {
        let order = Order { deadline: Duration::from_mins(5), per_second: 200 };
        let said = play(order, 20_000, &[100; 1_200], usize::MAX);
        let gone = said.iter().rev().find(|(_, step)| step.send_away > 0).unwrap().0;
        assert_eq!(gone, NOTICE + Duration::from_secs(100));
    }

    #[test]
    fn who_does_not_go_cannot_hold_the_end_up() {
        let start = Instant::now();
        let order = Order { deadline: Duration::from_secs(10), per_second: 1 };
        let mut plan = Plan::new(order, start, NOTICE);
        let stuck = Facts { connections: 3, alone: false };
        assert_eq!(plan.step(start + order.deadline, stuck).send_away, 3);
        assert!(!plan.step(start + order.deadline + Duration::from_secs(1), stuck).over);
        assert!(plan.step(start + order.deadline + GOODBYE, stuck).over);
    }

    #[test]
    fn what_is_left_at_the_deadline_comes_back_over_the_time_it_would_have_taken() {
        let start = Instant::now();
        let order = Order { deadline: Duration::from_secs(10), per_second: 200 };
        let spread = |connections| {
            let mut plan = Plan::new(order, start, NOTICE);
            plan.step(start + order.deadline, Facts { connections, alone: false }).spread.as_secs()
        };
        assert_eq!([spread(1), spread(2_000), spread(20_000)], [3, 10, 30]);
    }

    #[test]
    fn another_order_counts_from_the_same_start() {
        let start = Instant::now();
        let mut plan = Plan::new(Order { deadline: Duration::from_mins(5), per_second: 1 }, start, NOTICE);
        plan.change(Order { deadline: Duration::from_secs(20), per_second: 1 });
        assert_eq!(plan.deadline(), start + Duration::from_secs(20));
    }
}
