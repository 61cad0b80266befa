//! Servers that died: who was connected to one and does not come back may have missed something.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::{Epoch, ServerId, TimeMs};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Push;
use crate::chat::now_ms;
use crate::identity::{Death, LEASE_TTL};
use crate::store::{Holder, NewWork, PushItem};

/// Clients come back by themselves; those that have not after this long are told by push: milliseconds.
const BACK_WITHIN_MS: TimeMs = 60_000;

/// A death is noticed so long after it at the most, a renewal that was missed included: milliseconds.
// Far below the range.
#[allow(clippy::cast_possible_truncation)]
const NOTICED_WITHIN_MS: TimeMs = 2 * LEASE_TTL.as_millis() as TimeMs;

/// Before a database that is out of reach is asked again.
const RETRY: Duration = Duration::from_secs(1);

impl Push {
    /// Leaves work for every epoch that ends, and for the one before this process's own: where there is no other server
    /// nobody else notices its end.
    pub(super) async fn mourn(self: Arc<Self>, own: Holder, mut deaths: Receiver<Death>) {
        if own.epoch > Epoch(1) {
            self.bury(own.server, Epoch(own.epoch.0 - 1), now_ms()).await;
        }
        loop {
            match deaths.recv().await {
                Ok(Death { server, epoch, noticed, ours: true }) => self.bury(server, epoch, noticed).await,
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "servers died faster than could be noted"),
                // The server is about to end.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    async fn bury(&self, server: ServerId, epoch: Epoch, noticed: TimeMs) {
        let item = PushItem::Server(server, epoch);
        let work = [NewWork { item, time: noticed - NOTICED_WITHIN_MS, due: noticed + BACK_WITHIN_MS }];
        while let Err(error) = self.store.add_push_work(&work).await {
            tracing::warn!(%error, %server, "the users of a dead server wait for the database");
            tokio::time::sleep(RETRY).await;
        }
    }
}
