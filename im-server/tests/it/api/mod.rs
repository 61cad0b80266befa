//! The HTTP API as `docs/protocol.md` describes it.

mod accounts;
mod friends;
mod groups;
pub(crate) mod harness;
mod management;
mod messages;
mod openapi;
mod problems;
mod provided;
mod sessions;
