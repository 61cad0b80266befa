//! Tests of the server's parts against their contracts.

mod api;
mod cluster;
mod metrics;
mod provider;
mod push;
mod reads;
mod serve;
mod settings;
mod store;
mod wait;
mod watchers;
