//! The `ImCluster` server: gateways that hold client connections, the chat rules, the store, delivery between servers,
//! and the HTTP API.

pub mod api;
pub mod chat;
pub mod config;
pub mod delivery;
pub mod dev;
pub mod gateway;
pub mod hub;
pub mod identity;
pub mod keyring;
pub mod push_command;
pub mod serve;
pub mod server;
pub mod startup;
pub mod store;
pub mod telemetry;
