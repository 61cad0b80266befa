//! The router: how many records and look-ups a push takes, and what happens when a part is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use im_protocol::close::CloseReason;
use im_protocol::record::{About, Audience, Disconnect, Payload, Push};
use im_protocol::{ConnectionId, Epoch, ServerId, UserId};
use im_sdk::bus::{Bus, BusError, Outgoing, Subscription};
use im_sdk::registry::{
    Interests, Marker, MemoryRegistry, Registry, RegistryError, Route, Routes, Server, ServerTable, Topic,
};
use im_sdk::router::{Recipients, Routed, Router};
use parking_lot::Mutex;

use crate::given::{MARKER, announced, conversation, frame, gone, route, silent, user, users};
use crate::wait::until_within;

/// A registry that counts its round trips and can be away.
#[derive(Default)]
struct Counting {
    inner: MemoryRegistry,
    away: AtomicBool,
    /// It has lost its table of servers.
    emptied: AtomicBool,
    routes: AtomicUsize,
    interests: AtomicUsize,
}

impl Counting {
    fn check(&self) -> Result<(), RegistryError> {
        if self.away.load(Ordering::SeqCst) { Err(RegistryError::Unavailable("away".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Registry for Counting {
    async fn register(&self, user: &UserId, route: Route) -> Result<Vec<Route>, RegistryError> {
        self.inner.register(user, route).await
    }
    async fn unregister(&self, user: &UserId, connection: ConnectionId) -> Result<(), RegistryError> {
        self.inner.unregister(user, connection).await
    }
    async fn delete_stale(&self, routes: &[(UserId, ConnectionId)]) -> Result<(), RegistryError> {
        self.inner.delete_stale(routes).await
    }
    async fn register_again(&self, routes: &[(UserId, Route)]) -> Result<(), RegistryError> {
        self.inner.register_again(routes).await
    }
    async fn routes(&self, users: &[UserId]) -> Result<Routes, RegistryError> {
        self.check()?;
        self.routes.fetch_add(1, Ordering::SeqCst);
        Ok(Routes { marker: MARKER, ..self.inner.routes(users).await? })
    }
    async fn set_interest(&self, topics: &[Topic], id: ServerId, epoch: Epoch, on: bool) -> Result<(), RegistryError> {
        self.inner.set_interest(topics, id, epoch, on).await
    }
    async fn interested(&self, topics: &[Topic]) -> Result<Interests, RegistryError> {
        self.check()?;
        self.interests.fetch_add(1, Ordering::SeqCst);
        Ok(Interests { marker: MARKER, ..self.inner.interested(topics).await? })
    }
    async fn marker(&self) -> Result<Marker, RegistryError> {
        Ok(MARKER)
    }
    async fn users_of(&self, id: ServerId, epoch: Epoch, cursor: u64) -> Result<(u64, Vec<UserId>), RegistryError> {
        self.inner.users_of(id, epoch, cursor).await
    }
    async fn forget_users_of(&self, id: ServerId, epoch: Epoch) -> Result<(), RegistryError> {
        self.inner.forget_users_of(id, epoch).await
    }
    async fn set_server(&self, id: ServerId, server: Server) -> Result<(), RegistryError> {
        self.inner.set_server(id, server).await
    }
    async fn servers(&self) -> Result<ServerTable, RegistryError> {
        self.check()?;
        if self.emptied.load(Ordering::SeqCst) { Ok(ServerTable::default()) } else { self.inner.servers().await }
    }
}

/// A bus that keeps what it is given. Server 9 has no topic.
#[derive(Default)]
struct Recording(Mutex<Vec<Outgoing>>);

#[async_trait]
impl Bus for Recording {
    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<(), BusError>> {
        let ack = |outgoing: &Outgoing| match outgoing.server {
            ServerId(9) => Err(BusError::NoTopic(ServerId(9))),
            _ => Ok(()),
        };
        let acks = records.iter().map(ack).collect();
        self.0.lock().extend(records);
        acks
    }
    async fn subscribe(&self, server: ServerId) -> Result<Box<dyn Subscription>, BusError> {
        Err(BusError::NoTopic(server))
    }
}

struct Cluster {
    registry: Arc<Counting>,
    bus: Arc<Recording>,
    router: Router,
}

impl Cluster {
    async fn of<const N: usize>(servers: [(u16, Server); N]) -> Self {
        let (registry, bus) = (Arc::new(Counting::default()), Arc::new(Recording::default()));
        for (id, server) in servers {
            registry.set_server(ServerId(id), server).await.unwrap();
        }
        let router = Router::new(registry.clone(), bus.clone(), ServerId(7));
        router.refresh().await.unwrap();
        Self { registry, bus, router }
    }

    async fn connect(&self, name: &str, route: Route) {
        self.registry.register(&user(name), route).await.unwrap();
    }

    async fn interest(&self, topic: Topic, server: u16, epoch: u64) {
        self.registry.set_interest(&[topic], ServerId(server), Epoch(epoch), true).await.unwrap();
    }

    /// What was published since, as (server, epoch, audience).
    fn published(&self) -> Vec<(u16, u64, Audience)> {
        let of = |outgoing: Outgoing| (outgoing.server.0, outgoing.record.epoch.0, push(&outgoing).audience.clone());
        self.bus.0.lock().drain(..).map(of).collect()
    }
}

fn push(outgoing: &Outgoing) -> &Push {
    match &outgoing.record.payload {
        Payload::Push(push) => push,
        Payload::Disconnect(other) => panic!("a push, not {other:?}"),
    }
}

fn routed(to: Recipients) -> Routed {
    Routed { to, frame: frame(), about: None, key: None, trace: None }
}

fn to_users(names: &[&str]) -> Recipients {
    Recipients::Users { users: users(names).into(), except: None }
}

fn to_group(also: &[&str], everyone: bool) -> Recipients {
    Recipients::Members { conversation: conversation("g:1"), seq: 42, members_version: 3, also: users(also), everyone }
}

fn for_users(names: &[&str]) -> Audience {
    Audience::Users { users: users(names), except: None }
}

fn for_group() -> Audience {
    Audience::Members { conversation: conversation("g:1"), seq: 42, members_version: 3 }
}

#[tokio::test]
async fn a_message_to_many_people_is_one_record_per_server_that_has_one_of_them() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(4)), (2, announced(1))]).await;
    for (n, name) in (0..).zip(["a", "b", "c", "d"]) {
        cluster.connect(name, route(n, u16::try_from(n % 2).unwrap(), [1, 4][usize::try_from(n % 2).unwrap()])).await;
    }
    let done = cluster.router.publish(vec![routed(to_users(&["a", "b", "c", "d", "e"]))]).await;
    assert_eq!(cluster.published(), [(0, 1, for_users(&["a", "c"])), (1, 4, for_users(&["b", "d"]))]);
    assert_eq!((done[0].records, &done[0].offline, &done[0].unknown), (2, &users(&["e"]), &vec![]));
    assert!(done[0].delivered.is_ok());
}

#[tokio::test]
async fn many_pushes_take_one_look_up_of_users_and_one_of_topics() {
    let cluster = Cluster::of([(0, announced(1))]).await;
    cluster.connect("a", route(1, 0, 1)).await;
    cluster.interest(Topic::Conversation(conversation("r:1")), 0, 1).await;
    cluster.interest(Topic::Presence(user("a")), 0, 1).await;
    let pushes = vec![
        routed(to_users(&["a"])),
        routed(Recipients::Room(conversation("r:1"))),
        routed(to_users(&["a", "b"])),
        routed(Recipients::Watchers(user("a"))),
    ];
    let done = cluster.router.publish(pushes).await;
    let expected = [
        (0, 1, for_users(&["a"])),
        (0, 1, Audience::Room { conversation: conversation("r:1") }),
        (0, 1, for_users(&["a"])),
        (0, 1, Audience::Watchers { user: user("a") }),
    ];
    assert_eq!(cluster.published(), expected, "in the order of the pushes");
    assert_eq!(done.iter().map(|published| published.records).collect::<Vec<_>>(), [1, 1, 1, 1]);
    assert_eq!(done[2].offline, users(&["b"]));
    let trips = (cluster.registry.routes.load(Ordering::SeqCst), cluster.registry.interests.load(Ordering::SeqCst));
    assert_eq!(trips, (1, 1));
}

#[tokio::test]
async fn a_message_to_a_large_group_goes_to_the_interested_servers_without_a_look_up_of_members() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(1)), (2, silent(1))]).await;
    cluster.interest(Topic::Conversation(conversation("g:1")), 1, 1).await;
    cluster.router.publish(vec![routed(to_group(&[], false))]).await;
    assert_eq!(cluster.published(), [(1, 1, for_group()), (2, 1, for_group())]);
    assert_eq!(cluster.registry.routes.load(Ordering::SeqCst), 0);
}

async fn large_group() -> Cluster {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(1))]).await;
    cluster.interest(Topic::Conversation(conversation("g:1")), 1, 1).await;
    cluster
}

fn look_ups(cluster: &Cluster) -> usize {
    cluster.registry.interests.load(Ordering::SeqCst)
}

#[tokio::test]
async fn who_is_interested_in_a_large_group_is_looked_up_once_in_a_while() {
    let cluster = large_group().await;
    for _ in 0..50 {
        cluster.router.publish(vec![routed(to_group(&[], false)), routed(to_group(&[], false))]).await;
        assert_eq!(cluster.published(), [(1, 1, for_group()), (1, 1, for_group())]);
    }
    assert_eq!(look_ups(&cluster), 1);
}

#[tokio::test]
async fn a_large_group_that_is_remembered_needs_no_registry() {
    let cluster = large_group().await;
    cluster.router.publish(vec![routed(to_group(&[], false))]).await;
    cluster.published();
    cluster.registry.away.store(true, Ordering::SeqCst);
    cluster.router.publish(vec![routed(to_group(&[], false))]).await;
    assert_eq!(cluster.published(), [(1, 1, for_group())]);
}

#[tokio::test]
async fn nothing_is_remembered_while_a_server_may_be_interested_without_having_said_so() {
    let cluster = large_group().await;
    let mut table = ServerTable::default();
    table.observe(ServerId(0), silent(1));
    cluster.router.observe(&table);
    cluster.router.publish(vec![routed(to_group(&[], false))]).await;
    assert_eq!(cluster.published(), [(0, 1, for_group()), (1, 1, for_group())]);
    // Now it says so, and what it is interested in: no 0 → 1 that would make it look at the head once more.
    cluster.interest(Topic::Conversation(conversation("g:1")), 0, 1).await;
    table.observe(ServerId(0), announced(1));
    cluster.router.observe(&table);
    cluster.router.publish(vec![routed(to_group(&[], false))]).await;
    assert_eq!(cluster.published(), [(0, 1, for_group()), (1, 1, for_group())]);
}

#[tokio::test]
async fn who_is_in_a_room_is_looked_up_each_time() {
    let cluster = Cluster::of([(0, announced(1))]).await;
    for _ in 0..3 {
        cluster.router.publish(vec![routed(Recipients::Room(conversation("r:1")))]).await;
    }
    assert_eq!(look_ups(&cluster), 3);
    cluster.interest(Topic::Conversation(conversation("r:1")), 0, 1).await;
    cluster.router.publish(vec![routed(Recipients::Room(conversation("r:1")))]).await;
    assert_eq!(cluster.published().len(), 1, "whoever has entered gets the next message");
}

#[tokio::test]
async fn those_whose_membership_changes_bring_their_servers_in() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(1)), (2, announced(1))]).await;
    cluster.interest(Topic::Conversation(conversation("g:1")), 1, 1).await;
    cluster.connect("kicked", route(1, 0, 1)).await;
    let done = cluster.router.publish(vec![routed(to_group(&["kicked", "away"], false))]).await;
    assert_eq!(cluster.published(), [(0, 1, for_group()), (1, 1, for_group())]);
    assert_eq!(done[0].offline, users(&["away"]));
}

#[tokio::test]
async fn of_two_epochs_told_of_one_server_the_record_is_made_for_the_newer() {
    let cluster = Cluster::of([(0, announced(1))]).await;
    cluster.interest(Topic::Conversation(conversation("g:1")), 0, 1).await;
    cluster.connect("kicked", route(1, 0, 2)).await;
    cluster.router.publish(vec![routed(to_group(&["kicked"], false))]).await;
    assert_eq!(cluster.published(), [(0, 2, for_group())]);
}

#[tokio::test]
async fn a_group_without_an_index_goes_to_every_live_server() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(2)), (2, gone(1))]).await;
    cluster.router.publish(vec![routed(to_group(&[], true))]).await;
    assert_eq!(cluster.published(), [(0, 1, for_group()), (1, 2, for_group())]);
}

#[tokio::test]
async fn without_a_registry_every_live_server_gets_everything_and_nobody_is_offline() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(2)), (2, gone(1))]).await;
    cluster.registry.away.store(true, Ordering::SeqCst);
    let pushes = vec![routed(to_users(&["a", "b"])), routed(to_group(&["c"], false))];
    let done = cluster.router.publish(pushes).await;
    let everyone = for_users(&["a", "b"]);
    let expected = [(0, 1, everyone.clone()), (1, 2, everyone), (0, 1, for_group()), (1, 2, for_group())];
    assert_eq!(cluster.published(), expected);
    assert_eq!((&done[0].offline, &done[0].unknown), (&vec![], &users(&["a", "b"])));
    assert_eq!((&done[1].offline, &done[1].unknown), (&vec![], &users(&["c"])));
    assert!(cluster.router.table().get(ServerId(1)).is_some(), "a table that cannot be loaded is kept");
}

#[tokio::test]
async fn a_route_of_a_new_epoch_makes_the_router_load_the_table_again() {
    let cluster = Cluster::of([(0, announced(1))]).await;
    cluster.registry.set_server(ServerId(0), announced(2)).await.unwrap();
    cluster.connect("a", route(1, 0, 2)).await;
    cluster.router.publish(vec![routed(to_users(&["a"]))]).await;
    assert_eq!(cluster.published(), [(0, 2, for_users(&["a"]))]);
    assert_eq!(cluster.router.table().get(ServerId(0)), Some(&announced(2)));
}

#[tokio::test]
async fn stale_routes_that_are_met_are_deleted_and_others_are_not() {
    let cluster = Cluster::of([(0, announced(2))]).await;
    cluster.connect("a", route(1, 0, 1)).await;
    cluster.connect("a", route(2, 0, 2)).await;
    cluster.router.publish(vec![routed(to_users(&["a"]))]).await;
    let left = async || cluster.registry.routes(&users(&["a"])).await.unwrap().of == [vec![route(2, 0, 2)]];
    until_within(Duration::from_secs(20), "the stale route is deleted", left).await;
}

#[tokio::test]
async fn one_record_without_an_ack_is_told_of_its_own_push_only() {
    let cluster = Cluster::of([(0, announced(1)), (9, announced(1))]).await;
    cluster.connect("a", route(1, 0, 1)).await;
    cluster.connect("b", route(2, 9, 1)).await;
    let pushes = vec![routed(to_users(&["a"])), routed(to_users(&["a", "b"]))];
    let done = cluster.router.publish(pushes).await;
    assert!(done[0].delivered.is_ok());
    assert!(matches!(done[1].delivered, Err(BusError::NoTopic(ServerId(9)))));
    assert_eq!(done[1].records, 2);
}

#[tokio::test]
async fn a_record_carries_frame_key_and_loss_as_they_were_given_and_shares_the_bytes() {
    let cluster = Cluster::of([(0, announced(1)), (1, announced(1))]).await;
    cluster.connect("a", route(1, 0, 1)).await;
    cluster.connect("a", route(2, 1, 1)).await;
    let about = About { conversation: conversation("g:1"), head: 42, rev: 3 };
    let except = Some(ConnectionId(1));
    let sent = Routed {
        to: Recipients::Users { users: users(&["a"]).into(), except },
        about: Some(about.clone()),
        key: Some(conversation("g:1")),
        ..routed(to_users(&[]))
    };
    let bytes = sent.frame.bytes().as_ptr();
    cluster.router.publish(vec![sent]).await;
    let records = cluster.bus.0.lock();
    assert_eq!(records.len(), 2);
    for outgoing in records.iter() {
        assert_eq!((outgoing.record.from, &outgoing.key), (ServerId(7), &Some(conversation("g:1"))));
        let push = push(outgoing);
        assert_eq!(push.audience, Audience::Users { users: users(&["a"]), except });
        assert_eq!((push.about.as_ref(), push.frame.bytes().as_ptr()), (Some(&about), bytes));
    }
}

#[tokio::test]
async fn a_server_the_registry_forgot_stays_in_the_table() {
    let cluster = Cluster::of([(0, announced(3))]).await;
    cluster.registry.emptied.store(true, Ordering::SeqCst);
    cluster.router.refresh().await.unwrap();
    assert_eq!(cluster.router.table().get(ServerId(0)), Some(&announced(3)), "missing is not dead");
}

#[tokio::test]
async fn a_disconnect_goes_to_its_server_with_the_epoch_it_was_meant_for() {
    let cluster = Cluster::of([(0, announced(1))]).await;
    let disconnect = Disconnect { user: user("a"), connections: vec![ConnectionId(1)], reason: CloseReason::Kicked };
    cluster.router.disconnect(ServerId(3), Epoch(8), disconnect.clone()).await.unwrap();
    let sent = cluster.bus.0.lock().pop().unwrap();
    assert_eq!((sent.server, sent.record.epoch), (ServerId(3), Epoch(8)));
    assert_eq!(sent.record.payload, Payload::Disconnect(disconnect.clone()));
    assert!(cluster.router.disconnect(ServerId(9), Epoch(1), disconnect).await.is_err());
}
