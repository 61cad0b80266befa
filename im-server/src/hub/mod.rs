//! Who is connected to this server id, what each is interested in, and the sink that delivery pushes to.
//!
//! A push touches memory and sockets only: it finds connections in maps, queues one shared frame on each, and then
//! flushes each touched connection once, so that what is pending goes out in one write.

mod frame;
mod index;
mod interest;
#[cfg(test)]
mod tests;
mod unwritten;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use im_protocol::close::CloseReason;
use im_protocol::record::{Audience, Disconnect, Push};
use im_protocol::server::GoAway;
use im_protocol::{ConnectionId, ConversationId, DeviceId, Epoch, ServerId, Terminal, TimeMs, UserId};
use im_sdk::registry::{Route, Topic};
use parking_lot::Mutex;

use crate::store::{MemberList, SessionId, Stint};

pub use frame::{Loss, SharedFrame};
pub use index::GroupIndex;
pub use interest::{Begun, Interest, InterestTask};
pub use unwritten::Unwritten;

/// Where a connection's frames go. Everything here returns at once, whatever the peer does.
pub trait Sink: Send + Sync + 'static {
    /// Queues a frame. True if the connection has to be flushed and nobody has promised to do it yet.
    fn enqueue(&self, frame: &SharedFrame) -> bool;
    /// Writes what the socket takes.
    fn flush(&self);
    /// Ends the connection, telling why; what is queued goes out first as far as the socket takes it.
    fn close(&self, reason: CloseReason);
    /// Tells the peer to come back elsewhere, and ends the connection like [`Sink::close`].
    fn send_away(&self, goaway: GoAway);
    /// Checks the clock: closes what is silent, stalled or expired.
    fn check(&self, now: TimeMs);
    /// Bytes that wait for the peer to take them; none where nothing is kept.
    fn queued(&self) -> usize {
        0
    }
    /// The session whose token opened the connection, or renewed it last.
    fn session(&self) -> SessionId;
}

/// A connection that said hello.
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose.
    pub user: UserId,
    /// Device class.
    pub terminal: Terminal,
    /// Which device.
    pub device: DeviceId,
    /// When it connected: Unix milliseconds.
    pub since: TimeMs,
    /// Where its frames go.
    pub sink: Arc<dyn Sink>,
}

impl Connection {
    /// Queues a frame and writes it at once.
    pub fn send(&self, frame: &SharedFrame) {
        if self.sink.enqueue(frame) {
            self.sink.flush();
        }
    }
}

/// The connections of one user here. Shared with the indices that the user stands in, so that a fan-out to a large
/// group follows pointers instead of hashing every member.
#[derive(Default)]
pub(crate) struct Present {
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// Number of locks the user map is split over: enough that two fan-outs and a few sign-ins rarely meet.
const SHARDS: usize = 32;

/// The connections of one server id.
pub struct Hub {
    server: ServerId,
    epoch: Epoch,
    hasher: RandomState,
    users: Vec<Mutex<HashMap<UserId, Arc<Present>>>>,
    rooms: Mutex<HashMap<ConversationId, Vec<Arc<Connection>>>>,
    watchers: Mutex<HashMap<UserId, Vec<Arc<Connection>>>>,
    groups: Mutex<HashMap<ConversationId, GroupIndex>>,
    interest: Interest,
    unwritten: Unwritten,
}

impl Hub {
    /// An empty hub. The task keeps the registry's index of interests equal to what the hub needs; it must be run, and
    /// the large groups that it begins with read.
    pub fn new(server: ServerId, epoch: Epoch) -> (Arc<Self>, InterestTask, Begun) {
        let (interest, task, begun) = interest::channel();
        let hub = Self {
            server,
            epoch,
            hasher: RandomState::new(),
            users: (0..SHARDS).map(|_| Mutex::default()).collect(),
            rooms: Mutex::default(),
            watchers: Mutex::default(),
            groups: Mutex::default(),
            interest,
            unwritten: Unwritten::default(),
        };
        (Arc::new(hub), task, begun)
    }

    /// The server id.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn shard(&self, user: &UserId) -> &Mutex<HashMap<UserId, Arc<Present>>> {
        // The remainder is below SHARDS.
        #[allow(clippy::cast_possible_truncation)]
        let at = (self.hasher.hash_one(user) % SHARDS as u64) as usize;
        &self.users[at]
    }

    fn present(&self, user: &UserId) -> Option<Arc<Present>> {
        self.shard(user).lock().get(user).cloned()
    }

    /// Takes a connection in: from now on pushes reach its sink.
    pub fn attach(&self, connection: &Arc<Connection>) {
        let mut shard = self.shard(&connection.user).lock();
        let present = shard.entry(connection.user.clone()).or_default();
        present.connections.lock().push(connection.clone());
    }

    /// What the registry has to know of a connection.
    pub fn route(&self, connection: &Connection) -> Route {
        Route {
            connection: connection.id,
            server: self.server,
            epoch: self.epoch,
            terminal: connection.terminal,
            device: connection.device.clone(),
            since: connection.since,
        }
    }

    /// Whether a connection is here still.
    pub fn holds(&self, connection: &Connection) -> bool {
        self.present(&connection.user)
            .is_some_and(|present| present.connections.lock().iter().any(|other| other.id == connection.id))
    }

    /// What the registry has not taken.
    pub fn unwritten(&self) -> &Unwritten {
        &self.unwritten
    }

    /// Forgets a connection wherever it stands.
    pub async fn detach(&self, connection: &Connection) {
        let gone = {
            let mut shard = self.shard(&connection.user).lock();
            let empty = shard.get(&connection.user).is_some_and(|present| {
                let mut connections = present.connections.lock();
                connections.retain(|other| other.id != connection.id);
                connections.is_empty()
            });
            if empty { shard.remove(&connection.user) } else { None }
        };
        let mut ended = Vec::new();
        remove_from(&mut self.rooms.lock(), connection, |room, others| {
            if others.is_empty() {
                ended.push(Topic::Conversation(room.clone()));
            }
            if !others.iter().any(|other| other.user == connection.user) {
                ended.push(Topic::Inside(room.clone(), connection.user.clone()));
            }
        });
        remove_from(&mut self.watchers.lock(), connection, |user, others| {
            if others.is_empty() {
                ended.push(Topic::Presence(user.clone()));
            }
        });
        if let Some(gone) = gone {
            self.groups.lock().retain(|group, index| {
                if index.remove(&connection.user, &gone) && index.is_empty() {
                    ended.push(Topic::Conversation(group.clone()));
                    return false;
                }
                true
            });
        }
        self.interest.changed(ended).await;
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.users.iter().map(|shard| shard.lock().values().map(|p| p.connections.lock().len()).sum::<usize>()).sum()
    }

    /// Every connection.
    pub fn all(&self) -> Vec<Arc<Connection>> {
        let mut all = Vec::new();
        for shard in &self.users {
            for present in shard.lock().values() {
                all.extend(present.connections.lock().iter().cloned());
            }
        }
        all
    }

    /// Puts a connection into a room. Returns once the registry knows that this server wants the room's messages.
    pub async fn enter_room(&self, room: &ConversationId, connection: &Arc<Connection>) {
        {
            let mut rooms = self.rooms.lock();
            let inside = rooms.entry(room.clone()).or_default();
            if inside.iter().any(|other| other.id == connection.id) {
                return;
            }
            inside.push(connection.clone());
        }
        let inside = Topic::Inside(room.clone(), connection.user.clone());
        self.interest.changed(vec![Topic::Conversation(room.clone()), inside]).await;
    }

    /// Takes a connection out of a room. False if it was not inside.
    pub async fn leave_room(&self, room: &ConversationId, connection: &Connection) -> bool {
        {
            let mut rooms = self.rooms.lock();
            let Some(inside) = rooms.get_mut(room) else { return false };
            let before = inside.len();
            inside.retain(|other| other.id != connection.id);
            if inside.len() == before {
                return false;
            }
            if inside.is_empty() {
                rooms.remove(room);
            }
        }
        let inside = Topic::Inside(room.clone(), connection.user.clone());
        self.interest.changed(vec![inside, Topic::Conversation(room.clone())]).await;
        true
    }

    /// Whether a connection is inside a room.
    pub fn is_inside(&self, room: &ConversationId, connection: ConnectionId) -> bool {
        self.rooms.lock().get(room).is_some_and(|inside| inside.iter().any(|other| other.id == connection))
    }

    /// Makes a connection a watcher of users' presence. Returns once the registry knows.
    pub async fn watch(&self, users: &[UserId], connection: &Arc<Connection>) {
        {
            let mut watchers = self.watchers.lock();
            for user in users {
                let of_user = watchers.entry(user.clone()).or_default();
                if !of_user.iter().any(|other| other.id == connection.id) {
                    of_user.push(connection.clone());
                }
            }
        }
        self.interest.changed(users.iter().cloned().map(Topic::Presence).collect()).await;
    }

    /// Ends watching.
    pub async fn unwatch(&self, users: &[UserId], connection: &Connection) {
        {
            let mut watchers = self.watchers.lock();
            for user in users {
                let Some(of_user) = watchers.get_mut(user) else { continue };
                of_user.retain(|other| other.id != connection.id);
                if of_user.is_empty() {
                    watchers.remove(user);
                }
            }
        }
        self.interest.changed(users.iter().cloned().map(Topic::Presence).collect()).await;
    }

    /// Puts a user, just connected, into the indices of the large groups they are in. Returns once the registry knows.
    pub async fn enter_groups(&self, user: &UserId, groups: Vec<(ConversationId, u64, Stint)>) {
        let topics = groups.iter().map(|(group, ..)| Topic::Conversation(group.clone())).collect();
        {
            // Read under the lock of the groups: whoever detaches the user's last connection takes it too.
            let mut indices = self.groups.lock();
            let Some(present) = self.present(user) else { return };
            for (group, version, stint) in groups {
                let index = indices.entry(group).or_insert_with(GroupIndex::partial);
                index.enter(version, user, stint, present.clone());
            }
        }
        self.interest.changed(topics).await;
    }

    /// Whether the hub can expand a message of a large group made under `version`, or has to load its members first.
    pub fn knows_members(&self, group: &ConversationId, version: u64) -> bool {
        self.groups.lock().get(group).is_some_and(|index| index.is_right_for(version))
    }

    /// Someone who is in a large group and connected here.
    pub fn a_member(&self, group: &ConversationId) -> Option<UserId> {
        self.groups.lock().get(group)?.anyone().cloned()
    }

    /// Takes a member list from the store: the index then holds the members that are connected here.
    pub async fn load_members(&self, group: &ConversationId, list: &MemberList) {
        {
            let mut indices = self.groups.lock();
            let mut fresh = GroupIndex::new(list.version);
            for (user, stint) in &list.members {
                if let Some(present) = self.present(user) {
                    fresh.add(user, stint.clone(), present);
                }
            }
            match indices.get(group) {
                Some(known) if known.version() > list.version => {}
                _ => {
                    indices.insert(group.clone(), fresh);
                }
            }
        }
        self.interest.changed(vec![Topic::Conversation(group.clone())]).await;
    }

    /// Whether the hub needs to hear of a topic: asked by the interest task when it is about to write.
    fn wants(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Conversation(conversation) => {
                self.rooms.lock().contains_key(conversation)
                    || self.groups.lock().get(conversation).is_some_and(|index| !index.is_empty())
            }
            Topic::Presence(user) => self.watchers.lock().contains_key(user),
            Topic::Inside(room, user) => {
                self.rooms.lock().get(room).is_some_and(|inside| inside.iter().any(|other| other.user == *user))
            }
        }
    }

    /// Writes every interest to the registry once more. What it does not take is in [`Hub::unwritten`] until it does.
    pub async fn write_interests_again(&self) {
        self.interest.write_again().await;
    }

    /// Queues a push on every connection concerned; those that have to be flushed are added to `touched`.
    pub fn push(&self, push: &Push, touched: &mut Vec<Arc<Connection>>) {
        let frame = SharedFrame::pushed(&push.frame, push.about.clone());
        let mut queued = 0;
        let mut queue = |connection: &Arc<Connection>| {
            queued += 1;
            if connection.sink.enqueue(&frame) {
                touched.push(connection.clone());
            }
        };
        match &push.audience {
            Audience::Users { users, except } => {
                for present in users.iter().filter_map(|user| self.present(user)) {
                    let connections = present.connections.lock();
                    connections.iter().filter(|connection| Some(connection.id) != *except).for_each(&mut queue);
                }
            }
            Audience::Members { conversation, seq, .. } => {
                if let Some(index) = self.groups.lock().get(conversation) {
                    index.each(*seq, |present| present.connections.lock().iter().for_each(&mut queue));
                }
            }
            Audience::Room { conversation } => {
                if let Some(inside) = self.rooms.lock().get(conversation) {
                    inside.iter().for_each(&mut queue);
                }
            }
            Audience::Watchers { user } => {
                if let Some(watchers) = self.watchers.lock().get(user) {
                    watchers.iter().for_each(&mut queue);
                }
            }
        }
        // One look at the counter for the whole fan-out.
        metrics::counter!("im_deliveries_total").increment(queued);
    }

    /// Ends connections.
    pub fn disconnect(&self, disconnect: &Disconnect) {
        if let Some(present) = self.present(&disconnect.user) {
            let concerned: Vec<_> = {
                let connections = present.connections.lock();
                connections.iter().filter(|c| disconnect.connections.contains(&c.id)).cloned().collect()
            };
            for connection in concerned {
                connection.sink.close(disconnect.reason);
            }
        }
    }
}

/// Removes a connection from every list of a map; `seen` gets each key it stood under with who is left.
fn remove_from<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, Vec<Arc<Connection>>>,
    connection: &Connection,
    mut seen: impl FnMut(&K, &[Arc<Connection>]),
) {
    map.retain(|key, connections| {
        let before = connections.len();
        connections.retain(|other| other.id != connection.id);
        if connections.len() != before {
            seen(key, connections);
        }
        !connections.is_empty()
    });
}
