//! Looks routes up, groups by server id, publishes one record per server.

mod cache;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use im_protocol::record::{About, Audience, Disconnect, Payload, Push, Record};
use im_protocol::{ConnectionId, ConversationId, Epoch, Frame, Seq, ServerId, UserId};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};

use crate::bus::{Bus, BusError, Outgoing};
use crate::registry::{Marker, Registry, RegistryError, Routes, ServerTable, Topic};
use crate::routing::{plan, plan_interest};
pub use cache::INTEREST_CACHE_TTL;
use cache::{InterestCache, Interested};

/// A frame on its way to people, wherever they are connected.
#[derive(Clone, Debug)]
pub struct Routed {
    /// Who gets it.
    pub to: Recipients,
    /// The frame, encoded once; every record shares it.
    pub frame: Frame,
    /// Set on what a client could miss for good: what to name in `resync`.
    pub about: Option<About>,
    /// Frames with the same key keep their order on the bus.
    pub key: Option<ConversationId>,
    /// The message is being followed: a W3C `traceparent` for its records to carry.
    pub trace: Option<Arc<str>>,
}

/// Who gets a frame.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// All connections of these users, but one.
    Users {
        /// Whom.
        users: Arc<[UserId]>,
        /// The connection that does not get it.
        except: Option<ConnectionId>,
    },
    /// The members of a large group, found by the servers that are interested in it.
    Members {
        /// The group's conversation.
        conversation: ConversationId,
        /// The message.
        seq: Seq,
        /// The version of the membership it was committed under.
        members_version: u64,
        /// People whose membership changes with it: their servers get the record too, interested or not.
        also: Vec<UserId>,
        /// There is no index of this group yet: every live server gets the record.
        everyone: bool,
    },
    /// The connections inside a room.
    Room(ConversationId),
    /// The connections that watch a user's presence.
    Watchers(UserId),
}

/// What became of a [`Routed`] frame.
#[derive(Clone, Debug)]
pub struct Published {
    /// Every record is acked; or why one is not.
    pub delivered: Result<(), BusError>,
    /// Of the users that were named, those without a connection.
    pub offline: Vec<UserId>,
    /// Of the users that were named, those who may have a connection that nobody knows of: not to be taken for offline.
    pub unknown: Vec<UserId>,
    /// How many records it took: one per server.
    pub records: usize,
}

/// Publishes frames through a registry and a bus. Its table of servers is a cache: [`Router::refresh`] it now and then.
pub struct Router {
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    from: ServerId,
    table: RwLock<Arc<ServerTable>>,
    marker_met: watch::Sender<Option<Marker>>,
    interests: InterestCache,
    /// One clean-up at a time: what it does not get to is met again.
    cleaning: Arc<Semaphore>,
}

impl Router {
    /// A router that knows no server yet. `from` is the server id its records carry.
    pub fn new(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>, from: ServerId) -> Self {
        Self {
            registry,
            bus,
            from,
            table: RwLock::default(),
            marker_met: watch::Sender::new(None),
            interests: InterestCache::default(),
            cleaning: Arc::new(Semaphore::new(1)),
        }
    }

    /// Loads the table of servers again. It never goes back in epoch; one that cannot be loaded is kept, and so is a
    /// server that the registry has forgotten: it may still live.
    pub async fn refresh(&self) -> Result<(), RegistryError> {
        let fresh = self.registry.servers().await?;
        self.observe(&fresh);
        Ok(())
    }

    /// Takes in a table from elsewhere, by the same rule: no server's epoch goes back, and none is forgotten.
    pub fn observe(&self, fresh: &ServerTable) {
        let mut table = self.table.write();
        let mut merged = ServerTable::clone(&table);
        for (id, server) in fresh.iter() {
            merged.observe(id, server.clone());
        }
        *table = Arc::new(merged);
    }

    /// The marker of the registry that was met last while routing; `None` before the first.
    pub fn marker_met(&self) -> watch::Receiver<Option<Marker>> {
        self.marker_met.subscribe()
    }

    /// The table of servers as it is known now.
    pub fn table(&self) -> Arc<ServerTable> {
        self.table.read().clone()
    }

    /// Routes frames and publishes their records, in order. All users are looked up in one round trip and all topics in
    /// another; who is interested in a large group is remembered for [`INTEREST_CACHE_TTL`]. Without a registry the records go to every live server, and everyone named is unknown.
    ///
    /// The results are in the order of `pushes`. Waits while the bus is full.
    pub async fn publish(&self, pushes: Vec<Routed>) -> Vec<Published> {
        let table = self.table();
        let found = self.look_up(&pushes, &table).await;
        let mut records = Vec::new();
        let mut stale = Vec::new();
        let mut refresh = found.is_none();
        let mut drafts: Vec<(Draft, Range<usize>)> = Vec::with_capacity(pushes.len());
        for push in pushes {
            let mut draft = Draft::of(&push.to, found.as_ref(), &table);
            refresh |= draft.refresh;
            stale.append(&mut draft.stale);
            let first = records.len();
            records.extend(self.records(push, std::mem::take(&mut draft.targets)));
            drafts.push((draft, first..records.len()));
        }
        let acks = if records.is_empty() { Vec::new() } else { self.bus.publish(records).await };
        // A server without a topic is one the table should not list any more.
        refresh |= acks.iter().any(|ack| matches!(ack, Err(BusError::NoTopic(_))));
        metrics::counter!("im_stale_route_hits_total").increment(stale.len() as u64);
        self.clean_up(stale);
        if refresh && let Err(error) = self.refresh().await {
            tracing::debug!(%error, "the table of servers is kept as it was");
        }
        drafts
            .into_iter()
            .map(|(draft, range)| Published {
                records: range.len(),
                delivered: acks[range].iter().find(|ack| ack.is_err()).cloned().unwrap_or(Ok(())),
                offline: draft.offline,
                unknown: draft.unknown,
            })
            .collect()
    }

    /// Asks a server to end connections of a user.
    pub async fn disconnect(&self, server: ServerId, epoch: Epoch, disconnect: Disconnect) -> Result<(), BusError> {
        let record = Record { epoch, from: self.from, payload: Payload::Disconnect(disconnect), trace: None };
        let outgoing = Outgoing { server, key: None, record: Arc::new(record) };
        self.bus.publish(vec![outgoing]).await.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }

    /// What the registry knows of everyone and everything `pushes` name; `None` if it does not answer.
    async fn look_up(&self, pushes: &[Routed], table: &ServerTable) -> Option<Found> {
        let mut users = Index::default();
        let mut topics = Index::default();
        for push in pushes {
            match &push.to {
                Recipients::Users { users: list, .. } => users.extend(list.iter().cloned()),
                Recipients::Members { conversation, also, .. } => {
                    users.extend(also.iter().cloned());
                    topics.extend([Topic::Conversation(conversation.clone())]);
                }
                Recipients::Room(room) => topics.extend([Topic::Conversation(room.clone())]),
                Recipients::Watchers(user) => topics.extend([Topic::Presence(user.clone())]),
            }
        }
        let asked = Instant::now();
        let mut interests: HashMap<Topic, Arc<Interested>> = HashMap::new();
        topics.keys.retain(|topic| match self.interests.get(topic, asked) {
            Some(known) => interests.insert(topic.clone(), known).is_some(),
            None => true,
        });
        let routes =
            async { if users.keys.is_empty() { Ok(None) } else { self.registry.routes(&users.keys).await.map(Some) } };
        let fresh = async {
            if topics.keys.is_empty() { Ok(None) } else { self.registry.interested(&topics.keys).await.map(Some) }
        };
        match tokio::try_join!(routes, fresh) {
            Ok((routes, fresh)) => {
                let markers = [routes.as_ref().map(|found| found.marker), fresh.as_ref().map(|found| found.marker)];
                if let Some(marker) = markers.into_iter().flatten().next_back() {
                    self.marker_met.send_if_modified(|met| met.replace(marker) != Some(marker));
                }
                if let Some(fresh) = fresh {
                    for (topic, servers) in topics.keys.into_iter().zip(fresh.of) {
                        let interested = Arc::new(Interested { marker: fresh.marker, servers });
                        self.interests.put(&topic, &interested, asked, table);
                        interests.insert(topic, interested);
                    }
                }
                Some(Found { users, routes, interests })
            }
            Err(error) => {
                tracing::warn!(%error, "routing to every live server");
                None
            }
        }
    }

    fn records(&self, push: Routed, targets: Vec<Target>) -> impl Iterator<Item = Outgoing> {
        let from = self.from;
        let Routed { to, frame, about, key, trace } = push;
        targets.into_iter().map(move |Target { server, epoch, users }| {
            let audience = match &to {
                Recipients::Users { except, .. } => Audience::Users { users, except: *except },
                Recipients::Members { conversation, seq, members_version, .. } => Audience::Members {
                    conversation: conversation.clone(),
                    seq: *seq,
                    members_version: *members_version,
                },
                Recipients::Room(conversation) => Audience::Room { conversation: conversation.clone() },
                Recipients::Watchers(user) => Audience::Watchers { user: user.clone() },
            };
            let push = Push { audience, frame: frame.clone(), about: about.clone() };
            let record = Record { epoch, from, payload: Payload::Push(push), trace: trace.clone() };
            Outgoing { server, key: key.clone(), record: Arc::new(record) }
        })
    }

    /// Deletes void routes beside the call. Nothing depends on it: they are void already.
    fn clean_up(&self, stale: Vec<(UserId, ConnectionId)>) {
        if stale.is_empty() {
            return;
        }
        let Ok(turn) = Arc::clone(&self.cleaning).try_acquire_owned() else { return };
        let registry = Arc::clone(&self.registry);
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = registry.delete_stale(&stale).await {
                tracing::debug!(%error, "void routes could not be deleted; they are met again");
            }
        });
    }
}

/// One record to be: where to, and for `Users` for whom.
struct Target {
    server: ServerId,
    epoch: Epoch,
    users: Vec<UserId>,
}

/// How one push is routed.
#[derive(Default)]
struct Draft {
    targets: Vec<Target>,
    offline: Vec<UserId>,
    unknown: Vec<UserId>,
    stale: Vec<(UserId, ConnectionId)>,
    refresh: bool,
}

impl Draft {
    fn of(to: &Recipients, found: Option<&Found>, table: &ServerTable) -> Self {
        match (to, found) {
            (Recipients::Users { users, .. }, Some(found)) => Self::to_users(users, found, table),
            (Recipients::Members { conversation, also, everyone, .. }, Some(found)) => {
                let topic = Topic::Conversation(conversation.clone());
                Self::to_users(also, found, table).or_interested(&topic, found, table, *everyone)
            }
            (Recipients::Room(room), Some(found)) => {
                Self::default().or_interested(&Topic::Conversation(room.clone()), found, table, false)
            }
            (Recipients::Watchers(user), Some(found)) => {
                Self::default().or_interested(&Topic::Presence(user.clone()), found, table, false)
            }
            (Recipients::Users { users, .. }, None) => Self::to_everyone(users, table),
            (Recipients::Members { also, .. }, None) => Self::to_everyone(also, table),
            (Recipients::Room(_) | Recipients::Watchers(_), None) => Self::to_everyone(&[], table),
        }
    }

    fn to_users(users: &[UserId], found: &Found, table: &ServerTable) -> Self {
        // Nobody was asked for, so nobody is planned for.
        let Some(routes) = &found.routes else { return Self::default() };
        let of_users: Vec<_> = users.iter().map(|user| routes.of[found.users.places[user]].as_slice()).collect();
        let plan = plan(users, &of_users, routes.marker, table);
        let targets = plan.batches.into_iter();
        Self {
            targets: targets.map(|(server, batch)| Target { server, epoch: batch.epoch, users: batch.users }).collect(),
            offline: plan.offline,
            unknown: plan.unknown,
            stale: plan.stale,
            refresh: plan.refresh,
        }
    }

    /// The same draft with the interested servers instead of lists of users, beside the servers it has.
    fn or_interested(self, topic: &Topic, found: &Found, table: &ServerTable, everyone: bool) -> Self {
        let Some(interested) = found.interests.get(topic) else { return self };
        let plan = plan_interest(&interested.servers, interested.marker, table, everyone);
        let mut servers = plan.servers;
        for target in &self.targets {
            let epoch = servers.entry(target.server).or_insert(target.epoch);
            *epoch = target.epoch.max(*epoch);
        }
        let targets = servers.into_iter().map(|(server, epoch)| Target { server, epoch, users: Vec::new() });
        Self { targets: targets.collect(), refresh: self.refresh || plan.refresh, ..self }
    }

    fn to_everyone(users: &[UserId], table: &ServerTable) -> Self {
        let targets =
            table.live().map(|(id, server)| Target { server: id, epoch: server.epoch, users: users.to_vec() });
        Self { targets: targets.collect(), unknown: users.to_vec(), ..Self::default() }
    }
}

/// What the registry answered, by key.
struct Found {
    users: Index<UserId>,
    routes: Option<Routes>,
    interests: HashMap<Topic, Arc<Interested>>,
}

/// Keys without duplicates, with the place of each.
struct Index<K> {
    keys: Vec<K>,
    places: HashMap<K, usize>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), places: HashMap::new() }
    }
}

impl<K: Clone + Eq + std::hash::Hash> Index<K> {
    fn extend(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.places.entry(key).or_insert_with_key(|key| {
                self.keys.push(key.clone());
                self.keys.len() - 1
            });
        }
    }
}
