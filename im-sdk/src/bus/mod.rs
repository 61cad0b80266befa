//! Records to a server id: one topic per server, in order, at least once.

mod memory;

use std::sync::Arc;

use async_trait::async_trait;
use im_protocol::record::Record;
use im_protocol::{ConversationId, ServerId};

pub use memory::MemoryBus;

/// A record on its way to a server.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To which server's topic.
    pub server: ServerId,
    /// Records of one conversation keep their order; those without go anywhere.
    pub key: Option<ConversationId>,
    /// The record.
    pub record: Arc<Record>,
}

/// What a subscriber finds in its topic.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A record.
    Record(Arc<Record>),
    /// Records are missing here: the topic was cut or made anew, or the subscriber fell behind. Every connection has to
    /// resync.
    Gap,
}

/// The bus.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes records, in order. Returns when every one is acked or has failed; the results are in the order of
    /// `records`. Waits while the bus is full: that is the back pressure of the relay.
    async fn publish(&self, records: Vec<Outgoing>) -> Vec<Result<(), BusError>>;

    /// Reads a server's topic from its end. A later subscriber of the same server takes over: the earlier one's
    /// [`Subscription::next`] ends.
    async fn subscribe(&self, server: ServerId) -> Result<Box<dyn Subscription>, BusError>;
}

/// A server's reading position in its topic.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for at least one delivery and appends up to `max` of those that are there to `into`. False at the end:
    /// the bus is closed, or another subscriber took over.
    async fn next(&mut self, into: &mut Vec<Delivery>, max: usize) -> bool;
}

/// Why a record did not get through.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The server id has no topic.
    #[error("server {0} has no topic: is the server running, and was its topic created?")]
    NoTopic(ServerId),
    /// The bus cannot be reached, or did not ack in time.
    #[error("the bus is out of reach: {0}")]
    Unavailable(String),
}
