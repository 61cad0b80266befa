//! How routes stand in Redis: short, because there is one per connection, and readable, for whoever looks.

use im_protocol::{ConnectionId, Epoch, ServerId, UserId};

use crate::registry::Route;

/// `<server> <epoch> <terminal> <since> <device>`.
pub(super) fn encode(route: &Route) -> String {
    let Route { server, epoch, terminal, since, device, .. } = route;
    format!("{server} {epoch} {terminal} {since} {device}")
}

/// `None` for what was not written by a server.
pub(super) fn decode(connection: &str, text: &str) -> Option<Route> {
    let mut parts = text.splitn(5, ' ');
    Some(Route {
        connection: connection.parse().ok()?,
        server: ServerId(parts.next()?.parse().ok()?),
        epoch: Epoch(parts.next()?.parse().ok()?),
        terminal: parts.next()?.parse().ok()?,
        since: parts.next()?.parse().ok()?,
        device: parts.next()?.parse().ok()?,
    })
}

/// A route as the set of its server and epoch names it.
pub(super) fn held(connection: ConnectionId, user: &UserId) -> String {
    format!("{connection} {user}")
}

/// What [`held`] named, the connection as it is written.
pub(super) fn of_held(text: &str) -> Option<(&str, UserId)> {
    let (connection, user) = text.split_once(' ')?;
    Some((connection, user.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use im_protocol::{DeviceId, Terminal};

    use super::*;

    #[test]
    fn a_route_comes_back_as_it_was() {
        let route = Route {
            connection: ConnectionId(0xfeed),
            server: ServerId(499),
            epoch: Epoch(u64::MAX),
            terminal: Terminal::Mini,
            device: DeviceId::parse("phone-1").expect("a device"),
            since: 1_790_000_000_000,
        };
        assert_eq!(decode("000000000000feed", &encode(&route)), Some(route));
        assert_eq!(decode("000000000000feed", "nonsense"), None);
    }

    #[test]
    fn a_held_route_names_its_connection_and_user() {
        let user = UserId::parse("alice").expect("a user");
        let text = held(ConnectionId(7), &user);
        assert_eq!(of_held(&text), Some(("0000000000000007", user)));
    }
}
