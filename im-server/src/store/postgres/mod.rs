//! The production store: `PostgreSQL`, for as many servers as there are.
//!
//! A batch of messages is one call of one function; most other calls are one statement. Writers that touch a conversation
//! lock its row first, so that what they look up afterwards is what the lock waited for (READ COMMITTED). How stamps are
//! given stands in `migrations/postgres/0002_stamps.sql`.

mod accounts;
mod append;
mod commit;
mod config;
mod conversations;
mod error;
mod facts;
mod groups;
mod list;
mod membership;
mod messages;
mod open;
mod outbox;
mod push;
mod push_jobs;
mod rows;
mod servers;
mod session;
mod sessions;
mod social;
mod stays;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sqlx::Connection;
use sqlx::postgres::{PgPool, PgPoolOptions};

pub use config::PostgresConfig;
pub use error::OpenError;

use super::{Holder, LargeGroups};
use error::{Fault, Result};
use session::{Lease, call, transact};

/// A connection is replaced after this time, so that a failover or a new password reaches all of them in the end.
const LIFETIME: Duration = Duration::from_mins(30);

/// A connection that is not used for this long is closed.
const IDLE: Duration = Duration::from_mins(10);

/// A connection that rested this long is tried before it is used: the server may have restarted meanwhile. One that is
/// in use all the time is not, for it would cost a second round trip.
const RESTED: Duration = Duration::from_secs(1);

/// The store on one `PostgreSQL` database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
    /// One connection that no request can take: a server whose database is merely busy keeps its lease.
    reserved: PgPool,
    /// How long a call waits for the server's answer.
    patience: Duration,
    large: LargeGroups,
    /// Whose the outbox rows of a commit are.
    holder: Arc<RwLock<Option<Holder>>>,
}

impl PostgresStore {
    /// Connects, looks whether the database is one that can be used, and brings its schema up to date.
    pub async fn open(config: &PostgresConfig) -> std::result::Result<Self, OpenError> {
        Self::migrate(config).await?;
        let pool = Self::pool(config, config.max_connections).await?;
        let reserved = Self::pool(config, 1).await?;
        let (large, holder) = (LargeGroups::default(), Arc::default());
        Ok(Self { pool, reserved, patience: config.patience(), large, holder })
    }

    async fn pool(config: &PostgresConfig, connections: u32) -> std::result::Result<PgPool, OpenError> {
        let statement_timeout = config.statement_timeout;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(1)
            .acquire_timeout(config.acquire_timeout)
            .max_lifetime(LIFETIME)
            .idle_timeout(IDLE)
            .test_before_acquire(false)
            .after_connect(move |connection, _| Box::pin(PostgresConfig::prepare(connection, statement_timeout)))
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for < RESTED {
                        return Ok(true);
                    }
                    Ok(matches!(tokio::time::timeout(RESTED, connection.ping()).await, Ok(Ok(()))))
                })
            })
            .connect_with(config.options()?)
            .await;
        Ok(pool.map_err(|error| super::StoreError::from(Fault::from(error)))?)
    }

    /// The same store on the reserved connection.
    fn reserved(&self) -> Self {
        Self { pool: self.reserved.clone(), ..self.clone() }
    }

    /// Brings the schema up to date, without serving. Safe while servers of the version before are running, and while
    /// others migrate too.
    pub async fn migrate(config: &PostgresConfig) -> std::result::Result<(), OpenError> {
        let mut connection = open::connect(config).await?;
        open::examine(&mut connection).await?;
        open::migrate(connection).await
    }

    /// The same store with other sizes for large groups.
    #[must_use]
    pub fn with_large_groups(self, large: LargeGroups) -> Self {
        Self { large, ..self }
    }

    /// Closes all connections once what is running has ended.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.reserved.close());
    }

    /// A connection for one call.
    async fn lease(&self, operation: &'static str) -> Result<Lease> {
        Ok(Lease::new(self.pool.acquire().await?, operation))
    }

    fn holder(&self) -> Option<Holder> {
        *self.holder.read()
    }
}
