//! The rules' way to the relay: a bounded queue that never makes a commit wait.

use std::sync::Arc;

use im_protocol::close::CloseReason;
use im_protocol::{ConversationId, Frame, ServerFrame, Terminal, TimeMs, UserId};
use im_sdk::router::{Recipients, Routed};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::outstanding::Outstanding;
use crate::chat::{Devices, Publish};
use crate::store::Committed;

/// Batches and transients that may wait for the relay. What a full queue turns away is in the outbox and published by
/// the sweep; a transient is gone.
const QUEUE: usize = 8192;

/// What a message takes besides its content, roughly: ids, its frame's fields, its recipients.
const MESSAGE_BYTES: usize = 1_024;

/// Something for the relay.
pub(super) enum Job {
    /// What a transaction committed; its outbox row is held.
    Committed(Committed),
    /// A frame that is not stored.
    Transient(Box<Routed>),
    /// Connections to end.
    Disconnect(UserId, Devices, CloseReason),
    /// A connection that ended with pushes since then that may not have arrived.
    Unheard(UserId, Terminal, TimeMs),
}

/// The sending end.
pub struct Publisher {
    jobs: mpsc::Sender<(Instant, Job)>,
    outstanding: Arc<Outstanding>,
}

/// The receiving end: jobs, and since when they wait.
pub struct Queue {
    pub(super) jobs: mpsc::Receiver<(Instant, Job)>,
    pub(super) outstanding: Arc<Outstanding>,
}

/// The queue between the rules and the relay.
pub fn channel() -> (Publisher, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let outstanding = Arc::<Outstanding>::default();
    (Publisher { jobs: sender, outstanding: outstanding.clone() }, Queue { jobs: receiver, outstanding })
}

impl Publisher {
    fn offer(&self, job: Job) -> bool {
        let taken = self.jobs.try_send((Instant::now(), job)).is_ok();
        if !taken {
            metrics::counter!("im_relay_turned_away_total").increment(1);
        }
        taken
    }
}

impl Publish for Publisher {
    fn committed(&self, committed: Committed) {
        let Some(id) = committed.outbox else { return };
        // Held from here on, so that the sweep does not take for forgotten what waits in the queue.
        if !self.outstanding.hold(id, bytes(&committed), Instant::now()) {
            metrics::counter!("im_relay_turned_away_total").increment(1);
        } else if !self.offer(Job::Committed(committed)) {
            self.outstanding.let_go(id);
        }
    }

    fn transient(&self, to: Recipients, frame: &ServerFrame, key: Option<ConversationId>) {
        let routed = Routed { to, frame: Frame::encode(frame), about: None, key, trace: None };
        self.offer(Job::Transient(Box::new(routed)));
    }

    fn disconnect(&self, user: UserId, devices: Devices, reason: CloseReason) {
        self.offer(Job::Disconnect(user, devices, reason));
    }

    fn unheard(&self, user: UserId, terminal: Terminal, since: TimeMs) {
        self.offer(Job::Unheard(user, terminal, since));
    }
}

/// What a commit takes in memory, roughly.
fn bytes(committed: &Committed) -> usize {
    let messages = committed.messages.iter().chain(&committed.changed);
    let messages: usize = messages.map(|one| MESSAGE_BYTES + one.message.content.as_str().len()).sum();
    let removals: usize = committed.removed.iter().map(|removal| removal.users.len() * size_of::<UserId>()).sum();
    messages + removals
}
