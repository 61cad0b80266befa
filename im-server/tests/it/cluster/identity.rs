//! Epochs, leases, the table, announcing.

use std::time::{Duration, Instant};

use im_protocol::server::Typing;
use im_protocol::{Epoch, Frame, ServerFrame, ServerId};
use im_sdk::bus::Bus;
use im_sdk::registry::{Registry, Topic};
use im_sdk::router::{Recipients, Routed};
use im_server::api::Phase;
use im_server::store::Holder;
use sqlx::{Connection as _, SqliteConnection};

use super::given::{Ground, Process, TTL, user};
use crate::wait::until;

async fn live(ground: &Ground, id: u16) -> bool {
    ground.row(id).await.live
}

/// Pushes something to a user by the router of a process; returns to whom it went.
async fn publish(process: &Process, to: &str) -> (usize, usize) {
    let typing = Typing { conversation: "g:1".parse().unwrap(), user: user("x") };
    let frame = Frame::encode(&ServerFrame::Typing(typing));
    let to = Recipients::Users { users: vec![user(to)].into(), except: None };
    let published = process.router.publish(vec![Routed { to, frame, about: None, key: None, trace: None }]).await;
    (published[0].records, published[0].offline.len())
}

#[tokio::test]
async fn who_takes_an_id_later_fences_the_earlier() {
    let ground = Ground::new();
    let earlier = ground.server(1).await;
    let later = ground.server(1).await;
    assert_eq!(later.identity.holder(), Holder { server: ServerId(1), epoch: Epoch(2) });
    earlier.phase.subscribe().wait_for(|phase| *phase == Phase::Fenced).await.unwrap();
    earlier.identity.leave(TTL).await;
    let row = ground.row(1).await;
    assert_eq!((row.epoch, row.live), (Epoch(2), true), "who is fenced gives back nothing");
    assert_eq!(*later.phase.borrow(), Phase::Serving);
}

#[tokio::test]
async fn a_server_that_is_gone_is_dead_for_all_after_its_lease_and_one_sees_to_it() {
    let ground = Ground::new();
    let (first, second) = (ground.server(1).await, ground.server(2).await);
    let gone = ground.server(3).await;
    let mut deaths = [first.identity.deaths(), second.identity.deaths()];
    until("all know each other", async || first.sees(3).is_some() && second.sees(3).is_some()).await;
    gone.connect("alice", 7).await;
    assert_eq!(publish(&first, "alice").await.1, 0);
    drop(gone);
    let mut ours = Vec::new();
    for deaths in &mut deaths {
        let death = deaths.recv().await.unwrap();
        assert_eq!((death.server, death.epoch), (ServerId(3), Epoch(1)));
        ours.push(death.ours);
    }
    assert_eq!(ours, [true, false], "the lowest id that lives does what is to be done once");
    assert_eq!(publish(&first, "alice").await, (0, 1), "all routes are void at once, none was touched");
    let mirrored = async || ground.registry.servers().await.unwrap().get(ServerId(3)).is_some_and(|it| !it.live);
    until("the mirror knows", mirrored).await;
}

#[tokio::test]
async fn an_id_that_is_taken_again_voids_what_was_written_under_the_epoch_before() {
    let ground = Ground::new();
    let other = ground.server(1).await;
    let before = ground.server(2).await;
    before.connect("alice", 7).await;
    until("they know each other", async || other.sees(2).is_some()).await;
    let mut deaths = other.identity.deaths();
    drop(before);
    let _consumer = ground.bus.subscribe(ServerId(2)).await.unwrap();
    let again = ground.server(2).await;
    let death = deaths.recv().await.unwrap();
    assert_eq!((death.server, death.epoch), (ServerId(2), Epoch(1)));
    assert_eq!(other.sees(2).unwrap().epoch, Epoch(2));
    until("it has announced", async || other.sees(2).unwrap().announced.is_some()).await;
    assert_eq!(publish(&other, "alice").await, (0, 1), "no route of an older epoch is used");
    again.connect("alice", 8).await;
    assert_eq!(publish(&other, "alice").await, (1, 0));
}

#[tokio::test]
async fn who_leaves_gives_the_id_back_for_all_to_see() {
    let ground = Ground::new();
    let (stays, leaves) = (ground.server(1).await, ground.server(2).await);
    until("they know each other", async || stays.sees(2).is_some_and(|it| it.live && it.serving)).await;
    leaves.identity.leave(TTL).await;
    assert!(!live(&ground, 2).await);
    let mirrored = ground.registry.servers().await.unwrap().get(ServerId(2)).cloned().unwrap();
    assert!(!mirrored.live && !mirrored.serving);
    until("the other knows", async || stays.sees(2).is_some_and(|it| !it.live)).await;
}

#[tokio::test]
async fn a_store_that_is_away_fences_nobody_and_nobody_is_judged_when_it_is_back() {
    let ground = Ground::new();
    let (one, other) = (ground.server(1).await, ground.server(2).await);
    let judges = async || one.identity.may_judge() && other.identity.may_judge();
    until("both may judge", judges).await;
    let mut deaths = [one.identity.deaths(), other.identity.deaths()];
    let mut lock = SqliteConnection::connect(&format!("sqlite:{}", ground.path().display())).await.unwrap();
    sqlx::query("begin immediate").execute(&mut lock).await.unwrap();
    until("the leases have run out", async || !live(&ground, 1).await && !live(&ground, 2).await).await;
    assert!(!one.identity.may_judge() && !other.identity.may_judge());
    sqlx::query("rollback").execute(&mut lock).await.unwrap();
    until("both have renewed", async || live(&ground, 1).await && live(&ground, 2).await).await;
    until("both may judge", judges).await;
    for (process, deaths) in [&one, &other].into_iter().zip(&mut deaths) {
        assert_eq!(*process.phase.borrow(), Phase::Serving);
        assert!(deaths.is_empty(), "{:?}", deaths.try_recv());
        assert!(process.router.table().iter().all(|(_, server)| server.live));
    }
}

#[tokio::test]
async fn a_registry_that_lost_everything_is_told_everything_again() {
    let ground = Ground::new();
    let server = ground.server(1).await;
    let mut told = Vec::new();
    for (id, name) in (0..).zip(["alice", "bob", "carol"]) {
        told.push(server.connect(name, id).await);
    }
    server.hub.watch(&[user("dave")], &told[0].0).await;
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    ground.registry.lose_everything();
    let marker = ground.registry.marker().await.unwrap();
    until("it has announced again", async || ground.row(1).await.announced == Some(marker)).await;
    let routes = ground.registry.routes(&["alice", "bob", "carol"].map(user)).await.unwrap();
    assert!(routes.of.iter().all(|routes| routes.len() == 1), "{routes:?}");
    let interests = ground.registry.interested(&[Topic::Presence(user("dave"))]).await.unwrap();
    assert!(interests.of[0].contains_key(&ServerId(1)));
    let mirrored = async || ground.registry.servers().await.unwrap().get(ServerId(1)).is_some_and(|it| it.live);
    until("the mirror is there again", mirrored).await;
    until("all are told to pull", async || told.iter().all(|(_, told)| told.count() == 1)).await;
}

#[tokio::test]
async fn a_marker_that_is_met_while_routing_is_answered_at_once() {
    let ground = Ground::new();
    // It would look at the marker by itself long after this test's patience.
    let server = ground.server_for(1, Duration::from_mins(10)).await;
    server.connect("alice", 7).await;
    publish(&server, "alice").await;
    ground.registry.lose_everything();
    publish(&server, "alice").await;
    let written = async || !ground.registry.routes(&[user("alice")]).await.unwrap().of[0].is_empty();
    until("the route is written", written).await;
}

#[tokio::test]
async fn a_route_that_was_not_taken_makes_the_server_unannounced_until_it_is() {
    let ground = Ground::new();
    let server = ground.server(1).await;
    let (_, before) = server.connect("bob", 6).await;
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    ground.registry.be_away(true);
    let (_, told) = server.connect("alice", 7).await;
    until("it says so", async || ground.row(1).await.announced.is_none()).await;
    ground.registry.be_away(false);
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    assert_eq!(ground.registry.routes(&[user("alice")]).await.unwrap().of[0].len(), 1);
    until("who was hidden is told to pull", async || told.count() == 1).await;
    assert_eq!(before.count(), 0);
}

#[tokio::test]
async fn an_interest_that_was_not_taken_makes_the_server_unannounced_until_it_is() {
    let ground = Ground::new();
    let server = ground.server(1).await;
    let (alice, _) = server.connect("alice", 7).await;
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    ground.registry.be_away(true);
    server.hub.watch(&[user("bob")], &alice).await;
    until("it says so", async || ground.row(1).await.announced.is_none()).await;
    ground.registry.be_away(false);
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    assert_eq!(ground.registry.interested(&[Topic::Presence(user("bob"))]).await.unwrap().of[0].len(), 1);
}

#[tokio::test]
async fn a_connection_that_ends_while_it_is_announced_leaves_no_route() {
    let ground = Ground::new();
    let server = ground.server(1).await;
    let (alice, _) = server.connect("alice", 7).await;
    server.connect("bob", 8).await;
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    ground.registry.end_while_announcing(server.hub.clone(), alice);
    ground.registry.lose_everything();
    let marker = ground.registry.marker().await.unwrap();
    until("it has announced again", async || ground.row(1).await.announced == Some(marker)).await;
    let routes = ground.registry.routes(&["alice", "bob"].map(user)).await.unwrap();
    assert_eq!(routes.of.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn a_server_is_ready_when_the_others_had_time_to_learn_of_it() {
    let ground = Ground::new();
    let alone = ground.server(1).await;
    let at_once = alone.identity.known_to_others(&[ServerId(1)]);
    assert!(tokio::time::timeout(Duration::ZERO, at_once).await.is_ok(), "there is nobody to wait for");
    let second = ground.server(2).await;
    let entered = Instant::now();
    second.identity.known_to_others(&[ServerId(2)]).await;
    assert!(entered.elapsed() >= TTL * 3 / 10, "the other looks once in this time");
    until("the other knows it", async || alone.sees(2).is_some()).await;
}

#[tokio::test]
async fn a_server_that_others_gave_up_writes_its_routes_again() {
    let ground = Ground::new();
    let server = ground.server(1).await;
    let (alice, told) = server.connect("alice", 7).await;
    until("it has announced", async || ground.row(1).await.announced.is_some()).await;
    // Another judged it dead, and deleted its routes as it met them.
    let mut given_up = ground.row(1).await;
    given_up.live = false;
    ground.registry.set_server(ServerId(1), given_up).await.unwrap();
    ground.registry.unregister(&alice.user, alice.id).await.unwrap();
    let written = async || !ground.registry.routes(&[user("alice")]).await.unwrap().of[0].is_empty();
    until("the route is written", written).await;
    // The first time at once; meanwhile others who have not looked at the table sent nothing, and deleted what they met.
    until("it is told to pull a second time", async || told.count() == 2).await;
}
