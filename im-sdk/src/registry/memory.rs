//! The registry of a single process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};

use async_trait::async_trait;
use im_protocol::{ConnectionId, Epoch, ServerId, UserId};
use parking_lot::{Mutex, RwLock};

use super::{Interests, Marker, Registry, RegistryError, Route, Routes, Server, ServerTable, Topic};

/// Enough that connections which come and go at once on a few cores seldom meet at one lock.
const SHARDS: usize = 64;

/// Routes, interests and servers in memory. It vanishes with the process, as any registry may.
pub struct MemoryRegistry {
    marker: Marker,
    routes: Sharded<UserId, Vec<Route>>,
    interests: Sharded<Topic, BTreeMap<ServerId, Epoch>>,
    servers: RwLock<ServerTable>,
    /// Whose void routes were deleted, by where they led to.
    deleted: Mutex<HashMap<(ServerId, Epoch), BTreeSet<UserId>>>,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self {
            marker: Marker(rand::random()),
            routes: Sharded::default(),
            interests: Sharded::default(),
            servers: RwLock::default(),
            deleted: Mutex::default(),
        }
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self::new()
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

    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError> {
        for (user, route) in routes {
            self.register(user, route.clone()).await?;
        }
        Ok(())
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

    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError> {
        for (user, connection) in routes {
            let mut shard = self.routes.of(user).lock();
            let Some(routes) = shard.get_mut(user) else { continue };
            let Some(at) = routes.iter().position(|route| route.connection == *connection) else { continue };
            let route = routes.swap_remove(at);
            if routes.is_empty() {
                shard.remove(user);
            }
            self.deleted.lock().entry((route.server, route.epoch)).or_default().insert(user.clone());
        }
        Ok(())
    }

    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError> {
        let of = |user| self.routes.of(user).lock().get(user).cloned().unwrap_or_default();
        Ok(Routes { marker: self.marker, of: users.iter().map(of).collect() })
    }

    async fn set_interest(
        &self,
        topics: &[Topic],
        server: ServerId,
        epoch: Epoch,
        interested: bool,
    ) -> Result<(), RegistryError> {
        for topic in topics {
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
        }
        Ok(())
    }

    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError> {
        let of = |topic| self.interests.of(topic).lock().get(topic).cloned().unwrap_or_default();
        Ok(Interests { marker: self.marker, of: topics.iter().map(of).collect() })
    }

    async fn marker(&self) -> Result<Marker, RegistryError> {
        Ok(self.marker)
    }

    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        self.servers.write().observe(id, server);
        Ok(())
    }

    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        Ok(self.servers.read().clone())
    }

    async fn users_of(
        &self,
        server: ServerId,
        epoch: Epoch,
        _cursor: u64,
    ) -> Result<(u64, Vec<UserId>), RegistryError> {
        let mut users = self.deleted.lock().get(&(server, epoch)).cloned().unwrap_or_default();
        for shard in &self.routes.shards {
            let shard = shard.lock();
            let there = |routes: &[Route]| routes.iter().any(|route| route.server == server && route.epoch == epoch);
            users.extend(shard.iter().filter(|(_, routes)| there(routes)).map(|(user, _)| user.clone()));
        }
        Ok((0, users.into_iter().collect()))
    }

    async fn forget_users_of(&self, server: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        self.deleted.lock().remove(&(server, epoch));
        for shard in &self.routes.shards {
            shard.lock().retain(|_, routes| {
                routes.retain(|route| route.server != server || route.epoch != epoch);
                !routes.is_empty()
            });
        }
        for shard in &self.interests.shards {
            shard.lock().retain(|_, servers| {
                servers.retain(|&id, &mut known| id != server || known != epoch);
                !servers.is_empty()
            });
        }
        Ok(())
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
