//! What the registry has not taken. While there is anything, this server counts as one that has not announced what it
//! holds, and gets every record.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use im_protocol::ConnectionId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections whose routes are not written, at most those there are and some that have ended meanwhile; and
/// whether interests are missing.
#[derive(Default)]
pub struct Unwritten {
    routes: Mutex<HashSet<ConnectionId>>,
    interests: AtomicBool,
    changed: Notify,
}

impl Unwritten {
    /// A route could not be written.
    pub fn add(&self, connection: ConnectionId) {
        self.routes.lock().insert(connection);
        self.changed.notify_one();
    }

    /// Whether there are interests that could not be written.
    pub fn interests(&self, missing: bool) {
        if self.interests.swap(missing, Ordering::SeqCst) != missing {
            self.changed.notify_one();
        }
    }

    /// Waits for a change, or one since the last call. For one task.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        !self.interests.load(Ordering::SeqCst) && self.routes.lock().is_empty()
    }

    /// The connections whose routes are not written.
    pub fn routes(&self) -> HashSet<ConnectionId> {
        self.routes.lock().clone()
    }

    /// The routes of these are written, or over.
    pub fn settle(&self, connections: &HashSet<ConnectionId>) {
        self.routes.lock().retain(|connection| !connections.contains(connection));
    }
}
