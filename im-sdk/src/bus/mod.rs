//! Records to a server id: one topic per server, in order, at least once.

#[cfg(feature = "kafka")]
pub mod kafka;
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

    /// How a server's topic is, without asking anybody; `None` on a bus without topics.
    fn topic(&self, _server: ServerId) -> Option<TopicStatus> {
        None
    }
}

/// How a server's topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// Records that are not read yet, as of the last seconds; `None` if nobody here reads it.
    pub lag: Option<u64>,
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
    /// The record is larger than the bus takes.
    #[error("a record for server {server} is too large for the bus: it takes {largest} bytes at most")]
    TooLarge {
        /// For whom it was.
        server: ServerId,
        /// What would have been possible; a topic may be set to less.
        largest: usize,
    },
    /// The bus does not let us: rights or policies.
    #[error("the bus refuses: {0}")]
    Refused(String),
    /// The bus cannot be reached, or did not ack in time.
    #[error("the bus is out of reach: {0}")]
    Unavailable(String),
}

impl BusError {
    /// Which error it is, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoTopic(_) => "no_topic",
            Self::TooLarge { .. } => "too_large",
            Self::Refused(_) => "refused",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
