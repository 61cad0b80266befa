//! Tests of the server's parts against their contracts.

mod api;
mod cluster;
mod settings;
mod store;
