//! Group commit: what arrives while a commit is in flight shares the next one.
//!
//! One queue per committer and one committer per hash of a conversation, so that messages of a conversation are
//! committed and published in the order they came in.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use im_protocol::server::Sent;
use im_protocol::{ErrorCode, TimeMs, WireError};
use tokio::sync::mpsc;

use super::{Publish, Result, now_ms};
use crate::store::{Committed, NewMessage, Outcome, Refusal, Store};

/// Messages that may wait for a committer; a sender waits when it is full, and its socket is not read meanwhile.
const QUEUE: usize = 4096;

/// Messages of one transaction at most. On two cores with a PostgreSQL commit, throughput stops growing at about a
/// hundred per batch (design.md §12); SQLite gains a little more.
const BATCH: usize = 200;

/// Called with what became of a message.
pub type Answer = Box<dyn FnOnce(Result<Sent>) + Send>;

/// A message on its way to a commit.
pub(super) struct Job {
    pub(super) message: NewMessage,
    pub(super) answer: Answer,
}

/// The queues.
pub(super) struct Committer {
    hasher: RandomState,
    queues: Vec<mpsc::Sender<Job>>,
}

/// The other ends of the queues.
pub(super) struct CommitTask(mpsc::Receiver<Job>);

/// `count` committers and the tasks to run.
pub(super) fn committers(count: usize) -> (Committer, Vec<CommitTask>) {
    let (queues, tasks) = (0..count.max(1))
        .map(|_| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            (sender, CommitTask(receiver))
        })
        .unzip();
    (Committer { hasher: RandomState::new(), queues }, tasks)
}

impl Committer {
    /// Puts a message in its place. Waits while the queue is full.
    pub(super) async fn submit(&self, job: Job) {
        // The remainder is below the number of queues.
        #[allow(clippy::cast_possible_truncation)]
        let at = (self.hasher.hash_one(&job.message.conversation) % self.queues.len() as u64) as usize;
        if let Err(mpsc::error::SendError(job)) = self.queues[at].send(job).await {
            (job.answer)(Err(WireError::new(ErrorCode::Unavailable, "the server is stopping: connect again")));
        }
    }
}

impl CommitTask {
    /// Commits until the queue is closed.
    pub(super) async fn run(mut self, store: Arc<dyn Store>, publish: Arc<dyn Publish>) {
        let mut jobs = Vec::with_capacity(BATCH);
        while self.0.recv_many(&mut jobs, BATCH).await > 0 {
            let (messages, answers): (Vec<_>, Vec<_>) = jobs
                .drain(..)
                .map(|Job { message, answer }| ((message.client_message_id.clone(), message), answer))
                .unzip();
            let (ids, batch): (Vec<_>, Vec<NewMessage>) = messages.into_iter().unzip();
            let conversations: Vec<_> = batch.iter().map(|message| message.conversation.clone()).collect();
            let started = std::time::Instant::now();
            let size = batch.len();
            let result = store.commit(batch, now_ms()).await;
            metrics::histogram!("im_sql_batch_seconds").record(started.elapsed());
            // Batches are far below 2^52.
            #[allow(clippy::cast_precision_loss)]
            metrics::histogram!("im_sql_batch_messages").record(size as f64);
            match result {
                Err(error) => {
                    let error = WireError::from(error);
                    for answer in answers {
                        answer(Err(error.clone()));
                    }
                }
                Ok((outbox, outcomes)) => {
                    let mut committed = Committed { outbox, ..Committed::default() };
                    let mut results = Vec::with_capacity(size);
                    for ((outcome, conversation), client_message_id) in outcomes.into_iter().zip(conversations).zip(ids)
                    {
                        let sent = |seq, time, duplicate| Sent {
                            id: None,
                            conversation: conversation.clone(),
                            seq,
                            client_message_id: client_message_id.clone(),
                            time,
                            duplicate,
                        };
                        results.push(match outcome {
                            Outcome::Committed(message) => {
                                let sent = sent(message.message.seq, message.message.time, false);
                                committed.messages.push(*message);
                                Ok(sent)
                            }
                            Outcome::Duplicate { seq, time } => Ok(sent(seq, time, true)),
                            Outcome::Reused => Err(reused()),
                            Outcome::Refused(refusal) => Err(refused(refusal, now_ms())),
                            Outcome::Unstorable => Err(unstorable()),
                        });
                    }
                    metrics::counter!("im_messages_committed_total").increment(committed.messages.len() as u64);
                    // Published before it is acked, so that no later batch can overtake it.
                    publish.committed(committed);
                    for (answer, result) in answers.into_iter().zip(results) {
                        answer(result);
                    }
                }
            }
        }
    }
}

/// The id stands for another message.
pub(super) fn reused() -> WireError {
    WireError::new(
        ErrorCode::ClientMessageIdReused,
        "this client_message_id stands for a message with another body: use a fresh random one for each message",
    )
}

/// The database cannot take it.
fn unstorable() -> WireError {
    WireError::new(ErrorCode::Internal, "this message cannot be stored: a fault of the server")
}

/// The fact that stands against a message, as the client is told it.
pub(super) fn refused(refusal: Refusal, now: TimeMs) -> WireError {
    match refusal {
        Refusal::NotFound => WireError::new(ErrorCode::NotFound, "there is no such conversation"),
        Refusal::Dissolved => WireError::new(ErrorCode::GroupDissolved, "the group was dissolved"),
        Refusal::NotAMember => WireError::new(ErrorCode::NotAMember, "you are not a member of this conversation"),
        Refusal::Muted(until) => {
            let seconds = (until - now).max(0) / 1000;
            WireError::new(ErrorCode::Muted, format!("you may not speak here for another {seconds} s"))
        }
        Refusal::GroupMuted => WireError::new(ErrorCode::Muted, "only the owner and admins may speak here now"),
        Refusal::Blocked => WireError::new(ErrorCode::Blocked, "this person has blocked you"),
        Refusal::NotFriends => {
            WireError::new(ErrorCode::NotFriends, "only friends may write to each other: send a friend request first")
        }
        Refusal::UnknownReply => WireError::invalid_field("reply_to", "there is no such message to reply to"),
        Refusal::TooManyConversations => {
            WireError::new(ErrorCode::Conflict, "one of the two has as many conversations as there may be")
        }
    }
}
