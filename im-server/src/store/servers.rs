//! Server identity: who holds which server id, and until when.

use async_trait::async_trait;
use im_protocol::{Epoch, ServerId};
use im_sdk::registry::{Marker, Server};

use super::Result;

/// A server id as one process holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The id.
    pub server: ServerId,
    /// How many times it has been taken, with this one.
    pub epoch: Epoch,
}

/// What a holder says of itself when it renews its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// It takes new connections.
    pub serving: bool,
    /// The registry's marker under which all its routes and interests are written.
    pub announced: Option<Marker>,
}

/// A server id and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    /// The id.
    pub id: ServerId,
    /// Its newest epoch, whether its lease runs by the store's own clock, and what the holder last reported.
    pub server: Server,
    /// Where it can be reached: host:port of its management port.
    pub address: String,
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease runs on. All servers there are, by id.
    Held(Vec<ServerRow>),
    /// Another process has taken the id.
    Fenced,
}

/// Server identity. Leases run by the store's clock, so that those of the servers need not agree.
#[async_trait]
pub trait Servers {
    /// Takes a server id for `ttl_ms`: its epoch goes up by one, and what the older epoch says is void at once.
    async fn take_epoch(&self, server: ServerId, address: &str, ttl_ms: i64) -> Result<Epoch>;

    /// Renews a lease for `ttl_ms` from now, also one that has run out, unless another process has taken the id.
    async fn renew(&self, holder: Holder, report: Report, ttl_ms: i64) -> Result<Renewal>;

    /// Ends a lease at once: the holder is about to leave. Nothing happens if another process has taken the id.
    async fn release(&self, holder: Holder) -> Result<()>;

    /// All servers there are, by id.
    async fn servers(&self) -> Result<Vec<ServerRow>>;
}
