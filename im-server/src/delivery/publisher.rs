//! The rules' way to the relay: a bounded queue that never makes a commit wait.

use im_protocol::close::CloseReason;
use im_protocol::{ConversationId, Frame, ServerFrame, Terminal, TimeMs, UserId};
use im_sdk::router::{Recipients, Routed};
use tokio::sync::mpsc;

use crate::chat::{Devices, Publish};
use crate::store::Committed;

/// Batches and transients that may wait for the relay. What a full queue turns away is in the outbox and published by
/// the sweep; a transient is gone.
const QUEUE: usize = 8192;

/// Something for the relay.
pub(super) enum Job {
    /// What a transaction committed.
    Committed(Committed),
    /// A frame that is not stored.
    Transient(Box<Routed>),
    /// Connections to end.
    Disconnect(UserId, Devices, CloseReason),
    /// A connection that ended with pushes since then that may not have arrived.
    Unheard(UserId, Terminal, TimeMs),
}

/// The sending end.
pub struct Publisher(mpsc::Sender<Job>);

/// The queue between the rules and the relay.
pub fn channel() -> (Publisher, super::relay::Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Publisher(sender), super::relay::Queue(receiver))
}

impl Publisher {
    fn offer(&self, job: Job) {
        if self.0.try_send(job).is_err() {
            metrics::counter!("im_relay_turned_away_total").increment(1);
        }
    }
}

impl Publish for Publisher {
    fn committed(&self, committed: Committed) {
        if committed.outbox.is_some() {
            self.offer(Job::Committed(committed));
        }
    }

    fn transient(&self, to: Recipients, frame: &ServerFrame, key: Option<ConversationId>) {
        let routed = Routed { to, frame: Frame::encode(frame), about: None, key };
        self.offer(Job::Transient(Box::new(routed)));
    }

    fn disconnect(&self, user: UserId, devices: Devices, reason: CloseReason) {
        self.offer(Job::Disconnect(user, devices, reason));
    }

    fn unheard(&self, user: UserId, terminal: Terminal, since: TimeMs) {
        self.offer(Job::Unheard(user, terminal, since));
    }
}
