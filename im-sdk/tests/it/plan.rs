//! The plan: every rule by example, and what must hold for any input.

use std::collections::{BTreeMap, HashSet};

use im_protocol::{ConnectionId, Epoch, ServerId, UserId};
use im_sdk::registry::{Marker, Route, Server, ServerTable};
use im_sdk::routing::{Plan, plan, plan_interest};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::given::{MARKER, announced, gone, route, silent, table, user, users};

/// The plan's batches as (server, epoch, users).
fn batches(plan: &Plan) -> Vec<(u16, u64, Vec<&str>)> {
    plan.batches.iter().map(|(s, b)| (s.0, b.epoch.0, b.users.iter().map(UserId::as_str).collect())).collect()
}

#[test]
fn people_on_one_server_share_a_batch() {
    let routes = [vec![route(1, 0, 1)], vec![route(2, 1, 5), route(3, 0, 1)], vec![route(4, 0, 1), route(5, 0, 1)]];
    let plan = plan(&users(&["a", "b", "c"]), &routes, MARKER, &table([(0, announced(1)), (1, announced(5))]));
    assert_eq!(batches(&plan), [(0, 1, vec!["a", "b", "c"]), (1, 5, vec!["b"])]);
    assert_eq!((plan.offline, plan.unknown, plan.stale, plan.refresh), (vec![], vec![], vec![], false));
}

#[test]
fn someone_without_a_route_is_offline_once_every_live_server_has_announced() {
    let plan = plan(&users(&["a"]), &[vec![]], MARKER, &table([(0, announced(1)), (1, gone(1))]));
    assert_eq!(plan, Plan { offline: users(&["a"]), ..Plan::default() });
}

#[test]
fn a_live_server_that_has_not_announced_gets_everyone_and_nobody_is_offline() {
    let routes = [vec![route(1, 0, 1)], vec![], vec![route(2, 1, 1)]];
    let plan = plan(&users(&["a", "b", "c"]), &routes, MARKER, &table([(0, announced(1)), (1, silent(1))]));
    assert_eq!(batches(&plan), [(0, 1, vec!["a"]), (1, 1, vec!["a", "b", "c"])]);
    assert_eq!((plan.offline, plan.unknown), (vec![], users(&["b"])));
}

#[test]
fn a_server_that_announced_under_another_marker_is_as_good_as_silent() {
    let elsewhere = Server { announced: Some(Marker(1)), ..announced(1) };
    let plan = plan(&users(&["a"]), &[vec![]], MARKER, &table([(0, announced(1)), (1, elsewhere)]));
    assert_eq!(batches(&plan), [(1, 1, vec!["a"])]);
    assert_eq!((plan.offline, plan.unknown), (vec![], users(&["a"])));
}

#[test]
fn routes_of_a_lower_epoch_or_of_a_server_that_is_gone_are_stale() {
    let routes = [vec![route(1, 0, 1), route(2, 1, 3)], vec![route(3, 0, 2)]];
    let plan = plan(&users(&["a", "b"]), &routes, MARKER, &table([(0, announced(2)), (1, gone(3))]));
    assert_eq!(batches(&plan), [(0, 2, vec!["b"])]);
    assert_eq!(plan.stale, [(user("a"), ConnectionId(1)), (user("a"), ConnectionId(2))]);
    assert_eq!((plan.offline, plan.refresh), (users(&["a"]), false));
}

#[test]
fn a_higher_epoch_is_used_voids_the_lower_ones_and_asks_for_a_refresh() {
    let routes = [vec![route(1, 0, 2)], vec![route(2, 0, 3)], vec![]];
    let plan = plan(&users(&["a", "b", "c"]), &routes, MARKER, &table([(0, announced(2))]));
    assert_eq!(batches(&plan), [(0, 3, vec!["a", "b", "c"])]);
    assert_eq!(plan.stale, [(user("a"), ConnectionId(1))]);
    assert_eq!((plan.unknown, plan.offline, plan.refresh), (users(&["a", "c"]), vec![], true));
}

#[test]
fn a_server_the_table_does_not_list_is_used_and_asks_for_a_refresh() {
    let plan = plan(&users(&["a"]), &[vec![route(1, 7, 1)]], MARKER, &ServerTable::default());
    assert_eq!(batches(&plan), [(7, 1, vec!["a"])]);
    assert!(plan.refresh);
}

#[test]
fn someone_named_twice_counts_once() {
    let routes = [vec![route(1, 0, 1)], vec![], vec![route(1, 0, 1)], vec![]];
    let plan = plan(&users(&["a", "b", "a", "b"]), &routes, MARKER, &table([(0, announced(1))]));
    assert_eq!(batches(&plan), [(0, 1, vec!["a"])]);
    assert_eq!(plan.offline, users(&["b"]));
}

#[test]
fn nobody_named_is_no_record() {
    assert_eq!(plan(&[], &Vec::<Vec<Route>>::new(), MARKER, &table([(0, silent(1))])), Plan::default());
}

fn interest<const N: usize>(entries: [(u16, u64); N]) -> BTreeMap<ServerId, Epoch> {
    entries.into_iter().map(|(server, epoch)| (ServerId(server), Epoch(epoch))).collect()
}

#[test]
fn the_interested_servers_and_the_silent_ones_are_the_targets() {
    let servers = table([(0, announced(1)), (1, announced(1)), (2, silent(1)), (3, gone(1))]);
    let plan = plan_interest(&interest([(1, 1), (3, 1)]), MARKER, &servers, false);
    assert_eq!((plan.servers, plan.refresh), (interest([(1, 1), (2, 1)]), false));
}

#[test]
fn an_interest_of_a_lower_epoch_is_void_and_of_a_higher_one_asks_for_a_refresh() {
    let servers = table([(0, announced(2)), (1, gone(2))]);
    let plan = plan_interest(&interest([(0, 1), (1, 3)]), MARKER, &servers, false);
    assert_eq!((plan.servers, plan.refresh), (interest([(1, 3)]), true));
}

#[test]
fn without_an_index_every_live_server_is_a_target_with_its_newest_epoch() {
    let servers = table([(0, announced(1)), (1, announced(2)), (2, gone(1))]);
    let plan = plan_interest(&interest([(1, 3)]), MARKER, &servers, true);
    assert_eq!(plan.servers, interest([(0, 1), (1, 3)]));
}

prop_compose! {
    fn any_server()(epoch in 1..4_u64, live: bool, announced: Option<bool>) -> Server {
        let announced = announced.map(|current| if current { MARKER } else { Marker(1) });
        Server { epoch: Epoch(epoch), live, serving: live, announced }
    }
}

prop_compose! {
    fn any_table()(servers in proptest::collection::btree_map(0..5_u16, any_server(), 0..5)) -> ServerTable {
        let mut table = ServerTable::default();
        for (id, server) in servers {
            table.observe(ServerId(id), server);
        }
        table
    }
}

/// People with routes; a name may come twice. Connection ids are unique, as they are in a registry.
fn any_people() -> impl Strategy<Value = (Vec<UserId>, Vec<Vec<Route>>)> {
    vec((0..8_u8, vec((0..6_u16, 1..5_u64), 0..4)), 0..10).prop_map(|people| {
        let mut connection = 0;
        let mut people: Vec<(UserId, Vec<Route>)> = people
            .into_iter()
            .map(|(name, routes)| {
                let routes = routes.into_iter().map(|(server, epoch)| {
                    connection += 1;
                    route(connection, server, epoch)
                });
                (user(&format!("u{name}")), routes.collect())
            })
            .collect();
        // One registry gives one answer, also for a name that comes twice.
        let first: BTreeMap<UserId, Vec<Route>> = people.iter().rev().cloned().collect();
        for (name, routes) in &mut people {
            routes.clone_from(&first[name]);
        }
        people.into_iter().unzip()
    })
}

/// The rule by itself: the highest epoch known of a server, and whether that one lives.
fn is_valid(route: &Route, routes: &[Vec<Route>], table: &ServerTable) -> bool {
    let met = routes.iter().flatten().filter(|other| other.server == route.server).map(|other| other.epoch).max();
    match table.get(route.server) {
        Some(known) if Some(known.epoch) >= met => known.live && known.epoch == route.epoch,
        _ => Some(route.epoch) == met,
    }
}

proptest! {
    #[test]
    fn everyone_is_in_a_batch_or_offline_or_unknown((names, routes) in any_people(), table in any_table()) {
        let plan = plan(&names, &routes, MARKER, &table);
        for name in &names {
            let batched = plan.batches.values().any(|batch| batch.users.contains(name));
            let offline = plan.offline.contains(name);
            prop_assert!(batched != offline, "{name}: exactly one of a batch and offline");
            prop_assert!(!plan.unknown.contains(name) || batched, "{name}: who is unknown is looked for");
        }
    }

    #[test]
    fn offline_needs_every_live_server_to_have_announced((names, routes) in any_people(), table in any_table()) {
        let plan = plan(&names, &routes, MARKER, &table);
        if table.live().any(|(_, server)| server.announced != Some(MARKER)) {
            prop_assert!(plan.offline.is_empty());
        }
        prop_assert!(plan.offline.is_empty() || plan.unknown.is_empty());
    }

    #[test]
    fn every_valid_route_is_covered_and_every_other_is_stale((names, routes) in any_people(), table in any_table()) {
        let plan = plan(&names, &routes, MARKER, &table);
        for (name, route) in names.iter().zip(&routes).flat_map(|(name, routes)| routes.iter().map(move |r| (name, r))) {
            let stale = plan.stale.contains(&(name.clone(), route.connection));
            prop_assert_eq!(stale, !is_valid(route, &routes, &table));
            if !stale {
                let batch = &plan.batches[&route.server];
                prop_assert_eq!(batch.epoch, route.epoch);
                prop_assert!(batch.users.contains(name));
            }
        }
    }

    #[test]
    fn no_batch_is_empty_or_doubles_anyone_or_leaves_the_order((names, routes) in any_people(), table in any_table()) {
        let plan = plan(&names, &routes, MARKER, &table);
        let mut seen = HashSet::new();
        let order: Vec<&UserId> = names.iter().filter(|name| seen.insert(*name)).collect();
        let lists = plan.batches.values().map(|batch| &batch.users).chain([&plan.offline, &plan.unknown]);
        for list in lists {
            let expected: Vec<&UserId> = order.iter().copied().filter(|name| list.contains(name)).collect();
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), expected);
        }
        prop_assert!(plan.batches.values().all(|batch| !batch.users.is_empty()));
    }

    #[test]
    fn no_batch_is_made_for_an_epoch_below_the_known_one((names, routes) in any_people(), table in any_table()) {
        let plan = plan(&names, &routes, MARKER, &table);
        for (&id, batch) in &plan.batches {
            prop_assert!(table.get(id).is_none_or(|known| known.epoch <= batch.epoch));
        }
        let newer = |route: &Route| table.get(route.server).is_none_or(|known| known.epoch < route.epoch);
        prop_assert_eq!(plan.refresh, routes.iter().flatten().any(newer));
    }

    #[test]
    fn a_table_never_goes_back_in_epoch(told in vec((0..3_u16, any_server()), 0..20)) {
        let mut table = ServerTable::default();
        for (id, server) in told {
            let before = table.get(ServerId(id)).map(|known| known.epoch);
            table.observe(ServerId(id), server);
            prop_assert!(table.get(ServerId(id)).map(|known| known.epoch) >= before);
        }
    }

    #[test]
    fn every_live_server_that_is_interested_or_silent_is_a_target(
        entries in proptest::collection::btree_map((0..6_u16).prop_map(ServerId), (1..5_u64).prop_map(Epoch), 0..6),
        table in any_table(),
        everyone: bool,
    ) {
        let plan = plan_interest(&entries, MARKER, &table, everyone);
        for (id, server) in table.live() {
            let wanted = everyone || server.announced != Some(MARKER) || entries.get(&id).is_some_and(|&epoch| epoch >= server.epoch);
            prop_assert_eq!(plan.servers.contains_key(&id), wanted);
        }
        for (&id, &epoch) in &plan.servers {
            prop_assert!(table.get(id).is_none_or(|known| known.epoch < epoch || (known.epoch == epoch && known.live)));
        }
    }
}
