//! Who is online, who is typing, and rooms: what is true only while connections last.

use im_protocol::limits::NAME_CHARS;
use im_protocol::server::{Presence, Typing, UserPresence};
use im_protocol::{
    ConversationId, ConversationKind, ErrorCode, RoomId, ServerFrame, Terminal, TimeMs, UserId, WireError, text,
};
use im_sdk::registry::Route;
use im_sdk::router::Recipients;

use super::views::no_such_conversation;
use super::{Chat, Inside, Result, now_ms, registry_unavailable};
use crate::store::{NewRoom, Room};

impl Chat {
    /// How users are, in their order.
    pub async fn presence(&self, users: &[UserId]) -> Result<Vec<UserPresence>> {
        let routes = self.live_routes(users).await?;
        let last_seen = self.store.last_seen(users).await?;
        let each = users.iter().zip(routes).zip(last_seen);
        Ok(each
            .map(|((user, routes), stored)| user_presence(user, &routes, self.reads.last_seen(user).or(stored)))
            .collect())
    }

    /// The routes of users, without those of servers that are gone.
    async fn live_routes(&self, users: &[UserId]) -> Result<Vec<Vec<Route>>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let mut routes = self.registry.routes(users).await.map_err(registry_unavailable)?.of;
        for of_user in &mut routes {
            self.retain_live(of_user);
        }
        Ok(routes)
    }

    /// Takes out the routes of servers that are gone.
    pub(super) fn retain_live(&self, routes: &mut Vec<Route>) {
        let table = (self.servers)();
        routes.retain(|route| table.get(route.server).is_none_or(|server| server.live && server.epoch <= route.epoch));
    }

    /// A user has connected on a terminal; `others` are the user's other routes, as the registry gave them when it took
    /// the new one. The watchers are told, unless they have seen the user on such a terminal before.
    pub(crate) fn arrived(&self, user: &UserId, terminal: Terminal, mut others: Vec<Route>) {
        self.retain_live(&mut others);
        let mut terminals: Vec<_> = others.iter().map(|route| route.terminal).collect();
        if terminals.contains(&terminal) {
            return;
        }
        terminals.push(terminal);
        self.tell_watchers(vec![online(user, terminals)]);
    }

    /// A connection of a user is over.
    pub(crate) async fn left(&self, user: &UserId) {
        let now = now_ms();
        self.reads.seen(user, now);
        // A presence that could not be told is a hint that is missed.
        let Ok(routes) = self.live_routes(std::slice::from_ref(user)).await else { return };
        self.tell_watchers(vec![user_presence(user, &routes.concat(), Some(now))]);
    }

    pub(super) fn tell_watchers(&self, users: Vec<UserPresence>) {
        let Some(user) = users.first().map(|presence| presence.user.clone()) else { return };
        let frame = ServerFrame::Presence(Presence { id: None, users });
        self.publish.transient(Recipients::Watchers(user), &frame, None);
    }

    /// Tells the others that someone is typing. What is wrong about it is dropped: it is never answered.
    pub(crate) async fn typing(&self, user: &UserId, conversation: &ConversationId, inside: Inside) {
        let Ok(access) = self.access(user, conversation, inside).await else { return };
        if !access.is_member() || access.dissolved || access.members > self.settings.typing_up_to {
            return;
        }
        let to = match conversation.kind() {
            ConversationKind::Room => Recipients::Room(conversation.clone()),
            _ => match self.others(conversation, user).await {
                Ok(others) if !others.is_empty() => Recipients::Users { users: others.into(), except: None },
                _ => return,
            },
        };
        let typing = Typing { conversation: conversation.clone(), user: user.clone() };
        self.publish.transient(to, &ServerFrame::Typing(typing), Some(conversation.clone()));
    }

    /// Makes a room.
    pub async fn create_room(&self, user: &UserId, name: &str) -> Result<Room> {
        let name = text::name(name, NAME_CHARS).map_err(|e| WireError::invalid_field("name", e))?.to_owned();
        let room = RoomId::parse(&ulid::Ulid::generate().to_string()).expect("a ULID is a room id");
        let owner = user.clone();
        self.store
            .create_room(NewRoom { room: room.clone(), name: name.clone(), owner: owner.clone(), time: now_ms() })
            .await?;
        Ok(Room { room, name, owner })
    }

    /// Checks that a conversation is a room that exists.
    pub(crate) async fn room_exists(&self, conversation: &ConversationId) -> Result<()> {
        let Some(key) = conversation.as_str().strip_prefix("r:") else {
            return Err(WireError::invalid_field("conversation", "only rooms are joined by this frame"));
        };
        let room = RoomId::parse(key).map_err(|_| no_such_conversation())?;
        match self.store.room(&room).await? {
            Some(_) => Ok(()),
            None => Err(WireError::new(ErrorCode::NotFound, "there is no such room")),
        }
    }
}

pub(super) fn user_presence(user: &UserId, routes: &[Route], last_seen: Option<TimeMs>) -> UserPresence {
    if routes.is_empty() {
        return UserPresence { user: user.clone(), online: false, terminals: Vec::new(), last_seen };
    }
    online(user, routes.iter().map(|route| route.terminal).collect())
}

fn online(user: &UserId, mut terminals: Vec<Terminal>) -> UserPresence {
    terminals.sort_unstable();
    terminals.dedup();
    UserPresence { user: user.clone(), online: true, terminals, last_seen: Some(now_ms()) }
}
