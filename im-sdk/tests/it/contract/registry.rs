//! The promises of a registry.

use std::collections::BTreeMap;

use im_protocol::{ConnectionId, Epoch, ServerId};
use im_sdk::registry::{Registry, Topic};

use crate::given::{announced, conversation, gone, route, user, users};

pub(crate) async fn a_route_is_found_until_it_is_unregistered(registry: &dyn Registry) {
    let alice = user("alice");
    registry.register(&alice, route(1, 0, 1)).await.unwrap();
    assert_eq!(registry.routes(std::slice::from_ref(&alice)).await.unwrap().of, [vec![route(1, 0, 1)]]);
    registry.unregister(&alice, ConnectionId(1)).await.unwrap();
    assert_eq!(registry.routes(&[alice]).await.unwrap().of, [vec![]]);
}

pub(crate) async fn registering_tells_the_other_routes_of_the_user_and_no_one_elses(registry: &dyn Registry) {
    let (alice, bob) = (user("alice"), user("bob"));
    registry.register(&bob, route(9, 0, 1)).await.unwrap();
    assert_eq!(registry.register(&alice, route(1, 0, 1)).await.unwrap(), []);
    assert_eq!(registry.register(&alice, route(2, 1, 4)).await.unwrap(), [route(1, 0, 1)]);
    let mut others = registry.register(&alice, route(3, 0, 1)).await.unwrap();
    others.sort_by_key(|route| route.connection);
    assert_eq!(others, [route(1, 0, 1), route(2, 1, 4)]);
}

pub(crate) async fn registering_a_connection_again_replaces_its_route(registry: &dyn Registry) {
    let alice = user("alice");
    registry.register(&alice, route(1, 0, 1)).await.unwrap();
    assert_eq!(registry.register(&alice, route(1, 0, 2)).await.unwrap(), [], "a route is not another one of itself");
    assert_eq!(registry.routes(&[alice]).await.unwrap().of, [vec![route(1, 0, 2)]]);
}

pub(crate) async fn unregistering_removes_its_own_route_only(registry: &dyn Registry) {
    let alice = user("alice");
    registry.register(&alice, route(1, 0, 1)).await.unwrap();
    registry.register(&alice, route(2, 0, 1)).await.unwrap();
    registry.unregister(&alice, ConnectionId(1)).await.unwrap();
    assert_eq!(registry.routes(&[alice]).await.unwrap().of, [vec![route(2, 0, 1)]]);
}

pub(crate) async fn unregistering_what_is_not_there_is_fine(registry: &dyn Registry) {
    let alice = user("alice");
    registry.unregister(&alice, ConnectionId(1)).await.unwrap();
    registry.register(&alice, route(1, 0, 1)).await.unwrap();
    registry.unregister(&user("bob"), ConnectionId(1)).await.unwrap();
    assert_eq!(registry.routes(&[alice]).await.unwrap().of, [vec![route(1, 0, 1)]]);
}

pub(crate) async fn routes_come_in_the_order_of_the_users_with_nothing_for_strangers(registry: &dyn Registry) {
    let named = users(&["carol", "nobody", "alice"]);
    registry.register(&named[2], route(1, 0, 1)).await.unwrap();
    registry.register(&named[0], route(3, 1, 1)).await.unwrap();
    let routes = registry.routes(&named).await.unwrap().of;
    assert_eq!(routes, [vec![route(3, 1, 1)], vec![], vec![route(1, 0, 1)]]);
    assert_eq!(registry.routes(&[]).await.unwrap().of, Vec::<Vec<_>>::new());
}

pub(crate) async fn routes_written_again_stand_beside_the_others(registry: &dyn Registry) {
    let named = users(&["alice", "bob"]);
    registry.register(&named[0], route(1, 0, 1)).await.unwrap();
    let held = [(named[0].clone(), route(2, 1, 1)), (named[1].clone(), route(3, 1, 1))];
    registry.register_again(&held).await.unwrap();
    registry.register_again(&held).await.unwrap();
    let mut routes = registry.routes(&named).await.unwrap().of;
    routes[0].sort_by_key(|route| route.connection);
    assert_eq!(routes, [vec![route(1, 0, 1), route(2, 1, 1)], vec![route(3, 1, 1)]]);
}

pub(crate) async fn everything_is_read_under_one_marker(registry: &dyn Registry) {
    let marker = registry.marker().await.unwrap();
    assert_eq!(registry.marker().await.unwrap(), marker);
    assert_eq!(registry.routes(&users(&["alice", "bob"])).await.unwrap().marker, marker);
    assert_eq!(registry.interested(&[group()]).await.unwrap().marker, marker);
}

async fn users_of(registry: &dyn Registry, server: u16, epoch: u64) -> Vec<String> {
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = 0;
    loop {
        let (next, users) = registry.users_of(ServerId(server), Epoch(epoch), cursor).await.unwrap();
        found.extend(users.iter().map(ToString::to_string));
        if next == 0 {
            return found.into_iter().collect();
        }
        cursor = next;
    }
}

pub(crate) async fn who_was_on_a_server_is_known_by_its_epoch(registry: &dyn Registry) {
    let named = users(&["alice", "bob", "carol"]);
    registry.register(&named[0], route(1, 0, 1)).await.unwrap();
    registry.register(&named[1], route(2, 1, 1)).await.unwrap();
    registry.register_again(&[(named[2].clone(), route(3, 0, 1))]).await.unwrap();
    registry.register(&named[1], route(4, 0, 2)).await.unwrap();
    assert_eq!(users_of(registry, 0, 1).await, ["alice", "carol"]);
    assert_eq!(users_of(registry, 0, 2).await, ["bob"]);
    registry.forget_users_of(ServerId(0), Epoch(1)).await.unwrap();
    assert_eq!(users_of(registry, 0, 1).await, Vec::<String>::new());
    assert_eq!(users_of(registry, 1, 1).await, ["bob"]);
}

pub(crate) async fn a_stale_route_that_was_deleted_still_tells_who_was_there(registry: &dyn Registry) {
    let named = users(&["alice", "bob"]);
    registry.register(&named[0], route(1, 0, 1)).await.unwrap();
    registry.register(&named[0], route(2, 1, 1)).await.unwrap();
    registry.register(&named[1], route(3, 0, 1)).await.unwrap();
    let stale = [(named[0].clone(), ConnectionId(1)), (named[1].clone(), ConnectionId(9))];
    registry.delete_stale(&stale).await.unwrap();
    assert_eq!(registry.routes(&named).await.unwrap().of, [vec![route(2, 1, 1)], vec![route(3, 0, 1)]]);
    assert_eq!(users_of(registry, 0, 1).await, ["alice", "bob"]);
    registry.unregister(&named[1], ConnectionId(3)).await.unwrap();
    assert_eq!(users_of(registry, 0, 1).await, ["alice"], "who said goodbye was not there");
    registry.forget_users_of(ServerId(0), Epoch(1)).await.unwrap();
    assert_eq!(users_of(registry, 0, 1).await, Vec::<String>::new());
}

pub(crate) async fn what_an_epoch_that_is_over_left_is_cleared_away(registry: &dyn Registry) {
    let alice = user("alice");
    registry.register(&alice, route(1, 0, 1)).await.unwrap();
    registry.register(&alice, route(2, 0, 2)).await.unwrap();
    let presence = Topic::Presence(alice.clone());
    registry.set_interest(&[group(), presence.clone()], ServerId(0), Epoch(1), true).await.unwrap();
    registry.set_interest(&[group()], ServerId(0), Epoch(2), true).await.unwrap();
    registry.set_interest(std::slice::from_ref(&presence), ServerId(1), Epoch(1), true).await.unwrap();
    registry.forget_users_of(ServerId(0), Epoch(1)).await.unwrap();
    assert_eq!(registry.routes(&[alice]).await.unwrap().of, [vec![route(2, 0, 2)]]);
    assert_eq!(interested(registry, &group()).await, [(0, 2)], "a newer epoch's stays");
    assert_eq!(interested(registry, &presence).await, [(1, 1)], "another server's stays");
}

pub(crate) async fn many_routes_are_paged_and_cleared_away(registry: &dyn Registry) {
    let held: Vec<_> = (0..2_500).map(|n| (user(&format!("user{n}")), route(n, 0, 1))).collect();
    registry.register_again(&held).await.unwrap();
    assert_eq!(users_of(registry, 0, 1).await.len(), held.len());
    registry.forget_users_of(ServerId(0), Epoch(1)).await.unwrap();
    let everyone: Vec<_> = held.into_iter().map(|(user, _)| user).collect();
    assert!(registry.routes(&everyone).await.unwrap().of.iter().all(Vec::is_empty));
    assert_eq!(users_of(registry, 0, 1).await.len(), 0);
}

fn group() -> Topic {
    Topic::Conversation(conversation("g:1"))
}

async fn interested(registry: &dyn Registry, topic: &Topic) -> Vec<(u16, u64)> {
    let found = registry.interested(std::slice::from_ref(topic)).await.unwrap().of;
    assert_eq!(found.len(), 1);
    found[0].iter().map(|(server, epoch)| (server.0, epoch.0)).collect()
}

pub(crate) async fn an_interest_is_seen_until_it_ends(registry: &dyn Registry) {
    assert_eq!(interested(registry, &group()).await, []);
    registry.set_interest(&[group()], ServerId(0), Epoch(1), true).await.unwrap();
    registry.set_interest(&[group()], ServerId(1), Epoch(3), true).await.unwrap();
    assert_eq!(interested(registry, &group()).await, [(0, 1), (1, 3)]);
    registry.set_interest(&[group()], ServerId(0), Epoch(1), false).await.unwrap();
    assert_eq!(interested(registry, &group()).await, [(1, 3)]);
}

pub(crate) async fn interests_come_in_the_order_of_the_topics(registry: &dyn Registry) {
    let topics = [Topic::Presence(user("bob")), group()];
    registry.set_interest(&topics[1..], ServerId(0), Epoch(1), true).await.unwrap();
    let found = registry.interested(&topics).await.unwrap().of;
    assert_eq!(found, [BTreeMap::new(), BTreeMap::from([(ServerId(0), Epoch(1))])]);
    assert_eq!(registry.interested(&[]).await.unwrap().of, []);
}

pub(crate) async fn a_late_goodbye_of_an_older_epoch_does_not_end_a_newer_interest(registry: &dyn Registry) {
    registry.set_interest(&[group()], ServerId(0), Epoch(2), true).await.unwrap();
    registry.set_interest(&[group()], ServerId(0), Epoch(1), false).await.unwrap();
    assert_eq!(interested(registry, &group()).await, [(0, 2)]);
}

pub(crate) async fn an_older_epoch_does_not_overwrite_a_newer_interest(registry: &dyn Registry) {
    registry.set_interest(&[group()], ServerId(0), Epoch(2), true).await.unwrap();
    registry.set_interest(&[group()], ServerId(0), Epoch(1), true).await.unwrap();
    assert_eq!(interested(registry, &group()).await, [(0, 2)]);
    registry.set_interest(&[group()], ServerId(0), Epoch(3), true).await.unwrap();
    assert_eq!(interested(registry, &group()).await, [(0, 3)]);
}

pub(crate) async fn topics_of_different_kinds_do_not_meet(registry: &dyn Registry) {
    let room = conversation("r:alice");
    let kinds = [
        Topic::Conversation(conversation("g:alice")),
        Topic::Conversation(room.clone()),
        Topic::Presence(user("alice")),
        Topic::Inside(room, user("alice")),
    ];
    for (n, topic) in (0..).zip(&kinds) {
        registry.set_interest(std::slice::from_ref(topic), ServerId(n), Epoch(1), true).await.unwrap();
    }
    for (n, topic) in (0..).zip(&kinds) {
        assert_eq!(interested(registry, topic).await, [(n, 1)], "{topic:?}");
    }
}

pub(crate) async fn a_server_is_seen_as_it_was_last_told(registry: &dyn Registry) {
    assert_eq!(registry.servers().await.unwrap().get(ServerId(0)), None);
    registry.set_server(ServerId(0), announced(1)).await.unwrap();
    assert_eq!(registry.servers().await.unwrap().get(ServerId(0)), Some(&announced(1)));
    registry.set_server(ServerId(0), gone(1)).await.unwrap();
    assert_eq!(registry.servers().await.unwrap().get(ServerId(0)), Some(&gone(1)));
}

pub(crate) async fn the_table_never_goes_back_in_epoch(registry: &dyn Registry) {
    registry.set_server(ServerId(0), announced(2)).await.unwrap();
    registry.set_server(ServerId(0), gone(1)).await.unwrap();
    assert_eq!(registry.servers().await.unwrap().get(ServerId(0)), Some(&announced(2)));
}
