//! Server identity: how often an id was taken.

use async_trait::async_trait;
use im_protocol::{Epoch, ServerId, TimeMs};

use super::Result;

/// Server identity.
#[async_trait]
pub trait Servers {
    /// Takes a server id: its epoch goes up by one, and what the older epoch says is void at once.
    async fn take_epoch(&self, server: ServerId, now: TimeMs) -> Result<Epoch>;
}
