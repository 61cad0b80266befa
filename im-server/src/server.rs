//! A running server: the pieces put together, in the order in which they can be started, and taken apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_protocol::ServerId;
use im_sdk::bus::Bus;
use im_sdk::registry::{Registry, Server as ServerEntry};
use im_sdk::router::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{self, AddressLimits, ApiState, DrainRequest, Managed, Management, Phase, Status};
use crate::chat::{Chat, Parts, Passwords, Secret, Settings, Tokens};
use crate::delivery::{self, Ended, Relay, RelayConfig};
use crate::gateway::{self, Bounds, Drain, Gateway, Order};
use crate::hub::Hub;
use crate::startup;
use crate::store::{Holder, Store};

/// What a server is made of.
pub struct Assembly {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Where connections are.
    pub registry: Arc<dyn Registry>,
    /// Between servers.
    pub bus: Arc<dyn Bus>,
    /// The server ids of this process: one in production, two in `dev`.
    pub servers: Vec<ServerId>,
    /// The rules' settings.
    pub settings: Settings,
    /// Signs tokens.
    pub signing_secret: Secret,
    /// A backend with this token speaks for users.
    pub service_token: Option<Secret>,
    /// What one address may do.
    pub address_limits: Arc<AddressLimits>,
    /// How long a server that drains still takes new connections, until balancers know.
    pub drain_notice: Duration,
    /// The management port; it listens already.
    pub management: Arc<Management>,
}

/// How long a server id is held: as long as the process of the embedded default lives.
const LEASE_MS: i64 = i64::MAX / 2;

/// How long the connections have to take their goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    api: ApiState,
    management: Arc<Management>,
    gateway: Arc<Gateway>,
    bus: Arc<dyn Bus>,
    drain: Arc<Drain>,
    relay: Arc<Relay>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts everything but the listeners: takes the epochs → positions the consumers → enters the table.
    pub async fn start(assembly: Assembly) -> anyhow::Result<Self> {
        let Assembly { store, registry, bus, servers, settings, signing_secret, .. } = assembly;
        let first = *servers.first().context("a server needs at least one server id")?;
        let (phase, _) = watch::channel(Phase::Starting);
        let mut tasks = JoinSet::new();

        let mut hubs = Vec::with_capacity(servers.len());
        for &server in &servers {
            let epoch = store.take_epoch(server, "", LEASE_MS).await?;
            let (hub, interest) = Hub::new(server, epoch);
            tasks.spawn(interest.run(hub.clone(), registry.clone()));
            let subscription =
                startup::until(&assembly.management, "its topic", async || bus.subscribe(server).await).await?;
            let consumed = delivery::consume(hub.clone(), store.clone(), subscription);
            let phase = phase.clone();
            tasks.spawn(async move {
                if consumed.await == Ended::Fenced {
                    tracing::error!(%server, %epoch, "another process has taken this server id");
                    phase.send_replace(Phase::Fenced);
                }
            });
            registry
                .set_server(
                    server,
                    ServerEntry { epoch, live: true, serving: true, announced: Some(registry.marker().await?) },
                )
                .await?;
            hubs.push(hub);
        }
        let holder = Holder { server: first, epoch: hubs[0].epoch() };
        store.write_as(holder);
        let router = Arc::new(Router::new(registry.clone(), bus.clone(), first));
        router.refresh().await?;

        let (publisher, queue) = delivery::channel();
        let relay = Relay::new(holder, store.clone(), router.clone(), registry.clone(), RelayConfig::default());
        relay.clone().start(queue, &mut tasks);
        let table = router.clone();
        let (chat, background) = Chat::new(Parts {
            store,
            registry,
            servers: Arc::new(move || router.table()),
            publish: Arc::new(publisher),
            settings,
            committers: 1,
            tokens: Tokens::new(signing_secret),
            passwords: Passwords::new(),
        });
        background.start(&mut tasks);

        let limits = assembly.address_limits;
        let gateway = Gateway::new(chat.clone(), hubs, Bounds::DEFAULT, limits.clone());
        tasks.spawn(gateway::sweep(gateway.clone()));
        let alone = move || !table.table().live().any(|(id, server)| server.serving && !servers.contains(&id));
        let drain = Drain::new(gateway.clone(), phase.clone(), alone, assembly.drain_notice);
        tasks.spawn(drain.clone().run());

        Ok(Self {
            api: ApiState { chat, limits, service_token: assembly.service_token },
            management: assembly.management,
            gateway,
            bus,
            drain,
            relay,
            phase,
            tasks,
        })
    }

    /// Listens for clients on `http` and `tcp`, and is ready. Returns where it really listens: port 0 is a wish for any
    /// free one.
    pub async fn listen(&mut self, http: SocketAddr, tcp: SocketAddr) -> anyhow::Result<(SocketAddr, SocketAddr)> {
        let (http, http_address) = bind(http, "HTTP").await?;
        let (tcp, tcp_address) = bind(tcp, "TCP").await?;
        let app = api::router(self.api.clone()).merge(gateway::connect_route(self.gateway.clone()));
        self.tasks.spawn(gateway::serve_http(http, app, self.gateway.watch_open()));
        self.tasks.spawn(gateway::serve_tcp(tcp, self.gateway.clone()));
        let (gateway, bus, drain) = (self.gateway.clone(), self.bus.clone(), self.drain.clone());
        let phase = self.phase.subscribe();
        self.management.started(Arc::new(Controls { gateway, bus, drain, phase }));
        self.phase.send_replace(Phase::Serving);
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
        if *self.phase.borrow() != Phase::Fenced {
            self.phase.send_replace(Phase::Draining);
        }
        if tokio::time::timeout(GOODBYE, self.gateway.leave()).await.is_err() {
            tracing::warn!("some connections did not take their goodbye in time");
        }
        if let Err(error) = self.api.chat.finish().await {
            tracing::warn!(%error, "the last read positions could not be stored");
        }
        self.relay.forget_acked().await;
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
    let serve = gateway::serve_http(listener, api::management_router(management), always);
    tokio::spawn(async move {
        serve.await;
        drop(open);
    });
    Ok(address)
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("the {what} port {address} cannot be had: is another program listening on it?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
