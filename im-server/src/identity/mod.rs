//! Who this process is among the servers: the epoch it has taken, the lease it holds, the table of all servers, and
//! whether the registry has all it holds.
//!
//! One task per server id renews the lease; each renewal brings the table from the store, which is where epochs and
//! leases live. The router is given it, the registry mirrors it. A second task sees to it that the registry has every
//! route and interest, and writes them again when its content was lost.
//!
//! A store that is out of reach fences nobody: connections and delivery go on. Only a higher epoch does.

mod announce;
mod lease;
mod table;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_protocol::{Epoch, ServerId, TimeMs};
use im_sdk::registry::{Marker, Registry, Server, ServerTable};
use im_sdk::router::Router;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::Phase;
use crate::chat::now_ms;
use crate::hub::Hub;
use crate::store::{Holder, Renewal, Report, ServerRow, Store};
use lease::Lease;

/// How long a lease runs: a server that is gone is known to be gone this long after its last renewal.
pub const LEASE_TTL: Duration = Duration::from_secs(10);

/// Between two renewals lies the time planned for it, times one of these: servers started together do not stay together.
const JITTER: std::ops::Range<f64> = 0.9..1.1;

/// Deaths that a slow listener may be behind: more than there may be servers.
const DEATHS: usize = 1_024;

/// How often things happen, all by the time that a lease runs.
#[derive(Clone, Copy, Debug)]
struct Timing {
    ttl: Duration,
    /// Between two renewals, give or take [`JITTER`].
    renew: Duration,
    /// Between a renewal that failed and the next: several fit into what is left of the lease.
    retry: Duration,
    /// A renewal that takes longer has failed: two of them and their pauses still leave a rest of the lease.
    timeout: Duration,
}

impl Timing {
    fn of(ttl: Duration) -> Self {
        Self { ttl, renew: ttl * 3 / 10, retry: ttl / 10, timeout: ttl / 5 }
    }

    fn ttl_ms(&self) -> i64 {
        i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Takes a server id: its epoch rises, and whoever held it before is fenced. `address` is where the management port can
/// be reached from other machines.
pub async fn take(store: &dyn Store, server: ServerId, address: &str, ttl: Duration) -> anyhow::Result<Holder> {
    let taken = store.take_epoch(server, address, Timing::of(ttl).ttl_ms());
    let epoch = taken.await.with_context(|| format!("server id {server} cannot be taken"))?;
    tracing::info!(%server, %epoch, "this process holds the server id");
    Ok(Holder { server, epoch })
}

/// An epoch that is over: all routes and interests written under it are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Of this server id.
    pub server: ServerId,
    /// The epoch.
    pub epoch: Epoch,
    /// When this process noticed: Unix milliseconds.
    pub noticed: TimeMs,
    /// What has to be done once is this process's to do: it has the lowest id of those that live. Two may think so for
    /// a moment, none never does.
    pub ours: bool,
}

/// What an identity rests on.
pub struct Parts {
    /// Epochs and leases.
    pub store: Arc<dyn Store>,
    /// Mirrors the table, and has to know all that the hub holds.
    pub registry: Arc<dyn Registry>,
    /// Routes by the table.
    pub router: Arc<Router>,
    /// The connections under this server id.
    pub hub: Arc<Hub>,
    /// How the process is. It becomes fenced here.
    pub phase: watch::Sender<Phase>,
}

/// A server id that this process holds.
pub struct Identity {
    holder: Holder,
    timing: Timing,
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    router: Arc<Router>,
    hub: Arc<Hub>,
    phase: watch::Sender<Phase>,
    lease: Mutex<Lease>,
    /// The marker under which everything is written that is not in [`Hub::unwritten`].
    written: Mutex<Option<Marker>>,
    /// The table after the last renewal. The router's may be ahead.
    seen: Mutex<ServerTable>,
    /// How often the table came from the store.
    refreshed: watch::Sender<u32>,
    deaths: broadcast::Sender<Death>,
    /// What the store is told has changed: it should not wait for the next renewal.
    report: Notify,
    /// The registry has to be told everything again.
    forgotten: Notify,
    /// When it has to be told once more.
    once_more: Mutex<Option<Instant>>,
    leaving: CancellationToken,
    left: CancellationToken,
}

/// How a renewal ended.
enum Renewed {
    Held,
    /// The store is out of reach.
    Failed,
    Fenced,
}

impl Identity {
    /// The identity of a server id that was just taken with [`take`] for `ttl`. It has to [`enter`](Self::enter) the
    /// table and then [`start`](Self::start).
    pub fn new(holder: Holder, ttl: Duration, parts: Parts) -> Arc<Self> {
        let Parts { store, registry, router, hub, phase } = parts;
        Arc::new(Self {
            holder,
            timing: Timing::of(ttl),
            store,
            registry,
            router,
            hub,
            phase,
            lease: Mutex::new(Lease::taken(Instant::now(), ttl)),
            written: Mutex::default(),
            seen: Mutex::default(),
            refreshed: watch::Sender::new(0),
            deaths: broadcast::Sender::new(DEATHS),
            report: Notify::new(),
            forgotten: Notify::new(),
            once_more: Mutex::default(),
            leaving: CancellationToken::new(),
            left: CancellationToken::new(),
        })
    }

    /// The server id and its epoch.
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Enters the table. The consumer has to be in its place: from now on records come.
    pub async fn enter(&self) -> anyhow::Result<()> {
        // There is nothing yet that could be missing. A registry that is out of reach is told later.
        match self.registry.marker().await {
            Ok(marker) => *self.written.lock() = Some(marker),
            Err(error) => tracing::warn!(%error, "starting without the registry: every record will come here"),
        }
        let Holder { server, epoch } = self.holder;
        match self.renew().await {
            Renewed::Held => {}
            Renewed::Failed => anyhow::bail!("the lease of server id {server} cannot be renewed: see the log"),
            Renewed::Fenced => anyhow::bail!("another process has taken server id {server} meanwhile"),
        }
        if let Some(before) = epoch.0.checked_sub(1).filter(|&before| before > 0) {
            // Whoever held it before, nobody else may be there to notice.
            self.tell_death(server, Epoch(before), &self.router.table());
        }
        Ok(())
    }

    /// Starts the tasks; they end with the set.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.clone().keep_lease());
        tasks.spawn(self.clone().keep_announced());
    }

    /// Waits until every other living server has had the time to learn of this one since it entered the table: two loads
    /// of the table by this one, and the longest time between two by another. Without any other than `ours` there is
    /// nobody to wait for.
    pub async fn known_to_others(&self, ours: &[ServerId]) {
        let alone = || self.router.table().live().all(|(id, _)| ours.contains(&id));
        let (mut refreshed, mut phase) = (self.refreshed.subscribe(), self.phase.subscribe());
        let known = async {
            // The sender is in `self`: waiting cannot fail.
            let _ = refreshed.wait_for(|&times| times >= 2 || alone()).await;
            if !alone() {
                sleep(self.timing.renew.mul_f64(JITTER.end)).await;
            }
        };
        tokio::select! {
            () = known => {}
            _ = phase.wait_for(|phase| *phase == Phase::Fenced) => {}
        }
    }

    /// Whether another's lease that has run out means that its holder is dead: after an outage of the store it does
    /// not, until everyone has had the time to renew.
    pub fn may_judge(&self) -> bool {
        self.lease.lock().may_judge(Instant::now())
    }

    /// The epochs that end from now on. One who lags far behind loses the oldest.
    pub fn deaths(&self) -> broadcast::Receiver<Death> {
        self.deaths.subscribe()
    }

    /// Gives the server id back, once the connections are gone. At most `within`: a lease also ends by itself.
    pub async fn leave(&self, within: Duration) {
        self.leaving.cancel();
        if timeout(within, self.left.cancelled()).await.is_err() {
            tracing::warn!(server = %self.holder.server, "the lease could not be given back; it runs out by itself");
        }
    }

    /// Renews until the server leaves or another process has taken its id.
    async fn keep_lease(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        let mut pause = self.timing.renew;
        loop {
            let jitter = rand::rng().random_range(JITTER);
            tokio::select! {
                () = sleep(pause.mul_f64(jitter)) => {}
                () = self.report.notified() => {}
                _ = phase.changed() => {}
                () = self.leaving.cancelled() => break,
            }
            match self.renew().await {
                Renewed::Held => pause = self.timing.renew,
                Renewed::Failed => pause = self.timing.retry,
                Renewed::Fenced => {
                    let Holder { server, epoch } = self.holder;
                    tracing::error!(%server, %epoch, "another process has taken this server id");
                    self.phase.send_replace(Phase::Fenced);
                    break;
                }
            }
        }
        if *self.phase.borrow() != Phase::Fenced {
            self.release().await;
        }
        self.left.cancel();
    }

    async fn renew(&self) -> Renewed {
        let asked = Instant::now();
        let report = Report { serving: *self.phase.borrow() == Phase::Serving, announced: self.announced() };
        let renewal = self.store.renew(self.holder, report, self.timing.ttl_ms());
        let renewal = timeout(self.timing.timeout, renewal).await;
        let renewed = match renewal {
            Ok(Ok(Renewal::Held(rows))) => {
                let lapsed = self.lease.lock().renewed(asked, Instant::now());
                self.refresh(&rows, report, lapsed).await;
                Renewed::Held
            }
            Ok(Ok(Renewal::Fenced)) => Renewed::Fenced,
            Ok(Err(error)) => self.failed(&error).await,
            Err(_) => self.failed(&"no answer in time").await,
        };
        let age = self.lease.lock().age(Instant::now());
        metrics::gauge!("im_lease_age_seconds", "server" => self.holder.server.to_string()).set(age);
        renewed
    }

    /// The store is out of reach. The registry may know all the same that another process has taken the id: an epoch
    /// comes from the store only.
    async fn failed(&self, error: &(dyn std::fmt::Display + Sync)) -> Renewed {
        tracing::warn!(%error, server = %self.holder.server, "the lease could not be renewed; trying again");
        self.lease.lock().failed();
        if let Err(error) = self.router.refresh().await {
            tracing::debug!(%error, "the table of servers is kept as it was");
        }
        let taken = self.router.table().get(self.holder.server).is_some_and(|it| it.epoch > self.holder.epoch);
        if taken { Renewed::Fenced } else { Renewed::Failed }
    }

    /// Takes in the table that came with a renewal, and brings the registry's mirror up to date.
    async fn refresh(&self, rows: &[ServerRow], report: Report, lapsed: bool) {
        let mirror = self.registry.servers().await.ok();
        let before = self.seen.lock().clone();
        let fresh = table::seen(rows, &before, mirror.as_ref(), self.may_judge());
        let risen = table::taken_again(&before, &fresh);
        if risen > 0 {
            metrics::counter!("im_epoch_changes_total").increment(risen);
        }
        for (server, epoch) in table::deaths(&before, &fresh) {
            self.tell_death(server, epoch, &fresh);
        }
        self.router.observe(&fresh);
        let given_up = self.was_given_up(mirror.as_ref(), lapsed);
        if given_up {
            tracing::warn!(server = %self.holder.server, "this server was taken for dead: it announces itself again");
            *self.written.lock() = None;
        }
        if let Some(mirror) = mirror {
            let own = Server {
                epoch: self.holder.epoch,
                live: true,
                serving: report.serving,
                announced: report.announced.filter(|_| self.announced() == report.announced),
            };
            let missing = table::missing(&fresh, &mirror, self.holder);
            for (id, server) in std::iter::once((self.holder.server, own)).chain(missing) {
                if let Err(error) = self.registry.set_server(id, server).await {
                    tracing::debug!(%error, "the table of servers could not be mirrored");
                    break;
                }
            }
        }
        if given_up {
            // Not before the others can learn of it: until they do, they send nothing here.
            self.write_everything_again();
        }
        *self.seen.lock() = fresh;
        self.refreshed.send_modify(|times| *times += 1);
    }

    /// Whether others may have taken this server for dead: they then delete its routes as they meet them, and send it
    /// nothing.
    fn was_given_up(&self, mirror: Option<&ServerTable>, lapsed: bool) -> bool {
        match mirror {
            Some(mirror) => mirror.get(self.holder.server).is_some_and(|it| it.epoch == self.holder.epoch && !it.live),
            None => lapsed,
        }
    }

    fn tell_death(&self, server: ServerId, epoch: Epoch, table: &ServerTable) {
        let ours = table::is_first(table, self.holder.server);
        tracing::info!(%server, %epoch, ours, "an epoch is over");
        // Nobody may be listening.
        let _ = self.deaths.send(Death { server, epoch, noticed: now_ms(), ours });
    }

    /// Ends the lease at once, for others to see.
    async fn release(&self) {
        let Holder { server, epoch } = self.holder;
        match timeout(self.timing.timeout, self.store.release(self.holder)).await {
            Ok(Ok(())) => tracing::info!(%server, %epoch, "the server id is given back"),
            Ok(Err(error)) => {
                tracing::warn!(%error, %server, "the lease could not be given back; it runs out by itself");
            }
            Err(_) => tracing::warn!(%server, "the lease could not be given back in time; it runs out by itself"),
        }
        let gone = Server { epoch, live: false, serving: false, announced: None };
        if let Err(error) = self.registry.set_server(server, gone).await {
            tracing::debug!(%error, "the table of servers could not be mirrored");
        }
    }
}
