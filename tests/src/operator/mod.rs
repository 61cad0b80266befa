//! What surrounds an operator in tests: a cluster with played nodes, gateways in the pods there, a real Kafka that both
//! reach, and a namespace for each test.

mod faults;
mod log;
mod process;
mod standalone;
mod tenant;
pub mod timeline;
mod world;
mod writes;

pub use faults::{Delivery, Fate, Faults, Side};
pub use log::Log;
pub use process::{Operator, RELEASE};
pub use standalone::{Standalone, Used};
pub use tenant::Tenant;
pub use world::World;
pub use writes::{Write, Writes, Written};
