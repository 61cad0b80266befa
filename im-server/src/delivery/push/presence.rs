//! Where users are, as far as a push is concerned. Unknown is not offline.

use im_protocol::{Terminal, UserId};
use im_sdk::registry::{Routes, ServerTable};
use im_sdk::routing::plan;

/// What is known of where a user is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// The classes of the connections that are known.
    pub(super) terminals: Vec<Terminal>,
    /// There are no others: the registry answered, and every live server has announced all it holds.
    pub(super) sure: bool,
}

/// What is known of users, in their order. `routes` is what the registry answered, if it did.
pub(super) fn presences(users: &[UserId], routes: Option<&Routes>, table: &ServerTable) -> Vec<Presence> {
    let Some(routes) = routes else { return vec![Presence::default(); users.len()] };
    let plan = plan(users, &routes.of, routes.marker, table);
    let sure = !plan.refresh && table.live().all(|(_, server)| server.announced == Some(routes.marker));
    let stale: std::collections::HashSet<_> = plan.stale.into_iter().collect();
    let of = users.iter().zip(&routes.of);
    of.map(|(user, routes)| {
        let live = routes.iter().filter(|route| !stale.contains(&(user.clone(), route.connection)));
        Presence { terminals: live.map(|route| route.terminal).collect(), sure }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use im_protocol::{ConnectionId, DeviceId, Epoch, ServerId};
    use im_sdk::registry::{Marker, Route, Server};

    use super::*;

    const NOW: Marker = Marker(7);

    fn route(server: u16, epoch: u64, terminal: Terminal) -> Route {
        Route {
            connection: ConnectionId(u64::from(server) * 100 + epoch),
            server: ServerId(server),
            epoch: Epoch(epoch),
            terminal,
            device: DeviceId::parse("d").unwrap(),
            since: 0,
        }
    }

    fn table(servers: &[(u16, u64, bool, Option<Marker>)]) -> ServerTable {
        let mut table = ServerTable::default();
        for &(id, epoch, live, announced) in servers {
            table.observe(ServerId(id), Server { epoch: Epoch(epoch), live, serving: true, announced });
        }
        table
    }

    fn of(routes: Vec<Route>, table: &ServerTable) -> Presence {
        let users = [UserId::parse("bob").unwrap()];
        presences(&users, Some(&Routes { marker: NOW, of: vec![routes] }), table).pop().unwrap()
    }

    #[test]
    fn nothing_is_sure_without_the_registry_or_with_a_live_server_that_has_not_announced() {
        let all = table(&[(0, 1, true, Some(NOW)), (1, 1, true, Some(NOW))]);
        assert!(of(vec![], &all).sure);
        assert!(!of(vec![], &table(&[(0, 1, true, Some(NOW)), (1, 1, true, None)])).sure);
        assert!(!of(vec![], &table(&[(0, 1, true, Some(Marker(6)))])).sure);
        assert!(of(vec![], &table(&[(0, 1, true, Some(NOW)), (1, 1, false, None)])).sure, "the dead say nothing");
        let users = [UserId::parse("bob").unwrap()];
        assert_eq!(presences(&users, None, &all), [Presence::default()]);
    }

    #[test]
    fn routes_of_the_dead_do_not_count_and_those_of_an_unknown_epoch_make_unsure() {
        let all = table(&[(0, 2, true, Some(NOW)), (1, 1, false, Some(NOW))]);
        let routes = vec![route(0, 1, Terminal::Mobile), route(1, 1, Terminal::Mobile), route(0, 2, Terminal::Web)];
        assert_eq!(of(routes, &all), Presence { terminals: vec![Terminal::Web], sure: true });
        let newer = of(vec![route(0, 3, Terminal::Mobile)], &all);
        assert_eq!(newer, Presence { terminals: vec![Terminal::Mobile], sure: false });
    }
}
