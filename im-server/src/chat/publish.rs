//! What the rules tell the world. Delivery implements it; the rules know neither bus nor sockets.

use im_protocol::close::CloseReason;
use im_protocol::{ConnectionId, ConversationId, DeviceId, ServerFrame, Terminal, TimeMs, UserId};
use im_sdk::router::Recipients;

use crate::store::Committed;

/// Where effects go.
pub trait Publish: Send + Sync + 'static {
    /// Takes what a transaction committed. In the order of the calls, per conversation, it reaches everyone concerned,
    /// even if this process dies: the outbox remembers it.
    fn committed(&self, committed: Committed);

    /// Pushes a frame that is not stored. It may be lost when something fails: what a client needs for good it finds
    /// in a list. Frames with the same `key` keep their order.
    fn transient(&self, to: Recipients, frame: &ServerFrame, key: Option<ConversationId>);

    /// Ends connections of a user, wherever they are.
    fn disconnect(&self, user: UserId, devices: Devices, reason: CloseReason);

    /// A connection of a user ended with pushes since then (Unix milliseconds) that may not have arrived: the offline
    /// path looks at them.
    fn unheard(&self, user: UserId, terminal: Terminal, since: TimeMs);
}

/// Which connections of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// Those of one device.
    One(Terminal, DeviceId),
    /// One connection.
    Connection(ConnectionId),
}
