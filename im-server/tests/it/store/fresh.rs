//! Fresh stores of every implementation. Their groups are large from five members up and no more below three.

use std::sync::Arc;

use im_server::store::postgres::{PostgresConfig, PostgresStore};
use im_server::store::sqlite::SqliteStore;
use im_server::store::{LargeGroups, Store};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;

/// Sizes that a test reaches with a handful of people.
pub(crate) const LARGE: LargeGroups = LargeGroups { from: 5, below: 3 };

/// An empty store, and what it lives in.
pub(crate) struct Fresh {
    pub(crate) store: Arc<dyn Store>,
    home: Home,
}

enum Home {
    File(TempDir),
    Postgres(Database),
}

impl Fresh {
    /// Leaves nothing behind. A test that failed does, to be looked at.
    pub(crate) async fn end(self) {
        match self.home {
            Home::File(folder) => drop(folder),
            Home::Postgres(database) => database.end().await,
        }
    }
}

pub(crate) async fn sqlite() -> Fresh {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = SqliteStore::open(&folder.path().join("im.db")).await.expect("a store").with_large_groups(LARGE);
    Fresh { store: Arc::new(store), home: Home::File(folder) }
}

pub(crate) async fn postgres() -> Fresh {
    let database = Database::new().await;
    let store = database.open().await.with_large_groups(LARGE);
    Fresh { store: Arc::new(store), home: Home::Postgres(database) }
}

/// A `PostgreSQL` database of the test's own.
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// An empty one.
    pub(crate) async fn new() -> Self {
        let name = format!("im_test_{}", ulid::Ulid::generate().to_string().to_lowercase());
        run(&format!("create database {name} encoding 'UTF8' template template0")).await;
        Self { name }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// Settings of a small store on it.
    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig { max_connections: 4, ..PostgresConfig::new(self.url()) }
    }

    /// A store on it.
    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.config()).await.expect("a store")
    }

    /// A connection of the test's own to it.
    pub(crate) async fn beside(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("a connection")
    }

    /// Removes it, whoever is still connected.
    pub(crate) async fn end(self) {
        run(&format!("drop database {} with (force)", self.name)).await;
    }
}

/// The server on which tests make databases: the URL of one who may.
fn server() -> String {
    std::env::var("IM_TEST_POSTGRES_URL").expect("IM_TEST_POSTGRES_URL: run this by make test-stack")
}

/// The URL of a database of that server.
pub(crate) fn url_of(database: &str) -> String {
    let options: PgConnectOptions = server().parse().expect("a URL of PostgreSQL");
    sqlx::ConnectOptions::to_url_lossy(&options.database(database)).into()
}

/// Runs a statement on that server.
async fn run(statement: &str) {
    let mut connection = PgConnection::connect(&server()).await.expect("a PostgreSQL server");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect("a statement");
}
