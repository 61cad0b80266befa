//! Tests of the server's parts against their contracts.

mod api;
mod cluster;
mod push;
mod reads;
mod settings;
mod store;
mod watchers;
