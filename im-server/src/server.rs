//! A running server: the pieces put together, in the order in which they can be started, and taken apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_protocol::ServerId;
use im_sdk::bus::Bus;
use im_sdk::reads::ReadPositions;
use im_sdk::registry::Registry;
use im_sdk::router::Router;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::api::{self, ApiState, DrainRequest, Managed, Management, Phase, Status};
use crate::chat::{Chat, Parts, Passwords, Secret, Settings};
use crate::delivery::push::{Push, PushConfig};
use crate::delivery::{self, Ended, Relay, RelayConfig, RelayParts};
use crate::gateway::{self, Admission, Bounds, Drain, Gateway, Order, TrustedProxies};
use crate::hub::Hub;
use crate::identity::{self, Death, Identity};
use crate::keyring::Keyring;
use crate::startup;
use crate::store::Store;

/// What a server is made of.
pub struct Assembly {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Batches of messages it may take at once: one for SQLite, which has one writer.
    pub committers: usize,
    /// Where connections are.
    pub registry: Arc<dyn Registry>,
    /// How far people have read, shared by all servers.
    pub positions: Arc<dyn ReadPositions>,
    /// Between servers.
    pub bus: Arc<dyn Bus>,
    /// The server ids of this process: one in production, two in `dev`.
    pub servers: Vec<ServerId>,
    /// Where other machines reach the management port: host:port. Empty where nobody asks.
    pub address: String,
    /// How long a lease runs: [`identity::LEASE_TTL`] but for tests.
    pub lease: Duration,
    /// The rules' settings.
    pub settings: Settings,
    /// The keys of access tokens.
    pub keyring: Keyring,
    /// A backend with this token speaks for users.
    pub service_token: Option<Secret>,
    /// Who is let in.
    pub admission: Admission,
    /// What one connection may take.
    pub bounds: Bounds,
    /// How long a server that drains still takes new connections, until balancers know.
    pub drain_notice: Duration,
    /// How those are told who are not connected; `None`: not at all.
    pub push: Option<PushConfig>,
    /// The management port; it listens already.
    pub management: Arc<Management>,
}

/// How long the connections have to take their goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long the last commits may take to reach the bus; then another server takes them over.
const PUBLISHED: Duration = Duration::from_secs(2);

/// How long a server id may take to be given back; then its lease runs out by itself.
const RELEASE: Duration = Duration::from_secs(3);

/// A running server.
pub struct Server {
    api: ApiState,
    management: Arc<Management>,
    gateway: Arc<Gateway>,
    proxies: TrustedProxies,
    bus: Arc<dyn Bus>,
    drain: Arc<Drain>,
    relay: Arc<Relay>,
    identities: Vec<Arc<Identity>>,
    servers: Vec<ServerId>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts everything but the listeners: takes the epochs → positions the consumers → enters the table.
    pub async fn start(assembly: Assembly) -> anyhow::Result<Self> {
        let Assembly { store, committers, registry, positions, bus, servers, settings, keyring, .. } = assembly;
        let first = *servers.first().context("a server needs at least one server id")?;
        let (phase, _) = watch::channel(Phase::Starting);
        let mut tasks = JoinSet::new();

        let router = Arc::new(Router::new(registry.clone(), bus.clone(), first));
        let mut identities = Vec::with_capacity(servers.len());
        let mut hubs = Vec::with_capacity(servers.len());
        let mut deaths = None;
        for &server in &servers {
            let holder = identity::take(&*store, server, &assembly.address, assembly.lease).await?;
            let (hub, interest, begun) = Hub::new(server, holder.epoch);
            tasks.spawn(interest.run(hub.clone(), registry.clone()));
            tasks.spawn(delivery::look_again(hub.clone(), store.clone(), begun));
            let topic = bus.topic(server).map_or_else(String::new, |topic| format!(" {}", topic.name));
            let topic = format!("its topic{topic} (create it, or set --create-topics)");
            let subscription =
                startup::until(&assembly.management, &topic, async || bus.subscribe(server).await).await?;
            let consumed = delivery::consume(hub.clone(), store.clone(), subscription);
            let fenced = phase.clone();
            tasks.spawn(async move {
                if consumed.await == Ended::Fenced {
                    tracing::error!(%server, epoch = %holder.epoch, "a record says that another process has this server id");
                    fenced.send_replace(Phase::Fenced);
                }
            });
            let parts = identity::Parts {
                store: store.clone(),
                registry: registry.clone(),
                router: router.clone(),
                hub: hub.clone(),
                phase: phase.clone(),
            };
            let identity = Identity::new(holder, assembly.lease, parts);
            // Before it enters: whoever held the id before may have died unnoticed.
            deaths.get_or_insert_with(|| (identity.deaths(), identity.deaths()));
            identity.enter().await?;
            identity.start(&mut tasks);
            identities.push(identity);
            hubs.push(hub);
        }
        let (deaths, deaths_to_tell) = deaths.context("a server needs at least one server id")?;
        let holder = identities[0].holder();
        store.write_as(holder);

        let (publisher, queue) = delivery::channel();
        let judge = identities[0].clone();
        let parts = RelayParts {
            holder,
            store: store.clone(),
            router: router.clone(),
            registry: registry.clone(),
            may_judge: Arc::new(move || judge.may_judge()),
        };
        let push = assembly.push;
        let config = RelayConfig { push: push.as_ref().map(|push| push.wanted), ..RelayConfig::default() };
        let relay = Relay::start(parts, config, queue, &mut tasks);
        let table = router.clone();
        if let Some(config) = push {
            let push = Push::new(store.clone(), registry.clone(), router.clone(), config)?;
            push.start(holder, deaths, &mut tasks);
        }
        let (chat, background) = Chat::new(Parts {
            store,
            registry,
            positions,
            servers: Arc::new(move || router.table()),
            publish: Arc::new(publisher),
            settings,
            committers,
            tokens: keyring.start(&mut tasks),
            passwords: Passwords::new(),
        });
        background.start(&mut tasks);
        tasks.spawn(tell_of_deaths(chat.clone(), deaths_to_tell));

        let Assembly { admission, bounds, .. } = assembly;
        let limits = admission.limits.clone();
        let proxies = admission.proxies.clone();
        let gateway = Gateway::new(chat.clone(), hubs, bounds, admission);
        tasks.spawn(gateway::sweep(gateway.clone()));
        let ours = servers.clone();
        let alone = move || !table.table().live().any(|(id, server)| server.serving && !ours.contains(&id));
        let drain = Drain::new(gateway.clone(), phase.clone(), alone, assembly.drain_notice);
        tasks.spawn(drain.clone().run());

        Ok(Self {
            api: ApiState { chat, limits, service_token: assembly.service_token },
            management: assembly.management,
            gateway,
            proxies,
            bus,
            drain,
            relay,
            identities,
            servers,
            phase,
            tasks,
        })
    }

    /// Listens for clients on `http` and `tcp`, and is ready once the other servers know this one. Returns where it
    /// really listens: port 0 is a wish for any free one.
    pub async fn listen(&mut self, http: SocketAddr, tcp: SocketAddr) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let (http, http_address) = bind(http, "HTTP").await?;
        let (tcp, tcp_address) = bind(tcp, "TCP").await?;
        self.management.waits_for(Some("the other servers to learn of this one".to_owned()));
        for identity in &self.identities {
            identity.known_to_others(&self.servers).await;
        }
        let app = api::router(self.api.clone()).merge(gateway::connect_route(self.gateway.clone()));
        self.tasks.spawn(gateway::serve_http(http, app, self.proxies.clone(), self.gateway.watch_open()));
        self.tasks.spawn(gateway::serve_tcp(tcp, self.gateway.clone()));
        let (gateway, bus, drain) = (self.gateway.clone(), self.bus.clone(), self.drain.clone());
        let phase = self.phase.subscribe();
        self.management.started(Arc::new(Controls { gateway, bus, drain, phase }));
        self.phase.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting;
            if starting {
                *phase = Phase::Serving;
            }
            starting
        });
        Ok((http_address, tcp_address))
    }

    /// The rules, for those who set a server up.
    pub fn chat(&self) -> &Chat {
        &self.api.chat
    }

    /// Waits until the server cannot go on, and says why.
    pub async fn failed(&mut self) -> anyhow::Error {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            // A fenced server's parts end too: the reason is told first.
            biased;
            // The sender is in `self`: waiting cannot fail.
            _ = phase.wait_for(|phase| *phase == Phase::Fenced) => {
                anyhow::anyhow!("another process has taken this server id: this one has ended")
            }
            // Every task is meant to last as long as the server: half a server is worse than none.
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(()) => anyhow::anyhow!("a part of the server has ended: see the log"),
                Err(error) => anyhow::anyhow!("a part of the server broke: {error}"),
            },
        }
    }

    /// Sends everyone to the other servers.
    pub fn drain(&self) -> Arc<Drain> {
        self.drain.clone()
    }

    /// Sends away who is left, and writes what is only in memory.
    pub async fn stop(mut self) {
        let fenced = *self.phase.borrow() == Phase::Fenced;
        self.phase.send_if_modified(|phase| {
            let serving = matches!(phase, Phase::Starting | Phase::Serving);
            if serving {
                *phase = Phase::Draining;
            }
            serving
        });
        let reason = if fenced { "fenced" } else { "stopping" };
        if tokio::time::timeout(GOODBYE, self.gateway.leave(reason)).await.is_err() {
            tracing::warn!("some connections did not take their goodbye in time");
        }
        if let Err(error) = self.api.chat.finish().await {
            tracing::warn!(%error, "the last read positions could not be stored");
        }
        self.relay.finish(PUBLISHED).await;
        for identity in &self.identities {
            identity.leave(RELEASE).await;
        }
        self.tasks.shutdown().await;
    }
}

/// A running server as the management port sees it.
struct Controls {
    gateway: Arc<Gateway>,
    bus: Arc<dyn Bus>,
    drain: Arc<Drain>,
    phase: watch::Receiver<Phase>,
}

impl Managed for Controls {
    /// With two ids in one process, as the first of them.
    fn status(&self) -> Status {
        let hub = &self.gateway.hubs()[0];
        let topic = self.bus.topic(hub.server());
        Status {
            server: hub.server(),
            epoch: hub.epoch(),
            phase: *self.phase.borrow(),
            waits_for: None,
            connections: self.gateway.connections(),
            topic_lag: topic.as_ref().and_then(|topic| topic.lag),
            topic: topic.map(|topic| topic.name),
            drain: self.drain.status(),
        }
    }

    fn drain(&self, request: DrainRequest) {
        let deadline = Duration::from_secs(request.deadline_seconds.into());
        self.drain.order(Order { deadline, per_second: request.connections_per_second });
    }

    fn undo_drain(&self) {
        self.drain.undo();
    }
}

/// Opens the management port, until the process ends. Returns where: port 0 is a wish for any free one.
pub async fn serve_management(management: Arc<Management>, wished: SocketAddr) -> anyhow::Result<SocketAddr> {
    let (listener, address) = bind(wished, "management").await?;
    tokio::spawn(api::keep_metrics(management.metrics().clone()));
    // It stays open to the end: it tells how the end is coming along.
    let (open, always) = watch::channel(true);
    let serve = gateway::serve_http(listener, api::management_router(management), TrustedProxies::default(), always);
    tokio::spawn(async move {
        serve.await;
        drop(open);
    });
    Ok(address)
}

/// Tells those who watch the users of servers that die. What lags behind is the oldest news.
async fn tell_of_deaths(chat: Arc<Chat>, mut deaths: broadcast::Receiver<Death>) {
    loop {
        match deaths.recv().await {
            Ok(Death { server, epoch, noticed, ours: true }) => chat.server_died(server, epoch, noticed).await,
            Ok(Death { ours: false, .. }) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("the {what} port {address} cannot be had: is another program listening on it?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
