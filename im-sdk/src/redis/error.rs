use std::path::PathBuf;

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::registry::RegistryError;

/// Why Redis could not be connected to. None of these carries a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing answers there.
    #[error(
        "Redis at {address} cannot be reached: {reason}. Is it running, do the scheme (redis:// or rediss://), host and \
         port of the Redis URL fit, and does a firewall or network policy let this machine through?"
    )]
    Unreachable {
        /// host:port, several with commas.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The user name or the password is wrong or missing, or the user may not do what is needed.
    #[error("Redis at {address} turned the user name or password of the Redis URL away: {reason}")]
    Denied {
        /// host:port, several with commas.
        address: String,
        /// What Redis said.
        reason: String,
    },
    /// The Sentinels answer, but have no such master.
    #[error("the Sentinels at {address} know no master named `{master}`: check the end of the Redis URL")]
    NoMaster {
        /// host:port, several with commas.
        address: String,
        /// The name asked for.
        master: String,
    },
    /// It answers, but is no cluster.
    #[error("Redis at {address} is not in cluster mode: use redis:// or rediss:// in the Redis URL")]
    NotACluster {
        /// host:port, several with commas.
        address: String,
    },
    /// It answers, but is a node of a cluster.
    #[error("Redis at {address} is a node of a cluster: use redis+cluster:// or rediss+cluster:// in the Redis URL")]
    IsACluster {
        /// host:port.
        address: String,
    },
    /// The file with the certificate authority cannot be used.
    #[error("the CA file {path} for Redis cannot be used: {reason}")]
    CaFile {
        /// As it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It answers with an error.
    #[error("Redis at {address} cannot be used: {reason}")]
    Unusable {
        /// host:port, several with commas.
        address: String,
        /// What Redis said.
        reason: String,
    },
}

impl ConnectError {
    pub(super) fn of(error: &RedisError, address: &str, master: Option<&str>) -> Self {
        let (address, reason) = (address.to_owned(), error.to_string());
        let code = error.code().unwrap_or_default();
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Denied { address, reason }
            }
            _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") => Self::Denied { address, reason },
            ErrorKind::MasterNameNotFoundBySentinel => {
                Self::NoMaster { address, master: master.unwrap_or_default().to_owned() }
            }
            _ if reason.contains("cluster support disabled") => Self::NotACluster { address },
            ErrorKind::Server(ServerErrorKind::Moved) => Self::IsACluster { address },
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Self::Unreachable { address, reason },
            _ => Self::Unusable { address, reason },
        }
    }
}

pub(super) fn unavailable(error: &RedisError) -> RegistryError {
    RegistryError::Unavailable(format!("Redis: {error}"))
}

/// Whether the node is away or not the one to ask, rather than displeased with a command.
pub(super) fn is_away(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::ReadOnly
        ),
        ErrorKind::UnexpectedReturnType | ErrorKind::Extension => false,
        _ => true,
    }
}
