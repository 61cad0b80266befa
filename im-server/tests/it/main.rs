//! Tests of the server's parts against their contracts.

mod api;
mod settings;
mod store;
