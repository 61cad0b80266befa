//! The registry of a cluster of servers: Redis, single, behind Sentinels, or as a Redis Cluster.
//!
//! What is kept, all of it in the bucket ([`crate::redis`]) of the user or topic that it is about:
//!
//! | key | type | content |
//! |---|---|---|
//! | `u:<user>` | hash | connection id → route |
//! | `on:<server>:<epoch>` | set | `<connection id> <user>` of that server's routes in this bucket |
//! | `i:<topic>` | hash | interested server → epoch |
//! | `ion:<server>:<epoch>` | set | topics in this bucket that the server is interested in |
//! | `marker` | string | the bucket's marker |
//! | `servers` | hash | server → epoch and entry as JSON; in the first bucket |
//!
//! Nothing expires. A route lives as long as its connection, which may be weeks: an expiry would one day make somebody
//! who is connected look offline. What a dead server leaves behind is void by its epoch, deleted when it is met, and
//! cleared away as a whole by [`Registry::forget_users_of`], which finds it by the two sets. For the same reason Redis
//! must not evict: see [`RedisRegistry::connect`].

mod entry;
mod marker;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use ::redis::{Cmd, Value};
use async_trait::async_trait;
use im_protocol::{ConnectionId, Epoch, ServerId, UserId};

use super::{Interests, Marker, Registry, RegistryError, Route, Routes, Server, ServerTable, Topic};
use crate::redis::{Batch, Bucket, RedisClient, Script, value};
pub use crate::redis::{ConnectError, RedisConfig, RedisUrlError};
use marker::Markers;

/// Routes or interests of a dead server that are read, or cleared away, in one round trip.
const PAGE: isize = 500;

/// Where the table of servers stands.
const SERVERS: Bucket = Bucket(0);

/// Bits of a cursor of [`Registry::users_of`] that Redis has for its own; the bucket stands above.
const CURSOR_BITS: u32 = 48;

/// Ends a route, and its entry in the set of its server and epoch. ARGV: connection, user, what the key of that set
/// begins with.
static UNREGISTER: Script = Script::new(
    "local route = redis.call('HGET', KEYS[1], ARGV[1])
    if not route then return 0 end
    redis.call('HDEL', KEYS[1], ARGV[1])
    local server, epoch = string.match(route, '^(%d+) (%d+) ')
    if server then redis.call('SREM', ARGV[3] .. server .. ':' .. epoch, ARGV[1] .. ' ' .. ARGV[2]) end
    return 1",
);

/// Writes or ends a server's interest in topics, unless a newer epoch has said something. KEYS: the set of that server
/// and epoch, then the topics. ARGV: server, epoch, 1 or 0, then the topics' names.
static SET_INTEREST: Script = Script::new(
    "for at = 2, #KEYS do
        local known = redis.call('HGET', KEYS[at], ARGV[1])
        if not known or tonumber(known) <= tonumber(ARGV[2]) then
            if ARGV[3] == '1' then
                redis.call('HSET', KEYS[at], ARGV[1], ARGV[2])
            else
                redis.call('HDEL', KEYS[at], ARGV[1])
            end
        end
        if ARGV[3] == '1' then
            redis.call('SADD', KEYS[1], ARGV[at + 2])
        else
            redis.call('SREM', KEYS[1], ARGV[at + 2])
        end
    end
    return 1",
);

/// Writes a server's entry, unless there is one of a newer epoch. ARGV: server, epoch, entry.
static SET_SERVER: Script = Script::new(
    "local known = redis.call('HGET', KEYS[1], ARGV[1])
    if known and tonumber(string.match(known, '^%d+')) > tonumber(ARGV[2]) then return 0 end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
    return 1",
);

/// Routes, interests and servers in Redis.
pub struct RedisRegistry {
    client: Arc<RedisClient>,
    markers: Markers,
}

impl RedisRegistry {
    /// Connects. A Redis that may evict keys is warned about in the log: who is evicted would be taken for offline.
    pub async fn connect(config: &RedisConfig) -> Result<Self, ConnectError> {
        let client = Arc::new(RedisClient::connect(config).await?);
        let markers = Markers::new(client.buckets());
        let registry = Self { client, markers };
        // Everything that is needed is tried once: a user without the right to a command is told now.
        let unusable =
            |error: RegistryError| ConnectError::Unusable { address: config.address(), reason: error.to_string() };
        registry.marker().await.map_err(unusable)?;
        registry.warn_of_eviction().await.map_err(unusable)?;
        Ok(registry)
    }

    /// The connection, for what else is kept in the same Redis.
    pub(crate) fn client(&self) -> &Arc<RedisClient> {
        &self.client
    }

    async fn warn_of_eviction(&self) -> Result<(), RegistryError> {
        let batches: Vec<_> = self
            .client
            .buckets()
            .all()
            .map(|bucket| {
                let mut batch = Batch::new(bucket);
                let mut command = ::redis::cmd("INFO");
                command.arg("memory");
                batch.add(command);
                batch
            })
            .collect();
        for answer in self.client.run("connect", &batches).await?.into_iter().flatten() {
            let info: String = value(answer)?;
            let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            let policy = field("maxmemory_policy:");
            if field("maxmemory:") != "0" && policy != "noeviction" {
                tracing::warn!(
                    policy,
                    "Redis may evict keys when its memory is full: people who are connected would then be taken for \
                     offline. Set maxmemory-policy to noeviction"
                );
                break;
            }
        }
        Ok(())
    }

    fn key(&self, bucket: Bucket, name: impl Display) -> String {
        self.client.buckets().key(bucket, name)
    }

    /// Things by the bucket in which they stand, which their name says.
    fn grouped<T>(&self, things: impl IntoIterator<Item = T>, name: impl Fn(&T) -> String) -> Grouped<T> {
        let mut groups = Grouped::new();
        for thing in things {
            groups.entry(self.client.buckets().of(&name(&thing))).or_default().push(thing);
        }
        groups
    }

    /// Reads hashes by their names, in their order, and the marker in the same round trip.
    async fn hashes(
        &self,
        operation: &'static str,
        names: impl ExactSizeIterator<Item = String>,
    ) -> Result<(Marker, Vec<HashMap<String, String>>), RegistryError> {
        let mut hashes = vec![HashMap::new(); names.len()];
        let groups = self.grouped(names.enumerate(), |(_, name)| name.clone());
        let batch = |(&bucket, group): (&Bucket, &Vec<(usize, String)>)| {
            let mut batch = Batch::new(bucket);
            self.markers.ask(&mut batch, bucket);
            for (_, name) in group {
                batch.add(Cmd::hgetall(self.key(bucket, name)));
            }
            batch
        };
        let batches: Vec<_> = groups.iter().map(batch).collect();
        let mut parts = Vec::with_capacity(batches.len());
        for ((bucket, group), answers) in groups.into_iter().zip(self.client.run(operation, &batches).await?) {
            let mut answers = answers.into_iter();
            parts.push((bucket, Markers::answer(&mut answers)?));
            for ((place, _), answer) in group.into_iter().zip(answers) {
                hashes[place] = value(answer)?;
            }
        }
        Ok((self.markers.over_all(parts), hashes))
    }

    /// Adds what writes a route.
    fn write(&self, batch: &mut Batch, bucket: Bucket, user: &UserId, route: &Route) {
        let Route { connection, server, epoch, .. } = route;
        batch.add(Cmd::hset(self.key(bucket, of_user(user)), connection.to_string(), entry::encode(route)));
        batch.add(Cmd::sadd(self.key(bucket, routes_on(*server, *epoch)), entry::held(*connection, user)));
    }

    /// Clears away what an epoch that is over left in a bucket, a page at a time.
    async fn forget_in(&self, bucket: Bucket, server: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        let routes = self.key(bucket, routes_on(server, epoch));
        loop {
            let page = self.members(bucket, &routes).await?;
            if page.is_empty() {
                break;
            }
            let mut batch = Batch::new(bucket);
            for held in &page {
                if let Some((connection, user)) = entry::of_held(held) {
                    batch.add(Cmd::hdel(self.key(bucket, of_user(&user)), connection));
                }
            }
            batch.add(Cmd::srem(&routes, page));
            self.client.run("forget", &[batch]).await?;
        }
        let interests = self.key(bucket, interests_on(server, epoch));
        loop {
            let page = self.members(bucket, &interests).await?;
            if page.is_empty() {
                return Ok(());
            }
            let batch = self.interest(bucket, &page, server, epoch, false);
            self.client.run("forget", &[batch]).await?;
        }
    }

    /// Some members of a set.
    async fn members(&self, bucket: Bucket, key: &str) -> Result<Vec<String>, RegistryError> {
        let mut batch = Batch::new(bucket);
        batch.add(Cmd::srandmember_multiple(key, PAGE));
        let mut answers = self.client.run("forget", &[batch]).await?.into_iter().flatten();
        value(answers.next().unwrap_or_default())
    }

    /// What writes or ends a server's interest in topics, all of one bucket.
    fn interest(&self, bucket: Bucket, topics: &[String], server: ServerId, epoch: Epoch, interested: bool) -> Batch {
        let mut keys = vec![self.key(bucket, interests_on(server, epoch))];
        keys.extend(topics.iter().map(|topic| self.key(bucket, topic)));
        let mut command = SET_INTEREST.call(&keys);
        command.arg(server.0).arg(epoch.0).arg(u8::from(interested)).arg(topics);
        let mut batch = Batch::running(bucket, &SET_INTEREST);
        batch.add(command);
        batch
    }
}

type Grouped<T> = BTreeMap<Bucket, Vec<T>>;

fn of_user(user: &UserId) -> String {
    format!("u:{user}")
}

fn of_topic(topic: &Topic) -> String {
    format!("i:{}", topic.key())
}

fn routes_on(server: ServerId, epoch: Epoch) -> String {
    format!("on:{server}:{epoch}")
}

fn interests_on(server: ServerId, epoch: Epoch) -> String {
    format!("ion:{server}:{epoch}")
}

/// The routes in a user's hash. What cannot be read is left out: one entry must not hide the others.
fn routes_of(hash: HashMap<String, String>) -> Vec<Route> {
    let read = |(connection, text): (String, String)| {
        let route = entry::decode(&connection, &text);
        if route.is_none() {
            tracing::warn!(connection, text, "a route in the registry cannot be read");
        }
        route
    };
    hash.into_iter().filter_map(read).collect()
}

fn interests_of(hash: HashMap<String, String>) -> BTreeMap<ServerId, Epoch> {
    let read = |(server, epoch): (String, String)| Some((ServerId(server.parse().ok()?), Epoch(epoch.parse().ok()?)));
    hash.into_iter().filter_map(read).collect()
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError> {
        let bucket = self.client.buckets().of(&of_user(user));
        let mut batch = Batch::new(bucket);
        self.write(&mut batch, bucket, user, &route);
        batch.add(Cmd::hgetall(self.key(bucket, of_user(user))));
        let mut answers = self.client.run("register", &[batch]).await?.into_iter().flatten();
        let mut routes = routes_of(value(answers.next_back().unwrap_or_default())?);
        routes.retain(|other| other.connection != route.connection);
        Ok(routes)
    }

    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError> {
        let groups = self.grouped(routes, |(user, _)| of_user(user));
        let batch = |(bucket, group): (Bucket, Vec<&(UserId, Route)>)| {
            let mut batch = Batch::new(bucket);
            for (user, route) in group {
                self.write(&mut batch, bucket, user, route);
            }
            batch
        };
        let batches: Vec<_> = groups.into_iter().map(batch).collect();
        self.client.run("register_again", &batches).await.map(drop)
    }

    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError> {
        let bucket = self.client.buckets().of(&of_user(user));
        let mut command = UNREGISTER.call(&[self.key(bucket, of_user(user))]);
        command.arg(connection.to_string()).arg(user.as_str()).arg(self.key(bucket, "on:"));
        let mut batch = Batch::running(bucket, &UNREGISTER);
        batch.add(command);
        self.client.run("unregister", &[batch]).await.map(drop)
    }

    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError> {
        let groups = self.grouped(routes, |(user, _)| of_user(user));
        let batch = |(bucket, group): (Bucket, Vec<&(UserId, ConnectionId)>)| {
            let mut batch = Batch::new(bucket);
            for (user, connection) in group {
                batch.add(Cmd::hdel(self.key(bucket, of_user(user)), connection.to_string()));
            }
            batch
        };
        let batches: Vec<_> = groups.into_iter().map(batch).collect();
        self.client.run("delete_stale", &batches).await.map(drop)
    }

    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError> {
        let (marker, hashes) = self.hashes("routes", users.iter().map(of_user)).await?;
        Ok(Routes { marker, of: hashes.into_iter().map(routes_of).collect() })
    }

    async fn set_interest(
        &self,
        topics: &[Topic],
        server: ServerId,
        epoch: Epoch,
        interested: bool,
    ) -> Result<(), RegistryError> {
        let groups = self.grouped(topics.iter().map(of_topic), String::clone);
        let batch = |(bucket, topics): (Bucket, Vec<String>)| self.interest(bucket, &topics, server, epoch, interested);
        let batches: Vec<_> = groups.into_iter().map(batch).collect();
        self.client.run("set_interest", &batches).await.map(drop)
    }

    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError> {
        let (marker, hashes) = self.hashes("interested", topics.iter().map(of_topic)).await?;
        Ok(Interests { marker, of: hashes.into_iter().map(interests_of).collect() })
    }

    async fn marker(&self) -> Result<Marker, RegistryError> {
        let batch = |bucket| {
            let mut batch = Batch::new(bucket);
            self.markers.make(&mut batch, bucket);
            self.markers.ask(&mut batch, bucket);
            batch
        };
        let buckets: Vec<_> = self.client.buckets().all().collect();
        let batches: Vec<_> = buckets.iter().copied().map(batch).collect();
        let answers = self.client.run("marker", &batches).await?;
        let part = |answers: Vec<Value>| Markers::answer(&mut answers.into_iter().skip(1));
        let parts = answers.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(self.markers.over_all(buckets.into_iter().zip(parts)))
    }

    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        let entry = serde_json::to_string(&server).expect("a server's entry has no keys but names");
        let mut command = SET_SERVER.call(&[self.key(SERVERS, "servers")]);
        command.arg(id.0).arg(server.epoch.0).arg(entry);
        let mut batch = Batch::running(SERVERS, &SET_SERVER);
        batch.add(command);
        self.client.run("set_server", &[batch]).await.map(drop)
    }

    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        let mut batch = Batch::new(SERVERS);
        batch.add(Cmd::hgetall(self.key(SERVERS, "servers")));
        let mut answers = self.client.run("servers", &[batch]).await?.into_iter().flatten();
        let entries: HashMap<String, String> = value(answers.next().unwrap_or_default())?;
        let mut table = ServerTable::default();
        for (id, text) in entries {
            let entry = text.split_once(' ').and_then(|(_, json)| serde_json::from_str(json).ok());
            if let (Ok(id), Some(server)) = (id.parse(), entry) {
                table.observe(ServerId(id), server);
            } else {
                tracing::warn!(id, text, "a server in the registry cannot be read");
            }
        }
        Ok(table)
    }

    async fn users_of(&self, server: ServerId, epoch: Epoch, cursor: u64) -> Result<(u64, Vec<UserId>), RegistryError> {
        let (bucket, cursor) = (cursor >> CURSOR_BITS, cursor & ((1 << CURSOR_BITS) - 1));
        let bucket = usize::try_from(bucket).ok().and_then(|bucket| self.client.buckets().all().nth(bucket));
        let Some(bucket) = bucket else { return Ok((0, Vec::new())) };
        let mut command = ::redis::cmd("SSCAN");
        command.arg(self.key(bucket, routes_on(server, epoch))).arg(cursor).arg("COUNT").arg(PAGE);
        let mut batch = Batch::new(bucket);
        batch.add(command);
        let mut answers = self.client.run("users_of", &[batch]).await?.into_iter().flatten();
        let (next, held): (u64, Vec<String>) = value(answers.next().unwrap_or_default())?;
        let users = held.iter().filter_map(|held| Some(entry::of_held(held)?.1)).collect();
        let (bucket, next) = if next == 0 { (bucket.0 + 1, 0) } else { (bucket.0, next) };
        if bucket == self.client.buckets().all().count() {
            return Ok((0, users));
        }
        Ok(((bucket as u64) << CURSOR_BITS | next, users))
    }

    async fn forget_users_of(&self, server: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        for bucket in self.client.buckets().all() {
            self.forget_in(bucket, server, epoch).await?;
        }
        Ok(())
    }
}
