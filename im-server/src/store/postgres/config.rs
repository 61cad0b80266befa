//! What is set of the PostgreSQL store, and how a connection is made from it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::error::OpenError;

/// Distinct statements there are, and room for more: each is prepared once per connection.
const STATEMENTS: usize = 256;

/// Settings of the PostgreSQL store.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:5432/database`, with `?sslmode=verify-full&sslrootcert=…` where the way there is
    /// not trusted. A secret.
    pub url: String,
    /// Connections of this process at most, but for one that only keeps the lease. All processes together stay below the server's `max_connections`.
    pub max_connections: u32,
    /// How long a call waits for a connection, the making of one included, before it answers that the database is out
    /// of reach.
    pub acquire_timeout: Duration,
    /// How long a statement may run before the server ends it.
    pub statement_timeout: Duration,
}

impl PostgresConfig {
    /// The defaults for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            // Two cores answer 16,000 messages/s over two connections (design.md §12); the rest is for readers.
            max_connections: 16,
            // Above the second or two of a restart, below the time a client waits for an answer.
            acquire_timeout: Duration::from_secs(5),
            // Far above every statement here: one that takes longer waits for a lock, or for a disk that hangs.
            statement_timeout: Duration::from_secs(5),
        }
    }

    /// How long a call waits for the server's answer before it takes the connection for dead: the server would have
    /// ended the statement before.
    pub(super) fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(2)
    }

    /// What connections are made from.
    pub(super) fn options(&self) -> Result<PgConnectOptions, OpenError> {
        let scheme = self.url.split("://").next().unwrap_or_default();
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(OpenError::Url("it does not begin with postgres://".to_owned()));
        }
        let options = PgConnectOptions::from_str(&self.url).map_err(|error| OpenError::Url(error.to_string()))?;
        Ok(options.application_name("im-server").statement_cache_capacity(STATEMENTS))
    }

    /// Sets what every connection of the store relies on.
    pub(super) async fn prepare(connection: &mut PgConnection, statement_timeout: Duration) -> sqlx::Result<()> {
        // Every statement is written for an index. A plan is kept for the life of its connection, and one that was made
        // while a table was small, or its statistics old, must not walk through it when it has grown.
        sqlx::query(
            "select set_config('statement_timeout', $1, false),
                    set_config('idle_in_transaction_session_timeout', $1, false),
                    set_config('default_transaction_isolation', 'read committed', false),
                    set_config('enable_seqscan', 'off', false),
                    set_config('enable_hashjoin', 'off', false),
                    set_config('enable_mergejoin', 'off', false),
                    set_config('enable_material', 'off', false),
                    set_config('plan_cache_mode', 'force_generic_plan', false),
                    set_config('jit', 'off', false)",
        )
        .bind(statement_timeout.as_millis().to_string())
        .execute(&mut *connection)
        .await?;
        // Stamps of a database that was restored, or lost its last commits in a failover, go on above all it ever gave.
        sqlx::query("select im_raise_stamps_v1()").execute(connection).await?;
        Ok(())
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}
