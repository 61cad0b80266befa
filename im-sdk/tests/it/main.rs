//! What `im-sdk` promises: the contracts of a registry and a bus, the plan, the router, the sender.

mod contract;
mod given;
mod memory;
mod plan;
mod router;
mod sender;
