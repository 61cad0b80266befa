//! The rules: who may do what, and what follows. Free of sockets and SQL: facts come from the [`Store`], effects go
//! out through [`Publish`], and every answer is a value or a [`WireError`] with one of the documented codes.
//!
//! One [`Chat`] serves the whole process; each capability is an `impl Chat` in a file of its own.

mod accounts;
mod committer;
mod cursors;
mod deaths;
mod friends;
mod gaps;
mod groups;
mod messages;
mod passwords;
mod presence;
mod publish;
mod reads;
mod secret;
mod send;
mod sessions;
mod settings;
mod tokens;
mod users;
mod views;

use std::sync::Arc;

use im_protocol::{ErrorCode, UserId, WireError};
use im_sdk::reads::ReadPositions;
use im_sdk::registry::{Registry, RegistryError, ServerTable};
use tokio::task::JoinSet;

use committer::{CommitTask, Committer};
use reads::Reads;
use send::Pace;

pub use accounts::Registrar;
pub use committer::Answer;
pub use groups::{GroupUpdate, Joined, MemberUpdate};
pub use messages::MessagesQuery;
pub use passwords::Passwords;
pub use publish::{Devices, Publish};
pub use secret::Secret;
pub use send::Inside;
pub use sessions::{Grant, Identity, SignedIn};
pub use settings::Settings;
pub use tokens::{BadToken, Checks, KEY_BYTES, Keys, KeysError, ProviderKeys, Refresher, Tokens};
pub(crate) use views::since_token;

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
    /// An access token says so.
    Person,
    /// A backend with the service token speaks for the user: no rate limit, friendship is not asked for.
    Service,
}

/// The table of servers at the moment of the call.
pub type ServersNow = Arc<dyn Fn() -> Arc<ServerTable> + Send + Sync>;

/// What the rules rest on.
pub struct Parts {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Where connections are.
    pub registry: Arc<dyn Registry>,
    /// How far people have read, shared by all servers.
    pub positions: Arc<dyn ReadPositions>,
    /// The servers there are, as far as this process knows.
    pub servers: ServersNow,
    /// Where effects go.
    pub publish: Arc<dyn Publish>,
    /// What an operator set.
    pub settings: Settings,
    /// How many committers share the conversations: one for SQLite, which has one writer.
    pub committers: usize,
    /// Makes and checks tokens.
    pub tokens: Tokens,
    /// Hashes and checks passwords.
    pub passwords: Passwords,
}

/// The rules over one store.
pub struct Chat {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<dyn Registry>,
    positions: Arc<dyn ReadPositions>,
    servers: ServersNow,
    pub(crate) publish: Arc<dyn Publish>,
    pub(crate) settings: Settings,
    tokens: Tokens,
    passwords: Passwords,
    committer: Committer,
    pace: Pace,
    reads: Reads,
    /// Ids as registered, by lower case.
    spelled: quick_cache::sync::Cache<String, UserId>,
}

/// Ids whose spelling is remembered.
const SPELLED: usize = 50_000;

/// What has to run beside the rules.
pub struct Background {
    chat: Arc<Chat>,
    committers: Vec<CommitTask>,
}

impl Chat {
    /// The rules, and what has to run beside them.
    pub fn new(parts: Parts) -> (Arc<Self>, Background) {
        let Parts { store, registry, positions, servers, publish, settings, committers: count, tokens, passwords } =
            parts;
        let (committer, committers) = committer::committers(count);
        let pace = Pace::new(settings.limits.messages_per_second, settings.limits.message_burst);
        let chat = Arc::new(Self {
            store,
            registry,
            positions,
            servers,
            publish,
            settings,
            tokens,
            passwords,
            committer,
            pace,
            reads: Reads::default(),
            spelled: quick_cache::sync::Cache::new(SPELLED),
        });
        (chat.clone(), Background { chat, committers })
    }

    /// What an operator set.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where connections are.
    pub fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    /// Where effects go.
    pub fn publish(&self) -> &dyn Publish {
        &*self.publish
    }

    /// Which of these sessions are over.
    pub(crate) async fn ended_sessions(&self, sessions: &[SessionId]) -> Result<Vec<SessionId>> {
        Ok(self.store.dead_sessions(sessions).await?)
    }

    /// Writes what is still only in memory. Called once nothing is asked any more.
    pub async fn finish(&self) -> Result<()> {
        self.flush_positions().await
    }
}

impl Background {
    /// Starts the tasks; they end with the set.
    pub fn start(self, tasks: &mut JoinSet<()>) {
        for committer in self.committers {
            tasks.spawn(committer.run(self.chat.store.clone(), self.chat.publish.clone()));
        }
        tasks.spawn(self.chat.clone().keep_reads());
        tasks.spawn(self.chat.keep_telling());
    }
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

/// The answer while the registry is out of reach.
#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(crate) fn registry_unavailable(error: RegistryError) -> WireError {
    tracing::warn!(%error, "the registry is out of reach");
    WireError::new(ErrorCode::Unavailable, "the registry is out of reach: try again")
}

/// Now, by this machine's clock: Unix milliseconds.
pub(crate) fn now_ms() -> im_protocol::TimeMs {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
