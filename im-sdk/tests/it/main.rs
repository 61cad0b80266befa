//! What `im-sdk` promises: the contracts of a registry and a bus, the plan, the router, the sender.

mod contract;
mod given;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_away;
mod memory;
mod plan;
mod records;
#[cfg(feature = "redis")]
mod redis;
mod router;
mod sender;
mod wait;
