//! The life of one gateway: time comes in, and nothing here waits.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The body of `POST /drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOrder {
    /// Seconds until whoever is left is sent away at once; from the first order on, if there was one.
    pub deadline_seconds: u32,
    /// Connections sent away per second until then; at least 1.
    pub connections_per_second: u32,
}

/// Where a gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Takes connections.
    Serving,
    /// Sends its connections away.
    Draining,
    /// Has sent everyone away.
    Drained,
}

/// The drain under way, or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// When whoever is left is sent away at once: Unix milliseconds.
    pub deadline: u64,
    /// Connections still to go.
    pub remaining: u64,
}

/// One gateway. Before it is asked anything at a moment, it has to [`Life::come_to`] that moment.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Connections that it holds.
    pub connections: u64,
    /// It has not started yet.
    pub starting: bool,
    /// How long it takes new connections after the order to drain, and sends nobody away. Zero, because no balancer has to
    /// learn of it; im-server takes 5 s and a probe's period.
    pub notice: Duration,
    drain: Option<Drain>,
}

#[derive(Clone, Debug)]
struct Drain {
    order: DrainOrder,
    began: Instant,
    /// The same moment: Unix milliseconds.
    began_ms: u64,
    /// Up to here the rate is used up.
    paid: Instant,
    over: bool,
}

impl Life {
    /// Lets the time pass.
    pub fn come_to(&mut self, now: Instant) {
        let Some(drain) = &mut self.drain else { return };
        if drain.over || now >= drain.began + Duration::from_secs(drain.order.deadline_seconds.into()) {
            self.connections = 0;
            drain.over = true;
        }
        if drain.over || now < drain.began + self.notice {
            return;
        }
        drain.paid = drain.paid.max(drain.began + self.notice);
        let rate = u128::from(drain.order.connections_per_second.max(1));
        let due = now.saturating_duration_since(drain.paid).as_nanos() * rate / NANOS;
        let gone = u64::try_from(due).unwrap_or(u64::MAX).min(self.connections);
        let took = u64::try_from(u128::from(gone) * NANOS / rate).unwrap_or(u64::MAX);
        drain.paid += Duration::from_nanos(took);
        self.connections -= gone;
        drain.over = self.connections == 0;
    }

    /// Begins to drain, or goes on with other values.
    pub fn order(&mut self, order: DrainOrder, now: Instant, now_ms: u64) {
        match &mut self.drain {
            Some(drain) => drain.order = order,
            None => self.drain = Some(Drain { order, began: now, began_ms: now_ms, paid: now, over: false }),
        }
        self.come_to(now);
    }

    /// Takes the drain back.
    pub fn undo(&mut self) {
        self.drain = None;
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        match &self.drain {
            _ if self.starting => Phase::Starting,
            None => Phase::Serving,
            Some(Drain { over: false, .. }) => Phase::Draining,
            Some(_) => Phase::Drained,
        }
    }

    /// The drain under way, or done.
    pub fn drain(&self) -> Option<DrainStatus> {
        let drain = self.drain.as_ref()?;
        let deadline = drain.began_ms + 1_000 * u64::from(drain.order.deadline_seconds);
        Some(DrainStatus { deadline, remaining: self.connections })
    }
}

/// In a second.
const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: DrainOrder = DrainOrder { deadline_seconds: 60, connections_per_second: 10 };

    fn drained_by(order: DrainOrder, connections: u64) -> (Life, Instant) {
        let start = Instant::now();
        let mut life = Life { connections, ..Life::default() };
        life.order(order, start, 1_000);
        (life, start)
    }

    fn at(life: &mut Life, moment: Instant) -> (u64, Phase) {
        life.come_to(moment);
        (life.connections, life.phase())
    }

    #[test]
    fn connections_fall_at_the_ordered_rate_however_often_one_looks() {
        let (mut life, start) = drained_by(ORDER, 100);
        for tenths in 0..100 {
            assert_eq!(at(&mut life, start + Duration::from_millis(100 * tenths)), (100 - tenths, Phase::Draining));
        }
        assert_eq!(at(&mut life, start + Duration::from_secs(10)), (0, Phase::Drained));
        let (mut rarely, start) = drained_by(ORDER, 100);
        assert_eq!(at(&mut rarely, start + Duration::from_millis(7_350)), (27, Phase::Draining));
    }

    #[test]
    fn whoever_is_left_at_the_deadline_goes_at_once() {
        let (mut life, start) = drained_by(ORDER, 1_000);
        assert_eq!(at(&mut life, start + Duration::from_millis(59_999)).0, 401);
        assert_eq!(at(&mut life, start + Duration::from_mins(1)), (0, Phase::Drained));
    }

    #[test]
    fn another_order_changes_the_rate_from_now_on_and_the_deadline_from_the_first_order_on() {
        let (mut life, start) = drained_by(ORDER, 1_000);
        let middle = start + Duration::from_secs(10);
        life.come_to(middle);
        life.order(DrainOrder { deadline_seconds: 20, connections_per_second: 50 }, middle, 11_000);
        assert_eq!(life.drain(), Some(DrainStatus { deadline: 21_000, remaining: 900 }));
        assert_eq!(at(&mut life, middle + Duration::from_secs(2)), (800, Phase::Draining));
        assert_eq!(at(&mut life, start + Duration::from_secs(20)), (0, Phase::Drained));
    }

    #[test]
    fn the_same_order_again_changes_nothing() {
        let (mut life, start) = drained_by(ORDER, 100);
        let later = start + Duration::from_secs(3);
        life.come_to(later);
        life.order(ORDER, later, 4_000);
        assert_eq!(life.drain(), Some(DrainStatus { deadline: 61_000, remaining: 70 }));
        assert_eq!(at(&mut life, start + Duration::from_secs(10)).1, Phase::Drained);
    }

    #[test]
    fn nobody_goes_before_the_notice_is_over() {
        let start = Instant::now();
        let mut life = Life { connections: 10, notice: Duration::from_secs(5), ..Life::default() };
        life.order(ORDER, start, 0);
        assert_eq!(at(&mut life, start + Duration::from_secs(5)), (10, Phase::Draining));
        assert_eq!(at(&mut life, start + Duration::from_secs(6)), (0, Phase::Drained));
    }

    #[test]
    fn one_without_connections_is_drained_at_once() {
        let (life, _) = drained_by(ORDER, 0);
        assert_eq!(life.phase(), Phase::Drained);
    }

    #[test]
    fn a_drain_that_is_taken_back_keeps_who_is_left() {
        let (mut life, start) = drained_by(ORDER, 100);
        life.come_to(start + Duration::from_secs(4));
        life.undo();
        assert_eq!(at(&mut life, start + Duration::from_mins(2)), (60, Phase::Serving));
        assert_eq!(life.drain(), None);
    }
}
