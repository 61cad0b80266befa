//! Who hears of whom: when a server died, and when one became interested in a large group late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::close::CloseReason;
use im_protocol::server::GoAway;
use im_protocol::{ConnectionId, ConversationId, DeviceId, Epoch, ServerFrame, ServerId, Terminal, TimeMs, UserId};
use im_sdk::reads::MemoryReadPositions;
use im_sdk::registry::{MemoryRegistry, Registry, Route, Topic};
use im_sdk::router::{INTEREST_CACHE_TTL, Recipients};
use im_server::chat::{Chat, Devices, Parts, Passwords, Publish, Secret, Settings, Tokens};
use im_server::delivery::look_again;
use im_server::hub::{Connection, Hub, SharedFrame, Sink};
use im_server::store::sqlite::SqliteStore;
use im_server::store::{Committed, SessionId, Stint};
use parking_lot::Mutex;

use crate::store::world::{Db, commit_one, group, id, people, text};
use crate::wait::until_within;

async fn store() -> (Db, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteStore::open(&folder.path().join("im.db")).await.unwrap()), folder)
}

/// Whose watchers were told, and when the user was last seen.
#[derive(Default)]
struct Told(Mutex<BTreeSet<(String, Option<TimeMs>)>>);

impl Publish for Told {
    fn committed(&self, _: Committed) {}
    fn transient(&self, to: Recipients, frame: &ServerFrame, _: Option<ConversationId>) {
        let (Recipients::Watchers(user), ServerFrame::Presence(presence)) = (to, frame) else { panic!("{frame:?}") };
        assert!(!presence.users[0].online);
        self.0.lock().insert((user.to_string(), presence.users[0].last_seen));
    }
    fn disconnect(&self, _: UserId, _: Devices, _: CloseReason) {}
    fn unheard(&self, _: UserId, _: Terminal, _: TimeMs) {}
}

fn route(connection: u64, server: u16, epoch: u64) -> Route {
    Route {
        connection: ConnectionId(connection),
        server: ServerId(server),
        epoch: Epoch(epoch),
        terminal: Terminal::Web,
        device: DeviceId::parse("d").unwrap(),
        since: 0,
    }
}

#[tokio::test]
async fn who_watches_users_of_a_server_that_died_hears_that_they_are_gone() {
    let (store, _folder) = store().await;
    let (registry, told) = (Arc::new(MemoryRegistry::new()), Arc::new(Told::default()));
    let (chat, _background) = Chat::new(Parts {
        store,
        registry: registry.clone(),
        positions: Arc::new(MemoryReadPositions::default()),
        // It does not say yet that the server is dead.
        servers: Arc::new(Arc::default),
        publish: told.clone(),
        settings: Settings::default(),
        committers: 1,
        tokens: Tokens::new(Secret::new("a signing secret of a test")),
        passwords: Passwords::new(),
    });
    let connections = [("gone", 0, 1), ("elsewhere", 0, 1), ("elsewhere", 1, 1), ("back", 0, 1), ("back", 0, 2)];
    for (n, (name, server, epoch)) in (0..).zip(connections).chain([(9, ("unwatched", 0, 1))]) {
        registry.register(&id(name), route(n, server, epoch)).await.unwrap();
        if name != "unwatched" {
            let topic = Topic::Presence(id(name));
            registry.set_interest(&[topic], ServerId(1), Epoch(1), true).await.unwrap();
        }
    }
    chat.server_died(ServerId(0), Epoch(1), 77).await;
    assert_eq!(*told.0.lock(), BTreeSet::from([("gone".to_owned(), Some(77))]));
}

/// Keeps what it is sent.
#[derive(Default)]
struct Inbox(Mutex<usize>);

impl Sink for Inbox {
    fn enqueue(&self, _: &SharedFrame) -> bool {
        *self.0.lock() += 1;
        true
    }
    fn flush(&self) {}
    fn send_away(&self, _: GoAway) {}
    fn close(&self, _: CloseReason) {}
    fn check(&self, _: TimeMs) {}
    fn queued(&self) -> usize {
        0
    }
    fn session(&self) -> SessionId {
        SessionId("s".into())
    }
}

#[tokio::test]
async fn the_first_member_of_a_large_group_on_a_server_is_told_its_head_when_nobody_can_have_missed_the_server_any_more()
 {
    let (store, _folder) = store().await;
    let [alice, bob] = people(&store, ["alice", "bob"]).await;
    let group = group(&store, "tea", &alice, &[&bob]).await;
    let (hub, task, begun) = Hub::new(ServerId(0), Epoch(1));
    tokio::spawn(task.run(hub.clone(), Arc::new(MemoryRegistry::new())));
    tokio::spawn(look_again(hub.clone(), store.clone(), begun));
    let inbox = Arc::new(Inbox::default());
    let connection = Arc::new(Connection {
        id: ConnectionId(1),
        user: bob.clone(),
        terminal: Terminal::Web,
        device: DeviceId::parse("d").unwrap(),
        since: 0,
        sink: inbox.clone(),
    });
    hub.attach(&connection);
    let start = Instant::now();
    hub.enter_groups(&bob, vec![(group.clone(), 1, Stint::ALWAYS)]).await;
    // Routed by another server that does not know yet: no record comes here.
    commit_one(&store, text(&group, &alice, "missed")).await;
    until_within(Duration::from_secs(20), "the head is told", async || *inbox.0.lock() > 0).await;
    assert!(start.elapsed() >= INTEREST_CACHE_TTL, "not before all of it is committed");
}
