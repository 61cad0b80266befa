//! What the errors of `SQLite` mean to a caller.

use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqliteError;

use crate::store::StoreError;

/// Primary result codes after which the same call may succeed later: busy, locked, out of memory, read-only, interrupted,
/// I/O error, full, cannot open. <https://www.sqlite.org/rescode.html>
const PASSING: [i32; 8] = [5, 6, 7, 8, 9, 10, 13, 14];

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was written by a newer version of this program.
    #[error(
        "the database has schema version {0}, which this version of the program does not know: \
         run the newer version, or restore the backup taken before the upgrade"
    )]
    Newer(i64),
    /// Its schema cannot be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migration(#[source] MigrateError),
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(super) fn from_migration(error: MigrateError) -> Self {
        match error {
            // Applied there and unknown here: migrations are never taken out, so it came from a later version.
            MigrateError::VersionMissing(version) => Self::Newer(version),
            error => Self::Migration(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(text)
            }
            sqlx::Error::Database(error) => {
                let code = error
                    .try_downcast_ref::<SqliteError>()
                    .and_then(|error| sqlx::error::DatabaseError::code(error)?.parse::<i32>().ok());
                match code {
                    // The low byte of an extended code is its primary code.
                    Some(code) if PASSING.contains(&(code & 0xff)) => Self::Unavailable(text),
                    _ => Self::Broken(text),
                }
            }
            _ => Self::Broken(text),
        }
    }
}
