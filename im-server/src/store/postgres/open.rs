//! Opening a database: is it there, may we, is it one that can be used, is its schema ours.

use std::time::Duration;

use sqlx::migrate::Migrate;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row};

use super::config::PostgresConfig;
use super::error::{Fault, Kind, OpenError};

/// Embedded, so that the program carries its own schema.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest server that is tested: 14 is the oldest that is still maintained.
const OLDEST_SERVER: i32 = 140_000;

/// How long a migration, or the wait for another process that migrates, may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(30);

fn address(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// What a failed attempt to connect means.
fn refused(options: &PgConnectOptions, error: sqlx::Error) -> OpenError {
    let address = address(options);
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    let fault = Fault::from(error);
    match code.as_str() {
        // invalid_authorization_specification, invalid_password
        "28000" | "28P01" => {
            OpenError::Refused { address, user: options.get_username().to_owned(), reason: fault.text }
        }
        "3D000" => {
            let database = options.get_database().unwrap_or(options.get_username()).to_owned();
            OpenError::NoDatabase { address, database }
        }
        _ if fault.kind == Kind::Unavailable => OpenError::Unreachable { address, reason: fault.text },
        _ => OpenError::Store(fault.into()),
    }
}

/// A connection of its own, with nothing set.
pub(super) async fn connect(config: &PostgresConfig) -> Result<PgConnection, OpenError> {
    let options = config.options()?;
    if let Ok(connected) = tokio::time::timeout(config.acquire_timeout, options.connect()).await {
        return connected.map_err(|error| refused(&options, error));
    }
    let reason = format!("no answer within {} s", config.acquire_timeout.as_secs());
    Err(OpenError::Unreachable { address: address(&options), reason })
}

fn store_error(error: sqlx::Error) -> OpenError {
    OpenError::Store(Fault::from(error).into())
}

/// Whether the server and the database are of a kind that can be used; warns of an ack that is worth less than it
/// should be.
pub(super) async fn examine(connection: &mut PgConnection) -> Result<(), OpenError> {
    let row = sqlx::query(
        "select current_setting('server_version_num')::int as version, current_setting('server_version') as name,
                current_setting('server_encoding') as encoding, pg_is_in_recovery() as standby,
                current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
                current_setting('synchronous_commit') as synchronous_commit",
    )
    .fetch_one(connection)
    .await
    .map_err(store_error)?;
    let text = |column: &str| row.try_get::<&str, _>(column).map_err(store_error);
    if row.try_get::<i32, _>("version").map_err(store_error)? < OLDEST_SERVER {
        return Err(OpenError::Unsuitable(format!("PostgreSQL {} is too old: 14 or newer is needed", text("name")?)));
    }
    if text("encoding")? != "UTF8" {
        return Err(OpenError::Unsuitable(format!(
            "its encoding is {}: make it with CREATE DATABASE … ENCODING 'UTF8'",
            text("encoding")?
        )));
    }
    if row.try_get::<bool, _>("standby").map_err(store_error)? {
        return Err(OpenError::Unsuitable("it is a standby, which takes no writes: name the primary".to_owned()));
    }
    for (setting, harm) in [
        ("fsync", "a crash of the machine may lose or destroy what was acknowledged"),
        ("full_page_writes", "a crash of the machine may destroy what was acknowledged"),
        ("synchronous_commit", "a crash of the database may lose what was acknowledged just before"),
    ] {
        if text(setting)? == "off" {
            tracing::warn!("PostgreSQL runs with {setting}=off: {harm}");
        }
    }
    Ok(())
}

/// Whether every migration this program knows is applied; an error if one is that it does not know.
async fn is_current(connection: &mut PgConnection) -> Result<bool, OpenError> {
    let there: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    if !there {
        return Ok(false);
    }
    let applied = connection.list_applied_migrations(&MIGRATIONS.table_name).await.map_err(OpenError::Migration)?;
    // Applied there and unknown here: migrations are never taken out, so it came from a later version.
    if let Some(newer) = applied.iter().map(|migration| migration.version).find(|&v| !MIGRATIONS.version_exists(v)) {
        return Err(OpenError::Newer(newer));
    }
    // Whether they are the same ones is for the migrator to say.
    let known = |ours: &sqlx::migrate::Migration| {
        applied.iter().any(|theirs| theirs.version == ours.version && theirs.checksum == ours.checksum)
    };
    Ok(MIGRATIONS.iter().all(known))
}

/// Brings the schema up to date. Processes that start together take turns.
pub(super) async fn migrate(mut connection: PgConnection) -> Result<(), OpenError> {
    if is_current(&mut connection).await? {
        return Ok(());
    }
    // What the server is set to would end a long migration, or the wait for another process that migrates.
    sqlx::query(
        "select set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
                set_config('idle_in_transaction_session_timeout', '0', false)",
    )
    .execute(&mut connection)
    .await
    .map_err(store_error)?;
    // Dropped on an error, the connection is closed and with it goes the migrator's lock.
    let migrated = tokio::time::timeout(MIGRATION_TIMEOUT, MIGRATIONS.run_direct(None, &mut connection, false)).await;
    match migrated {
        Ok(Ok(())) => Ok(connection.close().await.map_err(store_error)?),
        Ok(Err(sqlx::migrate::MigrateError::VersionMissing(version))) => Err(OpenError::Newer(version)),
        Ok(Err(error)) => Err(OpenError::Migration(error)),
        Err(_) => Err(OpenError::Unsuitable(format!(
            "it, or another process that migrates it, was not ready within {} min",
            MIGRATION_TIMEOUT.as_secs() / 60
        ))),
    }
}
