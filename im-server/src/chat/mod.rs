//! The rules: who may do what, and what follows. Free of sockets and SQL: facts come from the [`Store`], effects go
//! out through [`Publish`], and every answer is a value or a [`WireError`] with one of the documented codes.
//!
//! One [`Chat`] serves the whole process; each capability is an `impl Chat` in a file of its own.

mod publish;
mod settings;

use std::sync::Arc;

use im_protocol::{ErrorCode, UserId, WireError};
use im_sdk::registry::{Registry, RegistryError};

pub use publish::{Devices, Publish};
pub use settings::Settings;

use crate::store::{SessionId, Store, StoreError};

/// What a rule returns.
pub type Result<T> = std::result::Result<T, WireError>;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user, spelled as registered.
    pub user: UserId,
    /// By what right.
    pub right: Right,
}

/// By what right someone asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// An access token of this session.
    Session(SessionId),
    /// A backend with the service token speaks for the user: no rate limit, friendship is not asked for.
    Service,
}

/// The rules over one store.
pub struct Chat {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) publish: Arc<dyn Publish>,
    pub(crate) settings: Settings,
}

impl From<StoreError> for WireError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) => {
                tracing::warn!(%reason, "the database is out of reach");
                Self::new(ErrorCode::Unavailable, "the database is out of reach: try again")
            }
            StoreError::Broken(reason) => {
                tracing::error!(%reason, "the database gave a wrong answer");
                Self::new(ErrorCode::Internal, "the server has a fault; its log has the details")
            }
        }
    }
}

impl From<RegistryErrorAnswer> for WireError {
    fn from(RegistryErrorAnswer(error): RegistryErrorAnswer) -> Self {
        tracing::warn!(%error, "the registry is out of reach");
        Self::new(ErrorCode::Unavailable, "the registry is out of reach: try again")
    }
}

/// A registry error on its way to a client.
pub(crate) struct RegistryErrorAnswer(pub(crate) RegistryError);

/// Now, by this machine's clock: Unix milliseconds.
pub(crate) fn now_ms() -> im_protocol::TimeMs {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
