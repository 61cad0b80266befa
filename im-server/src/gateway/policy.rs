//! The terminal policy: which connections give way to a new one. Pure.

use im_sdk::registry::Route;

/// Who gives way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    /// Connections of other devices of the class: kicked, their sessions end.
    pub(super) kicked: Vec<Route>,
    /// Older connections of the same device: replaced, the session lives on.
    pub(super) replaced: Vec<Route>,
}

/// Decides which of a user's other routes give way to `new`: of the devices of its class the newest `devices` stay, of
/// its own device's connections the newest `connections`.
pub(super) fn evict(new: &Route, others: &[Route], devices: usize, connections: usize) -> Evicted {
    let mut same_class: Vec<&Route> = others.iter().filter(|route| route.terminal == new.terminal).collect();
    same_class.sort_by_key(|route| std::cmp::Reverse((route.since, route.connection)));

    let mut kept = vec![&new.device];
    let mut evicted = Evicted::default();
    let mut own = 1;
    for route in same_class {
        if route.device == new.device {
            own += 1;
            if own > connections {
                evicted.replaced.push(route.clone());
            }
        } else if kept.contains(&&route.device) {
        } else if kept.len() < devices {
            kept.push(&route.device);
        } else {
            evicted.kicked.push(route.clone());
        }
    }
    evicted
}

#[cfg(test)]
mod tests {
    use im_protocol::{ConnectionId, DeviceId, Epoch, ServerId, Terminal};

    use super::*;

    fn route(connection: u64, terminal: Terminal, device: &str) -> Route {
        Route {
            connection: ConnectionId(connection),
            server: ServerId(0),
            epoch: Epoch(1),
            terminal,
            device: DeviceId::parse(device).unwrap(),
            since: i64::try_from(connection).unwrap(),
        }
    }

    #[test]
    fn the_newest_device_of_a_class_wins_and_other_classes_stay() {
        let new = route(9, Terminal::Web, "b");
        let others = [route(1, Terminal::Web, "a"), route(2, Terminal::Mobile, "c"), route(3, Terminal::Web, "a")];
        let evicted = evict(&new, &others, 1, 5);
        let kicked: Vec<_> = evicted.kicked.iter().map(|route| route.connection.0).collect();
        assert_eq!(kicked, [3, 1]);
        assert!(evicted.replaced.is_empty());
    }

    #[test]
    fn a_sixth_connection_of_one_device_ends_its_oldest() {
        let new = route(9, Terminal::Web, "a");
        let others: Vec<_> = (1..=5).map(|n| route(n, Terminal::Web, "a")).collect();
        let evicted = evict(&new, &others, 1, 5);
        assert!(evicted.kicked.is_empty());
        assert_eq!(evicted.replaced, [others[0].clone()]);
    }

    #[test]
    fn two_devices_may_stay_where_the_policy_allows_two() {
        let new = route(9, Terminal::Web, "c");
        let others = [route(1, Terminal::Web, "a"), route(2, Terminal::Web, "b")];
        let evicted = evict(&new, &others, 2, 5);
        assert_eq!(evicted.kicked, [others[0].clone()]);
    }
}
