//! A running server: the pieces put together, in the order in which they can be started, and taken apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use im_protocol::ServerId;
use im_sdk::bus::Bus;
use im_sdk::registry::{Registry, Server as ServerEntry};
use im_sdk::router::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::{self, AddressLimits, ApiState, ManagementState, Phase, Status};
use crate::chat::{Chat, Parts, Passwords, Secret, Settings, Tokens, now_ms};
use crate::delivery::{self, Ended, Relay, RelayConfig};
use crate::gateway::{self, Bounds, Gateway};
use crate::hub::Hub;
use crate::store::Store;

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
    /// Probes, metrics, status.
    pub management: SocketAddr,
}

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
    /// Opens `/status`.
    pub management_token: Option<Secret>,
    /// What one address may do.
    pub address_limits: Arc<AddressLimits>,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Where to listen.
    pub addresses: Addresses,
}

/// How long the connections have to take their goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    chat: Arc<Chat>,
    gateway: Arc<Gateway>,
    relay: Arc<Relay>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    addresses: Addresses,
}

impl Server {
    /// Starts: takes the epochs → positions the consumers → enters the table → listens → ready.
    pub async fn start(assembly: Assembly) -> anyhow::Result<Self> {
        let Assembly { store, registry, bus, servers, settings, signing_secret, .. } = assembly;
        let first = *servers.first().context("a server needs at least one server id")?;
        let (phase, _) = watch::channel(Phase::Starting);
        let mut tasks = JoinSet::new();

        let mut hubs = Vec::with_capacity(servers.len());
        for &server in &servers {
            let epoch = store.take_epoch(server, now_ms()).await?;
            let (hub, interest) = Hub::new(server, epoch);
            tasks.spawn(interest.run(hub.clone(), registry.clone()));
            let subscription = bus.subscribe(server).await?;
            let consumed = delivery::consume(hub.clone(), store.clone(), subscription);
            let phase = phase.clone();
            tasks.spawn(async move {
                if consumed.await == Ended::Fenced {
                    tracing::error!(%server, %epoch, "another process has taken this server id");
                    phase.send_replace(Phase::Fenced);
                }
            });
            registry.set_server(server, ServerEntry { epoch, live: true, announced: true }).await?;
            hubs.push(hub);
        }
        let router = Arc::new(Router::new(registry.clone(), bus, first));
        router.refresh().await?;

        let (publisher, queue) = delivery::channel();
        let relay = Relay::new(store.clone(), router, registry.clone(), RelayConfig::default());
        relay.clone().start(queue, &mut tasks);
        let (chat, background) = Chat::new(Parts {
            store,
            registry,
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

        let listen = assembly.addresses;
        let (http, http_address) = bind(listen.http, "HTTP").await?;
        let (tcp, tcp_address) = bind(listen.tcp, "TCP").await?;
        let (management, management_address) = bind(listen.management, "management").await?;
        let app = api::router(ApiState { chat: chat.clone(), limits, service_token: assembly.service_token })
            .merge(gateway::connect_route(gateway.clone()));
        tasks.spawn(gateway::serve_http(http, app));
        tasks.spawn(gateway::serve_tcp(tcp, gateway.clone()));
        let status = {
            let (gateway, phase) = (gateway.clone(), phase.subscribe());
            move || status(&gateway, *phase.borrow())
        };
        let token = assembly.management_token;
        let state = ManagementState { status: Arc::new(status), token, metrics: assembly.metrics };
        tasks.spawn(gateway::serve_http(management, api::management_router(state)));
        phase.send_replace(Phase::Serving);
        let addresses = Addresses { http: http_address, tcp: tcp_address, management: management_address };
        Ok(Self { chat, gateway, relay, phase, tasks, addresses })
    }

    /// Where it really listens: port 0 was a wish for any free one.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The rules, for those who set a server up.
    pub fn chat(&self) -> &Arc<Chat> {
        &self.chat
    }

    /// Waits until another process has taken a server id of this one.
    pub async fn fenced(&self) {
        // The sender is in `self`: waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Fenced).await;
    }

    /// Sends everyone away and writes what is only in memory.
    pub async fn stop(mut self) {
        if *self.phase.borrow() != Phase::Fenced {
            self.phase.send_replace(Phase::Draining);
        }
        if tokio::time::timeout(GOODBYE, self.gateway.leave()).await.is_err() {
            tracing::warn!("some connections did not take their goodbye in time");
        }
        if let Err(error) = self.chat.finish().await {
            tracing::warn!(%error, "the last read positions could not be stored");
        }
        self.relay.forget_acked().await;
        self.tasks.shutdown().await;
    }
}

/// How the server is: with two ids in one process, as the first of them.
fn status(gateway: &Gateway, phase: Phase) -> Status {
    let hub = &gateway.hubs()[0];
    let connections = gateway.connections();
    Status { server: hub.server(), epoch: hub.epoch(), phase, connections, topic: None, topic_lag: None }
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("the {what} port {address} cannot be had: is another program listening on it?"))?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
