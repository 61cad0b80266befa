//! What the registry is told, and when it is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use im_protocol::close::CloseReason;
use im_protocol::server::GoAway;
use im_protocol::{ConnectionId, DeviceId, Epoch, ServerId, Terminal, TimeMs, UserId};
use im_sdk::registry::{Interests, Marker, MemoryRegistry, RegistryError, Route, Routes, Server, ServerTable};

use super::*;
use crate::hub::{Connection, SharedFrame, Sink};
use crate::store::{SessionId, Stint};

/// A registry that counts writes, can be away, and can lose its answers.
#[derive(Default)]
struct Counting {
    inner: MemoryRegistry,
    writes: AtomicUsize,
    away: AtomicBool,
    mute: AtomicBool,
}

fn unavailable() -> RegistryError {
    RegistryError::Unavailable("away".to_owned())
}

#[async_trait]
impl Registry for Counting {
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError> {
        self.inner.register(user, route).await
    }
    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError> {
        self.inner.register_again(routes).await
    }
    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError> {
        self.inner.unregister(user, connection).await
    }
    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError> {
        self.inner.delete_stale(routes).await
    }
    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError> {
        self.inner.routes(users).await
    }
    async fn set_interest(&self, topics: &[Topic], id: ServerId, epoch: Epoch, on: bool) -> Result<(), RegistryError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.inner.set_interest(topics, id, epoch, on).await?;
        if self.mute.load(Ordering::SeqCst) { Err(unavailable()) } else { Ok(()) }
    }
    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError> {
        self.inner.interested(topics).await
    }
    async fn marker(&self) -> Result<Marker, RegistryError> {
        self.inner.marker().await
    }
    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        self.inner.set_server(id, server).await
    }
    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        self.inner.servers().await
    }
    async fn users_of(&self, id: ServerId, epoch: Epoch, cursor: u64) -> Result<(u64, Vec<UserId>), RegistryError> {
        self.inner.users_of(id, epoch, cursor).await
    }
    async fn forget_users_of(&self, id: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        self.inner.forget_users_of(id, epoch).await
    }
}

struct Silent;

impl Sink for Silent {
    fn enqueue(&self, _: &SharedFrame) -> bool {
        false
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

struct Rig {
    hub: Arc<Hub>,
    registry: Arc<Counting>,
    begun: Begun,
    alice: Arc<Connection>,
}

fn rig() -> Rig {
    let (hub, task, begun) = Hub::new(ServerId(3), Epoch(7));
    let registry = Arc::new(Counting::default());
    tokio::spawn(task.run(hub.clone(), registry.clone()));
    let alice = Arc::new(Connection {
        id: ConnectionId(1),
        user: UserId::parse("alice").unwrap(),
        terminal: Terminal::Web,
        device: DeviceId::parse("d").unwrap(),
        since: 0,
        sink: Arc::new(Silent),
    });
    hub.attach(&alice);
    Rig { hub, registry, begun, alice }
}

fn group(n: usize) -> ConversationId {
    ConversationId::parse(&format!("g:{n}")).unwrap()
}

impl Rig {
    async fn enter(&self, count: usize) {
        let groups = (0..count).map(|n| (group(n), 1, Stint::ALWAYS)).collect();
        self.hub.enter_groups(&self.alice.user, groups).await;
    }

    fn writes(&self) -> usize {
        self.registry.writes.swap(0, Ordering::SeqCst)
    }

    async fn is_interested(&self, n: usize) -> bool {
        let found = self.registry.interested(&[Topic::Conversation(group(n))]).await.unwrap();
        !found.of[0].is_empty()
    }

    async fn until(&self, n: usize, interested: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.is_interested(n).await != interested || !self.hub.unwritten().is_empty() {
            assert!(Instant::now() < deadline, "the registry agrees in the end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_user_in_many_large_groups_costs_one_write_and_so_does_the_end() {
    let rig = rig();
    rig.enter(200).await;
    assert_eq!(rig.writes(), 1);
    assert!(rig.is_interested(0).await && rig.is_interested(199).await);
    rig.enter(200).await;
    assert_eq!(rig.writes(), 0, "nothing has changed");
    rig.hub.detach(&rig.alice).await;
    assert_eq!(rig.writes(), 1);
    assert!(!rig.is_interested(0).await && !rig.is_interested(199).await);
}

#[tokio::test]
async fn all_interests_are_written_again_in_a_few_writes() {
    let rig = rig();
    rig.enter(1_000).await;
    rig.registry.inner.forget_users_of(ServerId(3), Epoch(7)).await.unwrap();
    assert!(!rig.is_interested(999).await);
    rig.writes();
    rig.hub.write_interests_again().await;
    assert!(rig.is_interested(0).await && rig.is_interested(999).await);
    assert_eq!(rig.writes(), 2);
}

#[tokio::test]
async fn what_could_not_be_written_is_missing_until_it_is() {
    let mut rig = rig();
    rig.registry.away.store(true, Ordering::SeqCst);
    rig.enter(1).await;
    assert!(!rig.hub.unwritten().is_empty(), "the server counts as one that has not announced");
    rig.registry.away.store(false, Ordering::SeqCst);
    rig.until(0, true).await;
    assert_eq!(rig.begun.recv().await.map(|(_, group)| group), Some(group(0)));
}

#[tokio::test]
async fn an_interest_of_which_nobody_knows_whether_it_was_written_is_ended_with_its_reason() {
    let rig = rig();
    rig.registry.mute.store(true, Ordering::SeqCst);
    rig.enter(1).await;
    assert!(rig.is_interested(0).await, "it was written, and the answer lost");
    rig.registry.away.store(true, Ordering::SeqCst);
    rig.hub.detach(&rig.alice).await;
    rig.registry.away.store(false, Ordering::SeqCst);
    rig.registry.mute.store(false, Ordering::SeqCst);
    rig.until(0, false).await;
}

#[tokio::test]
async fn a_group_begins_with_its_first_member_here_and_never_by_being_written_again() {
    let mut rig = rig();
    rig.enter(1).await;
    rig.enter(1).await;
    rig.hub.write_interests_again().await;
    rig.enter(2).await;
    let mut begun = Vec::new();
    while begun.len() < 2 {
        begun.push(rig.begun.recv().await.unwrap().1);
    }
    assert_eq!(begun, [group(0), group(1)]);
    assert!(rig.begun.try_recv().is_err());
}
