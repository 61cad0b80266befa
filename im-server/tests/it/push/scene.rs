//! A store, a registry, a receiver and the workers between them.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::{ConnectionId, ConversationId, DeviceId, Epoch, ServerId, Terminal, UserId};
use im_sdk::bus::MemoryBus;
use im_sdk::registry::{Marker, MemoryRegistry, Registry, Route, Server};
use im_sdk::router::Router;
use im_server::delivery::push::{Attempts, Push, PushConfig, Wanted};
use im_server::store::{Accounts, NewMessage, NewSession, NewWork, PushItem, ReadPosition, Session, SessionId};
use parking_lot::Mutex;

use super::receiver::Receiver;
use crate::store::fresh::{self, Fresh};
use crate::store::world::{Db, NOW, account, commit_one, committed, group, id, text};

/// When the work of what is said at [`NOW`] is due.
pub(super) const DUE: i64 = NOW + 5_000;

/// The direct conversation of two people.
pub(super) fn chat(a: &str, b: &str) -> ConversationId {
    ConversationId::direct(&id(a), &id(b))
}

pub(super) struct Scene {
    pub(super) store: Db,
    pub(super) receiver: Receiver,
    pub(super) push: Arc<Push>,
    registry: Arc<MemoryRegistry>,
    router: Arc<Router>,
    config: PushConfig,
    known: Mutex<Vec<String>>,
    _fresh: Fresh,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut PushConfig)) -> Self {
        let fresh = fresh::sqlite().await;
        let registry = Arc::new(MemoryRegistry::new());
        let router = Arc::new(Router::new(registry.clone(), Arc::new(MemoryBus::new(1)), ServerId(0)));
        let receiver = Receiver::start().await;
        let mut config = PushConfig::new(receiver.url.parse().unwrap(), Receiver::secret().parse().unwrap());
        config.attempts = Attempts { most: 4, first_pause: Duration::from_secs(2), ..Attempts::default() };
        change(&mut config);
        let store = fresh.store.clone();
        let push = Push::new(store.clone(), registry.clone(), router.clone(), config.clone()).unwrap();
        let known = Mutex::default();
        let scene = Self { store, receiver, push, registry, router, config, known, _fresh: fresh };
        scene.server(0, Some(scene.marker().await)).await;
        scene.people(&["alice", "bob", "carol", "dave"]).await;
        scene
    }

    pub(super) fn another_worker(&self) -> Arc<Push> {
        Push::new(self.store.clone(), self.registry.clone(), self.router.clone(), self.config.clone()).unwrap()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.config.attempts.most
    }

    async fn people(&self, names: &[&str]) {
        for &name in names {
            if !self.known.lock().iter().any(|known| known == name) {
                assert!(Accounts::create_account(&*self.store, account(name)).await.unwrap());
                self.known.lock().push(name.to_owned());
            }
        }
    }

    pub(super) async fn marker(&self) -> Marker {
        self.registry.marker().await.unwrap()
    }

    /// A live server that has announced what it holds under a marker.
    pub(super) async fn server(&self, id: u16, announced: Option<Marker>) {
        let server = Server { epoch: Epoch(1), live: true, serving: true, announced };
        self.registry.set_server(ServerId(id), server).await.unwrap();
        self.router.refresh().await.unwrap();
    }

    /// A server is dead: what is left to do about its users is due at [`DUE`].
    pub(super) async fn bury(&self, id: u16) {
        let server = Server { epoch: Epoch(1), live: false, serving: false, announced: None };
        self.registry.set_server(ServerId(id), server).await.unwrap();
        self.router.refresh().await.unwrap();
        let item = PushItem::Server(ServerId(id), Epoch(1));
        self.store.add_push_work(&[NewWork { item, time: NOW, due: DUE }]).await.unwrap();
    }

    pub(super) async fn group(&self, name: &str, members: &[&str]) -> ConversationId {
        self.people(members).await;
        let members: Vec<UserId> = members.iter().map(|name| id(name)).collect();
        let others: Vec<&UserId> = members[1..].iter().collect();
        group(&self.store, name, &members[0], &others).await
    }

    /// Signs a user in on a mobile device.
    pub(super) async fn phone(&self, user: &str, device: &str) {
        let session = Session {
            id: SessionId(format!("{user}'s {device}")),
            user: id(user),
            terminal: Terminal::Mobile,
            device: DeviceId::parse(device).unwrap(),
            created: NOW,
            last_seen: NOW,
            expires: i64::MAX,
            revoked: false,
        };
        let refresh_hash = session.id.0.clone().into_bytes();
        self.store.create_session(NewSession { session, refresh_hash: Some(refresh_hash) }).await.unwrap();
    }

    pub(super) async fn connect(&self, user: &str, terminal: Terminal) {
        self.connect_to(0, user, terminal).await;
    }

    pub(super) async fn connect_to(&self, server: u16, user: &str, terminal: Terminal) {
        if server != 0 {
            self.server(server, Some(self.marker().await)).await;
        }
        let route = Route {
            connection: ConnectionId(rand::random()),
            server: ServerId(server),
            epoch: Epoch(1),
            terminal,
            device: DeviceId::parse("phone").unwrap(),
            since: NOW,
        };
        self.registry.register(&id(user), route).await.unwrap();
    }

    /// Commits a message and leaves its work, as the relay does.
    pub(super) async fn commit(&self, message: NewMessage) {
        let outcome = commit_one(&self.store, message).await;
        let work = Wanted::default().message(committed(&outcome));
        self.store.forget(&[], &Vec::from_iter(work)).await.unwrap();
    }

    pub(super) async fn say(&self, conversation: &ConversationId, sender: &str, what: &str) {
        self.commit(text(conversation, &id(sender), what)).await;
    }

    /// Commits a message whose work is over.
    pub(super) async fn say_unheard(&self, conversation: &ConversationId, sender: &str, what: &str) {
        committed(&commit_one(&self.store, text(conversation, &id(sender), what)).await);
    }

    pub(super) async fn read(&self, conversation: &ConversationId, user: &str, seq: u64) {
        let position = ReadPosition { conversation: conversation.clone(), user: id(user), seq };
        self.store.save_reads(&[position]).await.unwrap();
    }

    /// Looks at all that is due, then delivers all that is due.
    pub(super) async fn turn(&self, now: i64) {
        self.turn_of(&self.push, now).await;
    }

    pub(super) async fn turn_of(&self, push: &Push, now: i64) {
        while push.look(now).await.unwrap() {}
        while push.deliver(now).await.unwrap() {}
    }
}
