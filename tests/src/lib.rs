//! What the tests across crates are made of: a real server in a process of its own, people with sockets, and a checker of
//! what they saw.
//!
//! The client here is deliberately small and knows nothing of `im-client`: it speaks the protocol as it is written down,
//! so that both sides of a misunderstanding cannot be ours.

pub mod attend;
pub mod client;
pub mod cluster;
pub mod gateway;
pub mod history;
pub mod http;
pub mod load;
pub mod meddler;
pub mod operator;
pub mod proxy;
pub mod server;
pub mod socket;
pub mod stack;
pub mod stage;
pub mod watcher;
pub mod witness;
