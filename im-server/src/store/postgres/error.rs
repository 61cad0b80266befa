//! What the errors of PostgreSQL mean to a caller.

use sqlx::migrate::MigrateError;

use crate::store::StoreError;

/// SQLSTATE classes after which the same call may succeed later: connection exceptions, a password that is being changed,
/// insufficient resources, operator intervention, system errors.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const PASSING_CLASSES: [&str; 5] = ["08", "28", "53", "57", "58"];

/// Codes of other classes that pass: a lock that could not be had in time, an idle transaction that was ended, a server
/// that is a standby since a failover.
const PASSING: [&str; 3] = ["55P03", "25P03", "25006"];

/// The server undid the transaction to let another one go on: serialization failure, deadlock.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];

/// Classes of what is wrong with the values of a statement: data exceptions, broken constraints; and a value that is
/// too long for an index.
const DATA_CLASSES: [&str; 2] = ["22", "23"];
const TOO_LONG: &str = "54000";

/// What an error comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Undone in favour of another transaction: it may be tried again at once.
    Conflict,
    /// A value of it cannot be stored.
    Data,
    /// Out of reach, too busy, full. Whether a commit that was under way took place is not known.
    Unavailable,
    /// A fault of ours.
    Broken,
}

/// A failed statement.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// What the functions of this folder return.
pub(super) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, text: text.into() }
    }

    pub(super) fn broken(text: impl Into<String>) -> Self {
        Self { kind: Kind::Broken, text: text.into() }
    }
}

fn kind_of_code(code: &str) -> Kind {
    let class = code.get(..2).unwrap_or_default();
    if CONFLICTS.contains(&code) {
        Kind::Conflict
    } else if PASSING.contains(&code) || PASSING_CLASSES.contains(&class) {
        Kind::Unavailable
    } else if code == TOO_LONG || DATA_CLASSES.contains(&class) {
        Kind::Data
    } else {
        Kind::Broken
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        let kind = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // A connection that was cut, or left by another call, in the middle of an answer.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed => Kind::Unavailable,
            sqlx::Error::Database(error) => error.code().map_or(Kind::Broken, |code| kind_of_code(&code)),
            _ => Kind::Broken,
        };
        Self { kind, text: error.to_string() }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) => Self::unavailable(text),
            StoreError::Broken(text) => Self::broken(text),
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault.kind {
            Kind::Conflict | Kind::Unavailable => Self::Unavailable(fault.text),
            Kind::Data | Kind::Broken => Self::Broken(fault.text),
        }
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of PostgreSQL.
    #[error("the database URL cannot be used: {0}; it looks like postgres://user:password@host:5432/database")]
    Url(String),
    /// Nobody answers there, or what is wrong will pass: it starts up, or has no connection to spare.
    #[error(
        "PostgreSQL at {address} cannot be reached: {reason}; check host and port of the database URL, that the server \
         runs and takes connections from here"
    )]
    Unreachable {
        /// host:port, or the socket.
        address: String,
        /// What happened.
        reason: String,
    },
    /// It refuses the user.
    #[error(
        "PostgreSQL at {address} refuses the user {user:?}: {reason}; check user and password of the database URL, and \
         the server's pg_hba.conf"
    )]
    Refused {
        /// host:port, or the socket.
        address: String,
        /// Who.
        user: String,
        /// What it says.
        reason: String,
    },
    /// There is no such database.
    #[error(
        "PostgreSQL at {address} has no database {database:?}: make it with CREATE DATABASE \"{database}\" ENCODING \
         'UTF8', owned by the user of the database URL"
    )]
    NoDatabase {
        /// host:port, or the socket.
        address: String,
        /// Which.
        database: String,
    },
    /// The server or the database is not of a kind that can be used.
    #[error("the database cannot be used: {0}")]
    Unsuitable(String),
    /// Its schema was brought up to date by a newer version of this program.
    #[error(
        "the database has schema version {0}, which this version of the program does not know: run the newer version, \
         or restore the backup taken before the upgrade"
    )]
    Newer(i64),
    /// Its schema cannot be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migration(#[source] MigrateError),
    /// It failed while it was looked at.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind_of_code};

    #[test]
    fn what_passes_is_unavailable_and_what_is_wrong_with_a_value_is_told_apart() {
        for (code, kind) in [
            ("57P01", Kind::Unavailable), // admin_shutdown
            ("57P03", Kind::Unavailable), // cannot_connect_now
            ("57014", Kind::Unavailable), // query_canceled, by statement_timeout
            ("53100", Kind::Unavailable), // disk_full
            ("53300", Kind::Unavailable), // too_many_connections
            ("08006", Kind::Unavailable), // connection_failure
            ("25006", Kind::Unavailable), // read_only_sql_transaction
            ("28P01", Kind::Unavailable), // invalid_password
            ("40P01", Kind::Conflict),
            ("40001", Kind::Conflict),
            ("22021", Kind::Data),   // a text with a NUL character
            ("23514", Kind::Data),   // check_violation
            ("54000", Kind::Data),   // an index row that is too long
            ("42P01", Kind::Broken), // undefined_table
            ("", Kind::Broken),
        ] {
            assert_eq!(kind_of_code(code), kind, "{code}");
        }
    }
}
