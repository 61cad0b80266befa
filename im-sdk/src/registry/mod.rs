//! Where connections are. The registry is a cache that may vanish: what it does not know is unknown, not offline.

mod memory;
#[cfg(feature = "redis")]
pub mod redis;

use std::collections::BTreeMap;

use async_trait::async_trait;
use im_protocol::{ConnectionId, ConversationId, DeviceId, Epoch, ServerId, Terminal, TimeMs, UserId};
use serde::{Deserialize, Serialize};

pub use memory::MemoryRegistry;

/// Where one connection of a user is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The connection; the field under which the route stands.
    pub connection: ConnectionId,
    /// The server that holds it.
    pub server: ServerId,
    /// That server's epoch. The route is void once a higher one is known.
    pub epoch: Epoch,
    /// Device class.
    pub terminal: Terminal,
    /// Which device.
    pub device: DeviceId,
    /// When it connected: Unix milliseconds. The oldest one of a device gives way.
    pub since: TimeMs,
}

/// What a server may be interested in without having been named as a recipient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// The messages of a large group or a room.
    Conversation(ConversationId),
    /// The presence of a user.
    Presence(UserId),
    /// One user's connections inside a room.
    Inside(ConversationId, UserId),
}

impl Topic {
    /// The key under which the index is kept: `g:…`, `r:…`, `p:<user>`, `in:<room>:<user>`.
    pub fn key(&self) -> String {
        match self {
            Self::Conversation(conversation) => conversation.to_string(),
            Self::Presence(user) => format!("p:{user}"),
            Self::Inside(room, user) => format!("in:{room}:{user}"),
        }
    }
}

/// A server as the registry mirrors it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its newest epoch.
    pub epoch: Epoch,
    /// False once its lease is over: all its routes are void.
    pub live: bool,
    /// Takes new connections: false while it drains.
    pub serving: bool,
    /// The marker under which all its routes and interests are written. While it is not the current one, the server
    /// gets every record.
    pub announced: Option<Marker>,
}

/// Stands for the registry's content: one that was emptied, or came back without its last writes, has another one.
/// Whoever reads routes learns the marker they were read under in the same round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Marker(pub u64);

/// Routes, and what their absence is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// They were read under this marker.
    pub marker: Marker,
    /// In the order of the users asked for.
    pub of: Vec<Vec<Route>>,
}

/// Interests, and what their absence is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interests {
    /// They were read under this marker.
    pub marker: Marker,
    /// The servers with the epoch of the interest, in the order of the topics asked for.
    pub of: Vec<BTreeMap<ServerId, Epoch>>,
}

/// The servers there are, by id. Never goes back in epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTable(BTreeMap<ServerId, Server>);

impl ServerTable {
    /// Takes what is newer; an older epoch changes nothing.
    pub fn observe(&mut self, id: ServerId, server: Server) {
        match self.0.get_mut(&id) {
            Some(known) if known.epoch > server.epoch => {}
            Some(known) => *known = server,
            None => {
                self.0.insert(id, server);
            }
        }
    }

    /// A server by id.
    pub fn get(&self, id: ServerId) -> Option<&Server> {
        self.0.get(&id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        self.0.iter().map(|(&id, server)| (id, server))
    }

    /// Those that live, by id.
    pub fn live(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        self.iter().filter(|(_, server)| server.live)
    }
}

/// Routes and interests.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Writes a route and returns the user's other routes, so that the terminal policy can act on them. Nothing is
    /// compared and set: a late goodbye of another connection cannot remove this one.
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError>;

    /// Writes routes again, many in one round trip: a server that finds a new marker announces what it holds.
    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError>;

    /// Removes one connection's route, and no other. Removing what is not there is fine.
    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError>;

    /// Deletes routes that are void, many in one round trip. Not a goodbye: whose routes they were is still known to
    /// [`Registry::users_of`].
    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError>;

    /// The routes of many users in one round trip.
    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError>;

    /// Writes or ends a server's interest in topics, many in one round trip. Called only when the server's local count
    /// goes 0 ↔ 1, or to announce it again.
    async fn set_interest(
        &self,
        topics: &[Topic],
        server: ServerId,
        epoch: Epoch,
        interested: bool,
    ) -> Result<(), RegistryError>;

    /// The servers interested in each topic, in one round trip.
    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError>;

    /// The marker; a registry without one is given one.
    async fn marker(&self) -> Result<Marker, RegistryError>;

    /// Makes a server known, or tells that it is gone. An older epoch changes nothing.
    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError>;

    /// The servers the registry knows of. A mirror of the store's table: who is missing is unknown, not dead.
    async fn servers(&self) -> Result<ServerTable, RegistryError>;

    /// Users that a server wrote routes of under an epoch, a page at a time: `cursor` 0 begins, and 0 comes back at the
    /// end. One who left a moment ago may be among them, one may come twice. For who was on a server that died.
    async fn users_of(&self, server: ServerId, epoch: Epoch, cursor: u64) -> Result<(u64, Vec<UserId>), RegistryError>;

    /// Clears away what an epoch that is over left behind: its routes, its interests and what [`Registry::users_of`]
    /// goes by. All of it is void already.
    async fn forget_users_of(&self, server: ServerId, epoch: Epoch) -> Result<(), RegistryError>;
}

/// Why the registry did not answer. Routing goes on without it, to every live server.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or did not answer in time.
    #[error("the registry is out of reach: {0}")]
    Unavailable(String),
}
