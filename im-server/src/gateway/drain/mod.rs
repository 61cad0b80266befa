//! Emptying a server before it stops: not ready first, then closed to new connections, then everyone is sent away at a
//! bounded rate, and whoever is left at the deadline at once.

mod plan;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use im_protocol::TimeMs;
use im_protocol::server::GoAway;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};

pub use plan::Order;
use plan::{Facts, Plan, Step};

use super::Gateway;
use crate::api::{DrainStatus, Phase};
use crate::chat::now_ms;
use crate::hub::Connection;

/// Between two steps: at 200 connections per second, 20 at a time.
const TICK: Duration = Duration::from_millis(100);

/// Earliest return of one who is sent away: a client that is back at once may meet the same server again.
const EARLIEST_RETURN_MS: u64 = 200;

/// Balancers learn within a probe's period that a server is not ready, and need this long to act on it.
pub const SETTLE: Duration = Duration::from_secs(5);

/// Drains a gateway when it is told to.
pub struct Drain {
    gateway: Arc<Gateway>,
    phase: watch::Sender<Phase>,
    /// Whether no other server takes connections.
    alone: Box<dyn Fn() -> bool + Send + Sync>,
    /// How long new connections are still taken.
    notice: Duration,
    running: Mutex<Running>,
    told: Notify,
}

#[derive(Default)]
struct Running {
    plan: Option<Plan>,
    /// When it began: Unix milliseconds.
    began: TimeMs,
    /// The process is about to end: there is no way back.
    for_good: bool,
}

impl Drain {
    /// Drains `gateway`. `alone` tells whether no other server takes connections; `phase` follows.
    pub fn new(
        gateway: Arc<Gateway>,
        phase: watch::Sender<Phase>,
        alone: impl Fn() -> bool + Send + Sync + 'static,
        notice: Duration,
    ) -> Arc<Self> {
        let running = Mutex::default();
        Arc::new(Self { gateway, phase, alone: Box::new(alone), notice, running, told: Notify::new() })
    }

    /// Drains. Told again it goes on; other values count from the first order on.
    pub fn order(&self, order: Order) {
        {
            let mut running = self.running.lock();
            match &mut running.plan {
                Some(plan) => plan.change(order),
                None => self.begin(&mut running, order),
            }
        }
        self.told.notify_one();
    }

    /// Drains because the process is to end, and waits for it. A drain that runs goes on as it was ordered.
    pub async fn to_the_end(&self, order: Order) {
        {
            let mut running = self.running.lock();
            running.for_good = true;
            if running.plan.is_none() {
                self.begin(&mut running, order);
            }
        }
        self.told.notify_one();
        // The sender is in `self`: waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Drained | Phase::Fenced)).await;
    }

    /// Takes the order back, unless the process is about to end.
    pub fn undo(&self) {
        let mut running = self.running.lock();
        if running.for_good || running.plan.take().is_none() {
            return;
        }
        self.gateway.open();
        self.become_(Phase::Serving);
        tracing::info!("the drain was taken back");
    }

    /// Whether no other server is known to take connections. Others are known a few seconds after they begin to.
    pub fn is_alone(&self) -> bool {
        (self.alone)()
    }

    /// How the drain is, if there is one.
    pub fn status(&self) -> Option<DrainStatus> {
        let running = self.running.lock();
        let lasts = TimeMs::try_from(running.plan.as_ref()?.order().deadline.as_millis()).unwrap_or(TimeMs::MAX);
        Some(DrainStatus { deadline: running.began.saturating_add(lasts), remaining: self.gateway.connections() })
    }

    /// Does what is ordered. Runs until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut list = Vec::new();
        loop {
            if self.running.lock().plan.is_none() {
                list.clear();
                self.told.notified().await;
            }
            if let Some(step) = self.step() {
                self.send_away(&step, &mut list);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn begin(&self, running: &mut Running, order: Order) {
        let Order { deadline, per_second } = order;
        tracing::info!(?deadline, per_second, connections = self.gateway.connections(), "draining");
        self.become_(Phase::Draining);
        running.began = now_ms();
        running.plan = Some(Plan::new(order, Instant::now(), self.notice));
    }

    fn step(&self) -> Option<Step> {
        let facts = Facts { connections: self.gateway.connections(), alone: self.is_alone() };
        let mut running = self.running.lock();
        let plan = running.plan.as_mut()?;
        let was_over = plan.is_over();
        let step = plan.step(Instant::now(), facts);
        // Under the lock, so that an order that is taken back meanwhile does not leave the door shut.
        if !step.accept {
            self.gateway.shut();
        }
        if step.over && !was_over {
            tracing::info!(connections = facts.connections, "drained");
            self.become_(Phase::Drained);
        }
        Some(step)
    }

    /// Sends connections away. `list` holds some that are still to come: a look at all of them at every step would cost
    /// more than the goodbyes.
    fn send_away(&self, step: &Step, list: &mut Vec<Weak<Connection>>) {
        let spread_ms = u64::try_from(step.spread.as_millis()).unwrap_or(u64::MAX);
        let mut left = step.send_away;
        let mut looked = false;
        while left > 0 {
            let Some(connection) = list.pop() else {
                if std::mem::replace(&mut looked, true) {
                    return;
                }
                list.extend(self.gateway.hubs().iter().flat_map(|hub| hub.all()).map(|one| Arc::downgrade(&one)));
                continue;
            };
            let Some(connection) = connection.upgrade() else { continue };
            let reconnect_after_ms = rand::rng().random_range(EARLIEST_RETURN_MS..=spread_ms.max(EARLIEST_RETURN_MS));
            connection.sink.send_away(GoAway { reason: "draining".to_owned(), reconnect_after_ms });
            metrics::counter!("im_connections_sent_away_total").increment(1);
            left -= 1;
        }
    }

    /// A server that lost its id stays so.
    fn become_(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            *phase != Phase::Fenced && *phase != next && {
                *phase = next;
                true
            }
        });
    }
}
