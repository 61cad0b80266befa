//! Routes that the registry has not taken. While there are any, this server counts as one that has not announced what
//! it holds, and gets every record.

use std::collections::HashSet;

use im_protocol::ConnectionId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The connections whose routes are not written; at most those there are, and some that have ended meanwhile.
#[derive(Default)]
pub struct Unwritten {
    connections: Mutex<HashSet<ConnectionId>>,
    added: Notify,
}

impl Unwritten {
    /// A route could not be written.
    pub fn add(&self, connection: ConnectionId) {
        self.connections.lock().insert(connection);
        self.added.notify_one();
    }

    /// Waits until one is added, or has been since the last call. For one task.
    pub async fn added(&self) {
        self.added.notified().await;
    }

    /// Whether every route is written.
    pub fn is_empty(&self) -> bool {
        self.connections.lock().is_empty()
    }

    /// Those there are now.
    pub fn all(&self) -> Vec<ConnectionId> {
        self.connections.lock().iter().copied().collect()
    }

    /// These are written, or over.
    pub fn settle(&self, connections: &[ConnectionId]) {
        let mut left = self.connections.lock();
        for connection in connections {
            left.remove(connection);
        }
    }
}
