//! `im-server serve`: one server of a cluster, on `PostgreSQL`, Redis and Kafka; or a single one on `SQLite`.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use im_sdk::bus::MemoryBus;
use im_sdk::registry::MemoryRegistry;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::api::{AddressLimits, Management};
use crate::config::{DatabaseUrl, MigrateSettings, ServeSettings};
use crate::server::{Assembly, Server, serve_management};
use crate::store::sqlite::SqliteStore;

/// Records that may wait for a single server; the relay waits when it is full.
const BUS_CAPACITY: usize = 16 * 1024;

/// Starts the server. The management port is open from the beginning.
pub async fn start(settings: &ServeSettings, metrics: PrometheusHandle) -> anyhow::Result<Server> {
    let server = settings.listen.server_id;
    let management = Management::new(server, settings.secrets.management_token.clone(), metrics);
    let address = serve_management(management.clone(), settings.listen.management_listen).await?;
    tracing::info!(%server, %address, "the management port is open");
    let store = match &settings.database.database_url {
        DatabaseUrl::Sqlite(path) => open_sqlite(path).await?,
        DatabaseUrl::Postgres(_) => bail!("PostgreSQL is not built in yet"),
    };
    let limits = AddressLimits::per_minute(settings.limits.sign_ins_per_minute, settings.limits.handshakes_per_minute);
    let mut running = Server::start(Assembly {
        store: Arc::new(store),
        registry: Arc::new(MemoryRegistry::new()),
        bus: Arc::new(MemoryBus::new(BUS_CAPACITY)),
        servers: vec![server],
        settings: settings.chat(),
        signing_secret: settings.secrets.jwt_secret.clone(),
        service_token: settings.secrets.service_token.clone(),
        address_limits: Arc::new(limits),
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
        DatabaseUrl::Postgres(_) => bail!("PostgreSQL is not built in yet"),
    }
    Ok(())
}

async fn open_sqlite(path: &Path) -> anyhow::Result<SqliteStore> {
    Ok(SqliteStore::open(path).await?)
}
