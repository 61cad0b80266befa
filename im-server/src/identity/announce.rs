//! Announcing: the registry has every route and interest of this server, and says so by its marker.
//!
//! A registry that lost its content has another marker. Until this server has written everything again under that one,
//! and the store says so, every record comes here: nothing depends on how long it takes.

use std::sync::Arc;
use std::time::Duration;

use im_protocol::UserId;
use im_sdk::registry::{Marker, RegistryError, Route};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::{Identity, JITTER};
use crate::delivery::Spread;
use crate::hub::{Connection, SharedFrame};

/// Routes written in one round trip.
const BATCH: usize = 500;

/// Between two batches, in milliseconds: 20,000 connections take four seconds, and servers that all do it at once leave
/// the registry room for everybody else.
const PAUSE_MS: std::ops::Range<u64> = 50..150;

/// What has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    /// Nothing.
    Nothing,
    /// What the registry has not taken.
    Unwritten,
    /// All this server holds.
    Everything,
}

/// What has to be written to a registry with this marker, where `written` is the one under which all else is written.
fn todo(written: Option<Marker>, marker: Marker, unwritten: bool) -> Todo {
    match written {
        Some(under) if under == marker && unwritten => Todo::Unwritten,
        Some(under) if under == marker => Todo::Nothing,
        _ => Todo::Everything,
    }
}

impl Identity {
    /// The marker under which the registry has everything; `None` while something is missing.
    pub(super) fn announced(&self) -> Option<Marker> {
        self.written.lock().filter(|_| self.hub.unwritten().is_empty())
    }

    /// The registry may have lost what this server holds, because others took it for dead: at once, and once more when
    /// everyone has loaded the table since. Who has not yet goes on deleting its routes and sending it nothing.
    pub(super) fn write_everything_again(&self) {
        *self.written.lock() = None;
        let slowest = self.timing.renew.mul_f64(JITTER.end) + self.timing.timeout;
        *self.once_more.lock() = Some(Instant::now() + slowest);
        self.forgotten.notify_one();
    }

    /// Waits until everything has to be written once more.
    async fn once_more(&self) {
        let due = *self.once_more.lock();
        match due {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Writes what the registry lacks, as long as the process lives.
    pub(super) async fn keep_announced(self: Arc<Self>) {
        let mut ticks = interval(self.timing.renew);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut met = self.router.marker_met();
        let mut said = self.announced();
        let mut resync = Spread::new();
        loop {
            tokio::select! {
                () = resync.due() => {
                    resync.next().for_each(|connection: Arc<Connection>| connection.send(&SharedFrame::resync()));
                    continue;
                }
                _ = ticks.tick() => {}
                () = self.hub.unwritten().changed() => {}
                () = self.forgotten.notified() => {}
                () = self.once_more() => {
                    *self.once_more.lock() = None;
                    *self.written.lock() = None;
                }
                // The sender is in `self`.
                _ = met.changed() => {}
            }
            self.say(&mut said);
            match self.announce().await {
                // For others they were not there until now: what that cost is theirs to pull.
                Ok(hidden) if !hidden.is_empty() => resync.begin(hidden),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the registry could not be told everything; trying again"),
            }
            self.say(&mut said);
        }
    }

    /// Tells the others at once when what is announced has changed.
    fn say(&self, said: &mut Option<Marker>) {
        let announced = self.announced();
        if announced != *said {
            *said = announced;
            self.report.notify_one();
        }
    }

    /// Writes what has to be written. Returns the connections that others could not know of meanwhile.
    async fn announce(&self) -> Result<Vec<Arc<Connection>>, RegistryError> {
        let marker = self.registry.marker().await?;
        let written = *self.written.lock();
        match todo(written, marker, !self.hub.unwritten().is_empty()) {
            Todo::Nothing => Ok(Vec::new()),
            Todo::Unwritten => {
                let ids = self.hub.unwritten().routes();
                let mut missing = self.hub.all();
                missing.retain(|connection| ids.contains(&connection.id));
                self.write(&missing).await?;
                self.hub.unwritten().settle(&ids);
                Ok(missing)
            }
            Todo::Everything => {
                *self.written.lock() = None;
                self.report.notify_one();
                self.everything(marker).await
            }
        }
    }

    /// Writes all there is. What comes meanwhile writes itself, under the same marker if that is the one in the end.
    async fn everything(&self, marker: Marker) -> Result<Vec<Arc<Connection>>, RegistryError> {
        let server = self.holder.server;
        let ids = self.hub.unwritten().routes();
        let mut connections = self.hub.all();
        // Not in the order of the hub's shards, so that nobody's connections wait for the last batch each time.
        connections.shuffle(&mut rand::rng());
        tracing::info!(%server, connections = connections.len(), "announcing everything to the registry");
        for (n, batch) in connections.chunks(BATCH).enumerate() {
            if n > 0 {
                let pause = rand::rng().random_range(PAUSE_MS);
                sleep(Duration::from_millis(pause)).await;
            }
            self.write(batch).await?;
        }
        self.hub.write_interests_again().await;
        if self.registry.marker().await? != marker {
            // Lost again: the next round begins anew.
            self.forgotten.notify_one();
            return Ok(Vec::new());
        }
        self.hub.unwritten().settle(&ids);
        *self.written.lock() = Some(marker);
        metrics::counter!("im_announcements_total").increment(1);
        tracing::info!(%server, "the registry has everything");
        Ok(connections)
    }

    /// Writes the routes of connections in one round trip, and takes those out again that have ended meanwhile: their
    /// own goodbye may have been first.
    async fn write(&self, connections: &[Arc<Connection>]) -> Result<(), RegistryError> {
        let routes: Vec<(UserId, Route)> =
            connections.iter().map(|connection| (connection.user.clone(), self.hub.route(connection))).collect();
        if !routes.is_empty() {
            self.registry.register_again(&routes).await?;
        }
        for connection in connections.iter().filter(|connection| !self.hub.holds(connection)) {
            self.registry.unregister(&connection.user, connection.id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_under_each_new_marker_and_else_what_is_missing() {
        let (old, new) = (Marker(1), Marker(2));
        assert_eq!(todo(None, new, false), Todo::Everything);
        assert_eq!(todo(Some(old), new, true), Todo::Everything);
        assert_eq!(todo(Some(new), new, true), Todo::Unwritten);
        assert_eq!(todo(Some(new), new, false), Todo::Nothing);
    }
}
