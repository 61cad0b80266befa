//! `im-server serve`: one server of a cluster, on `PostgreSQL`, Redis and Kafka; or a single one on `SQLite`.

use std::path::Path;
use std::sync::Arc;

use im_sdk::bus::kafka::KafkaBus;
use im_sdk::bus::{Bus, MemoryBus};
use im_sdk::reads::redis::RedisReadPositions;
use im_sdk::reads::{MemoryReadPositions, ReadPositions};
use im_sdk::registry::redis::RedisRegistry;
use im_sdk::registry::{MemoryRegistry, Registry};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::api::Management;
use crate::config::{DatabaseUrl, MigrateSettings, ServeSettings};
use crate::identity::LEASE_TTL;
use crate::keyring::Keyring;
use crate::server::{Assembly, Server, serve_management};
use crate::startup::{self, Hope as _, WrongSettings};
use crate::store::Store;
use crate::store::postgres::{OpenError, PostgresStore};
use crate::store::sqlite::SqliteStore;

/// Records that may wait for a single server; the relay waits when it is full.
const BUS_CAPACITY: usize = 16 * 1024;

/// Batches that one server commits to `PostgreSQL` at once. Fewer means larger batches, which cost a database less per
/// message: with four of them latencies were three times as long as with one, at 2,000 messages a second on two cores
/// (docs/performance.md). Two, because a batch that waits for the lock of one busy conversation then holds up half of the
/// others, not all.
const COMMITTERS: usize = 2;

/// Starts the server. The management port is open from the beginning; what the server rests on is waited for.
pub async fn start(settings: &ServeSettings, metrics: PrometheusHandle) -> anyhow::Result<Server> {
    let server = settings.listen.server_id;
    let management = Management::new(server, settings.secrets.management_token.clone(), metrics);
    let address = serve_management(management.clone(), settings.listen.management_listen).await?;
    tracing::info!(%server, %address, "the management port is open");

    let source = settings.tokens.source().map_err(|wrong| WrongSettings(wrong.join("\n")))?;
    let keyring = Keyring::open(source, &management).await?;
    let (store, committers): (Arc<dyn Store>, usize) = match &settings.database.database_url {
        DatabaseUrl::Sqlite(path) => (Arc::new(open_sqlite(path).await?), 1),
        DatabaseUrl::Postgres(url) => {
            let config = settings.database.postgres(url);
            let open = startup::until(&management, "PostgreSQL", async || PostgresStore::open(&config).await);
            (Arc::new(open.await?), COMMITTERS)
        }
    };
    let redis = settings.redis.config().map_err(|e| WrongSettings(e.to_string()))?;
    let (registry, positions): (Arc<dyn Registry>, Arc<dyn ReadPositions>) = match redis {
        Some(config) => {
            let registry = startup::until(&management, "Redis", async || RedisRegistry::connect(&config).await).await?;
            let positions = RedisReadPositions::beside(&registry);
            (Arc::new(registry), Arc::new(positions))
        }
        None => (Arc::new(MemoryRegistry::new()), Arc::new(MemoryReadPositions::default())),
    };
    let bus: Arc<dyn Bus> = match settings.kafka.config() {
        Some(config) => {
            Arc::new(startup::until(&management, "Kafka", async || KafkaBus::connect(config.clone()).await).await?)
        }
        None => Arc::new(MemoryBus::new(BUS_CAPACITY)),
    };
    let mut running = Server::start(Assembly {
        store,
        committers,
        registry,
        positions,
        bus,
        servers: vec![server],
        address: address.to_string(),
        lease: LEASE_TTL,
        settings: settings.chat(),
        keyring,
        service_token: settings.secrets.service_token.clone(),
        admission: settings.admission(),
        bounds: settings.limits.bounds(),
        drain_notice: settings.drain.notice(),
        push: settings.push.config(),
        management,
    })
    .await?;
    let (http, tcp) = running.listen(settings.listen.listen, settings.listen.tcp_listen).await?;
    tracing::info!(%server, %http, %tcp, "serving");
    Ok(running)
}

/// Brings the database to this version.
pub async fn migrate(settings: &MigrateSettings) -> anyhow::Result<()> {
    match &settings.database.database_url {
        DatabaseUrl::Sqlite(path) => drop(open_sqlite(path).await?),
        DatabaseUrl::Postgres(url) => {
            PostgresStore::migrate(&settings.database.postgres(url)).await.map_err(hopeless)?;
        }
    }
    Ok(())
}

/// What is wrong with a file will not pass by itself.
async fn open_sqlite(path: &Path) -> Result<SqliteStore, WrongSettings> {
    SqliteStore::open(path).await.map_err(|error| WrongSettings(format!("{}: {error}", path.display())))
}

/// Who migrates waits for nothing, but is told whether waiting would help.
fn hopeless(error: OpenError) -> anyhow::Error {
    if error.may_pass() { error.into() } else { WrongSettings(error.to_string()).into() }
}
