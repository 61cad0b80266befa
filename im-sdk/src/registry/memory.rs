//! The registry of a single process.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};

use async_trait::async_trait;
use im_protocol::{ConnectionId, Epoch, ServerId, UserId};
use parking_lot::{Mutex, RwLock};

use super::{Registry, RegistryError, Route, Server, ServerTable, Topic};

/// Enough that connections which come and go at once on a few cores seldom meet at one lock.
const SHARDS: usize = 64;

/// Routes, interests and servers in memory. It vanishes with the process, as any registry may.
#[derive(Default)]
pub struct MemoryRegistry {
    routes: Sharded<UserId, Vec<Route>>,
    interests: Sharded<Topic, BTreeMap<ServerId, Epoch>>,
    servers: RwLock<ServerTable>,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError> {
        let mut shard = self.routes.of(user).lock();
        let routes = shard.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1));
        routes.retain(|other| other.connection != route.connection);
        let others = routes.clone();
        routes.push(route);
        Ok(others)
    }

    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError> {
        let mut shard = self.routes.of(user).lock();
        if let Some(routes) = shard.get_mut(user) {
            routes.retain(|route| route.connection != connection);
            if routes.is_empty() {
                shard.remove(user);
            }
        }
        Ok(())
    }

    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<Route>>, RegistryError> {
        let of = |user| self.routes.of(user).lock().get(user).cloned().unwrap_or_default();
        Ok(users.iter().map(of).collect())
    }

    async fn set_interest(
        &self,
        topic: &Topic,
        server: ServerId,
        epoch: Epoch,
        interested: bool,
    ) -> Result<(), RegistryError> {
        let mut shard = self.interests.of(topic).lock();
        let servers = shard.entry(topic.clone()).or_default();
        let newer = servers.get(&server).is_some_and(|&known| known > epoch);
        if !newer && interested {
            servers.insert(server, epoch);
        } else if !newer {
            servers.remove(&server);
        }
        if servers.is_empty() {
            shard.remove(topic);
        }
        Ok(())
    }

    async fn interested(&self, topics: &[Topic]) -> Result<Vec<BTreeMap<ServerId, Epoch>>, RegistryError> {
        let of = |topic| self.interests.of(topic).lock().get(topic).cloned().unwrap_or_default();
        Ok(topics.iter().map(of).collect())
    }

    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        self.servers.write().observe(id, server);
        Ok(())
    }

    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        Ok(self.servers.read().clone())
    }
}

/// A map cut into parts with a lock each.
struct Sharded<K, V> {
    shards: Box<[Mutex<HashMap<K, V>>]>,
    hasher: RandomState,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<K: Hash, V> Sharded<K, V> {
    fn of(&self, key: &K) -> &Mutex<HashMap<K, V>> {
        let hash = self.hasher.hash_one(key);
        // The remainder is below SHARDS, so the cut loses nothing.
        #[allow(clippy::cast_possible_truncation)]
        &self.shards[(hash % SHARDS as u64) as usize]
    }
}
