//! From commit to connections: the relay publishes what was committed, one record per server; the consumer takes a
//! server's records off the bus and hands them to its hub.

mod begun;
mod consume;
mod frames;
mod members;
mod outstanding;
mod publisher;
pub mod push;
mod relay;
mod spread;
mod sweep;

pub use begun::look_again;
pub use consume::{Ended, consume};
pub use publisher::{Publisher, Queue, channel};
pub use relay::{Relay, RelayConfig, RelayParts};
pub(crate) use spread::Spread;
