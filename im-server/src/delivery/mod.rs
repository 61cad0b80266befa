//! From commit to connections: the relay publishes what was committed, one record per server; the consumer takes a
//! server's records off the bus and hands them to its hub.

mod consume;
mod frames;
mod members;
mod publisher;
pub mod push;
mod relay;
mod spread;

pub use consume::{Ended, consume};
pub use publisher::{Publisher, channel};
pub use relay::{Relay, RelayConfig};
