//! The connections to the API server.

mod call;
mod watched;

pub use call::{Call, Verb};
pub use watched::{CALL_LIMIT, Watched};

use kube::client::ClientBuilder;
use kube::{Client, Config};

use crate::leader::task::REQUEST;

/// The client for everything but the lease: counted, and every call but a watch answered within [`CALL_LIMIT`], with the retries
/// that an overloaded API server asks for.
pub fn for_work(config: Config) -> Result<Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&Watched).build())
}

/// The client for the lease: a connection of its own, so that nothing else holds it up, and no attempt is made twice.
pub fn for_lease(mut config: Config) -> Result<Client, kube::Error> {
    config.default_retry = false;
    config.connect_timeout = Some(REQUEST);
    config.write_timeout = Some(REQUEST);
    config.read_timeout = Some(REQUEST);
    // Else the time that a pooled connection was idle counts.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?.with_layer(&Watched).build())
}
