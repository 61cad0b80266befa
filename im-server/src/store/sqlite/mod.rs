//! The embedded store: one `SQLite` file.
//!
//! There is one writing connection, so that every write transaction sees the last one's result and none fails halfway
//! for a lock; readers work on snapshots beside it (WAL). `synchronous=FULL`: what was answered is on the disk. Lists
//! of values travel as one JSON parameter each, so that a batch takes the same number of statements whatever its size.

mod accounts;
mod append;
mod commit;
mod conversations;
mod error;
mod facts;
mod groups;
mod list;
mod membership;
mod messages;
mod outbox;
mod push;
mod push_jobs;
mod rows;
mod servers;
mod sessions;
mod social;
mod stays;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, Transaction};

pub use error::OpenError;

use super::{Holder, LargeGroups, Result, Stamp};

/// Embedded, so that the program carries its own schema.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that read. More than the cores of a small machine, as a reader also waits for the disk.
const READERS: u32 = 4;

/// How long a statement waits for a lock that another process holds (a backup, a shell).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call waits for a connection before it answers that the database is out of reach.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Distinct statements there are, and room for more: each is prepared once per connection.
const STATEMENTS: usize = 256;

/// The store on one `SQLite` file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    large: LargeGroups,
    /// Whose the outbox rows of a commit are.
    holder: Arc<RwLock<Option<Holder>>>,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its schema up to date. That no other process writes to
    /// it is the caller's to see to.
    pub async fn open(path: &Path) -> std::result::Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS)
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-65536");
        let pool = || {
            SqlitePoolOptions::new()
                .min_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
        };
        let writer = pool().max_connections(1).connect_with(options.clone()).await.map_err(super::StoreError::from)?;
        MIGRATIONS.run(&writer).await.map_err(OpenError::from_migration)?;
        let readers = pool()
            .max_connections(READERS)
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(super::StoreError::from)?;
        Ok(Self { writer, readers, large: LargeGroups::default(), holder: Arc::default() })
    }

    /// The same store with other sizes for large groups.
    #[must_use]
    pub fn with_large_groups(self, large: LargeGroups) -> Self {
        Self { large, ..self }
    }

    /// Closes the file once what is running has ended.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a write transaction: nobody else writes until it ends. Dropped, it is rolled back.
    async fn write(&self) -> Result<Write> {
        let mut tx = self.writer.begin_with("begin immediate").await?;
        let stamp = sqlx::query_scalar(
            "update clock set stamp = max(cast(unixepoch('subsec') * 1000 as integer), stamp + 1) returning stamp",
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Write { tx, stamp: Stamp(stamp), holder: *self.holder.read() })
    }

    /// Begins a read transaction: all its statements see one snapshot.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.readers.begin().await?)
    }
}

/// A write transaction.
struct Write {
    tx: Transaction<'static, Sqlite>,
    /// Its place in the order of commits.
    stamp: Stamp,
    /// Whose its outbox row is.
    holder: Option<Holder>,
}

impl Write {
    /// Where statements go.
    fn on(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// Makes it last.
    async fn commit(self) -> Result<()> {
        Ok(self.tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::SqliteStore;

    #[tokio::test]
    async fn every_connection_writes_ahead_and_syncs_and_readers_do_not_write() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("im.db")).await.unwrap();
        for (pool, reads_only) in [(&store.writer, 0), (&store.readers, 1)] {
            let (journal, sync, keys, busy, query_only): (String, i64, i64, i64, i64) = sqlx::query_as(
                "select journal_mode, synchronous, foreign_keys, timeout, query_only
                 from pragma_journal_mode, pragma_synchronous, pragma_foreign_keys, pragma_busy_timeout,
                      pragma_query_only",
            )
            .fetch_one(pool)
            .await
            .unwrap();
            // 2 is FULL. <https://www.sqlite.org/pragma.html#pragma_synchronous>
            assert_eq!((journal.as_str(), sync, keys, busy, query_only), ("wal", 2, 1, 5000, reads_only));
        }
    }
}
