//! Short ways to say what a test starts from.

use im_protocol::record::{Audience, Payload, Push, Record};
use im_protocol::server::{ServerFrame, Typing};
use im_protocol::{ConnectionId, ConversationId, Epoch, Frame, ServerId, Terminal, UserId};
use im_sdk::registry::{Marker, Route, Server, ServerTable};

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

pub(crate) fn conversation(name: &str) -> ConversationId {
    name.parse().unwrap()
}

/// A connection on `server`, taken in `epoch`.
pub(crate) fn route(connection: u64, server: u16, epoch: u64) -> Route {
    Route {
        connection: ConnectionId(connection),
        server: ServerId(server),
        epoch: Epoch(epoch),
        terminal: Terminal::Web,
        device: "browser".parse().unwrap(),
        since: 0,
    }
}

/// The registry's, in tests of the plan.
pub(crate) const MARKER: Marker = Marker(7);

/// A server that lives and has announced all it holds.
pub(crate) fn announced(epoch: u64) -> Server {
    Server { epoch: Epoch(epoch), live: true, serving: true, announced: Some(MARKER) }
}

/// A server that lives and has not announced all it holds.
pub(crate) fn silent(epoch: u64) -> Server {
    Server { epoch: Epoch(epoch), live: true, serving: true, announced: None }
}

/// A server whose lease is over.
pub(crate) fn gone(epoch: u64) -> Server {
    Server { epoch: Epoch(epoch), live: false, serving: false, announced: Some(MARKER) }
}

pub(crate) fn table<const N: usize>(servers: [(u16, Server); N]) -> ServerTable {
    let mut table = ServerTable::default();
    for (id, server) in servers {
        table.observe(ServerId(id), server);
    }
    table
}

pub(crate) fn frame() -> Frame {
    Frame::encode(&ServerFrame::Typing(Typing { conversation: conversation("g:1"), user: user("alice") }))
}

/// A record that can be told from others by its epoch.
pub(crate) fn record(number: u64) -> Record {
    let audience = Audience::Room { conversation: conversation("r:1") };
    let push = Push { audience, frame: frame(), about: None };
    Record { epoch: Epoch(number), from: ServerId(0), payload: Payload::Push(push), trace: None }
}
