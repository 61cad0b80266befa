//! Servers of a test: identities and relays over one store file, one registry and one bus, each as in a process of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_protocol::close::CloseReason;
use im_protocol::server::GoAway;
use im_protocol::{ConnectionId, DeviceId, Epoch, ServerId, Terminal, TimeMs, UserId};
use im_sdk::bus::MemoryBus;
use im_sdk::registry::{
    Interests, Marker, MemoryRegistry, Registry, RegistryError, Route, Routes, Server, ServerTable, Topic,
};
use im_sdk::router::Router;
use im_server::api::Phase;
use im_server::hub::{Connection, Hub, SharedFrame, Sink};
use im_server::identity::{Identity, Parts, take};
use im_server::store::sqlite::SqliteStore;
use im_server::store::{ServerRow, SessionId, Store};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a lease runs in these tests: short, and yet longer than a busy disk takes for a commit.
pub(crate) const TTL: Duration = Duration::from_secs(2);

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// A registry that can be away, and can lose everything.
#[derive(Default)]
pub(crate) struct Fragile {
    inner: RwLock<Arc<MemoryRegistry>>,
    away: AtomicBool,
    /// Says goodbye after it was listed and before its route is written again.
    ending: Mutex<Option<(Arc<Hub>, Arc<Connection>)>>,
}

impl Fragile {
    pub(crate) fn be_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Loses its content, the marker with it.
    pub(crate) fn lose_everything(&self) {
        *self.inner.write() = Arc::default();
    }

    /// Ends a connection in the middle of the next announcement.
    pub(crate) fn end_while_announcing(&self, hub: Arc<Hub>, connection: Arc<Connection>) {
        *self.ending.lock() = Some((hub, connection));
    }

    fn there(&self) -> Result<Arc<MemoryRegistry>, RegistryError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(RegistryError::Unavailable("away".into()));
        }
        Ok(self.inner.read().clone())
    }
}

#[async_trait]
impl Registry for Fragile {
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError> {
        self.there()?.register(user, route).await
    }
    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError> {
        let inner = self.there()?;
        let ending = self.ending.lock().take();
        if let Some((hub, connection)) = ending {
            hub.detach(&connection).await;
            inner.unregister(&connection.user, connection.id).await?;
        }
        inner.register_again(routes).await
    }
    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError> {
        self.there()?.unregister(user, connection).await
    }
    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError> {
        self.there()?.delete_stale(routes).await
    }
    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError> {
        self.there()?.routes(users).await
    }
    async fn set_interest(&self, topics: &[Topic], id: ServerId, epoch: Epoch, on: bool) -> Result<(), RegistryError> {
        self.there()?.set_interest(topics, id, epoch, on).await
    }
    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError> {
        self.there()?.interested(topics).await
    }
    async fn marker(&self) -> Result<Marker, RegistryError> {
        self.there()?.marker().await
    }
    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        self.there()?.set_server(id, server).await
    }
    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        self.there()?.servers().await
    }
    async fn users_of(&self, id: ServerId, epoch: Epoch, cursor: u64) -> Result<(u64, Vec<UserId>), RegistryError> {
        self.there()?.users_of(id, epoch, cursor).await
    }
    async fn forget_users_of(&self, id: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        self.there()?.forget_users_of(id, epoch).await
    }
}

/// A connection that counts what it is told to pull.
#[derive(Default)]
pub(crate) struct Told(Mutex<usize>);

impl Told {
    pub(crate) fn count(&self) -> usize {
        *self.0.lock()
    }
}

impl Sink for Told {
    fn enqueue(&self, frame: &SharedFrame) -> bool {
        assert!(frame.tcp()[4..].starts_with(br#"{"type":"resync""#));
        *self.0.lock() += 1;
        false
    }
    fn flush(&self) {}
    fn close(&self, _: CloseReason) {}
    fn send_away(&self, _: GoAway) {}
    fn check(&self, _: TimeMs) {}
    fn queued(&self) -> usize {
        0
    }
    fn session(&self) -> SessionId {
        SessionId("s".into())
    }
}

/// What all servers of a test share.
pub(crate) struct Ground {
    pub(crate) registry: Arc<Fragile>,
    pub(crate) bus: Arc<MemoryBus>,
    folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { registry: Arc::default(), bus: Arc::new(MemoryBus::new(10_000)), folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("im.db")
    }

    /// The store as a process of its own opens it.
    pub(crate) async fn store(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.path()).await.unwrap())
    }

    /// What the store says of a server.
    pub(crate) async fn row(&self, id: u16) -> Server {
        let rows = self.store().await;
        let rows: Vec<ServerRow> = im_server::store::Servers::servers(&*rows).await.unwrap();
        rows.into_iter().find(|row| row.id == ServerId(id)).expect("it is known").server
    }

    /// A process that takes a server id and serves.
    pub(crate) async fn server(&self, id: u16) -> Process {
        self.server_for(id, TTL).await
    }

    /// One with leases of its own length.
    pub(crate) async fn server_for(&self, id: u16, ttl: Duration) -> Process {
        let store = self.store().await;
        let holder = take(&*store, ServerId(id), "", ttl).await.unwrap();
        let (hub, interest, _begun) = Hub::new(holder.server, holder.epoch);
        let router = Arc::new(Router::new(self.registry.clone(), self.bus.clone(), holder.server));
        let phase = watch::Sender::new(Phase::Starting);
        let parts = Parts {
            store: store.clone() as Arc<dyn Store>,
            registry: self.registry.clone(),
            router: router.clone(),
            hub: hub.clone(),
            phase: phase.clone(),
        };
        let identity = Identity::new(holder, ttl, parts);
        let mut tasks = JoinSet::new();
        tasks.spawn(interest.run(hub.clone(), self.registry.clone()));
        identity.enter().await.unwrap();
        identity.start(&mut tasks);
        phase.send_replace(Phase::Serving);
        Process { identity, hub, router, phase, registry: self.registry.clone(), _tasks: tasks }
    }
}

/// A server; dropped, it is gone as after `kill -9`.
pub(crate) struct Process {
    pub(crate) identity: Arc<Identity>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) router: Arc<Router>,
    pub(crate) phase: watch::Sender<Phase>,
    registry: Arc<Fragile>,
    _tasks: JoinSet<()>,
}

impl Process {
    /// Connects a user here, as a gateway does it.
    pub(crate) async fn connect(&self, name: &str, id: u64) -> (Arc<Connection>, Arc<Told>) {
        let told = Arc::<Told>::default();
        let connection = Arc::new(Connection {
            id: ConnectionId(id),
            user: user(name),
            terminal: Terminal::Web,
            device: DeviceId::parse("d").unwrap(),
            since: 0,
            sink: told.clone(),
        });
        self.hub.attach(&connection);
        if self.registry.register(&connection.user, self.hub.route(&connection)).await.is_err() {
            self.hub.unwritten().add(connection.id);
        }
        (connection, told)
    }

    /// How this process sees a server.
    pub(crate) fn sees(&self, id: u16) -> Option<Server> {
        self.router.table().get(ServerId(id)).cloned()
    }
}
