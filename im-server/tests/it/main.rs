//! Tests of the server's parts against their contracts.

mod api;
mod cluster;
mod push;
mod settings;
mod store;
