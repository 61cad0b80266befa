//! Group commit: what arrives while a commit is in flight shares the next one.
//!
//! One queue per committer and one committer per hash of a conversation, so that messages of a conversation are
//! committed and published in the order they came in, across batches and errors.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::server::Sent;
use im_protocol::{ClientMessageId, ConversationId, ErrorCode, TimeMs, WireError};
use tokio::sync::mpsc;

use super::{Publish, Result, now_ms};
use crate::store::{self, Committed, Messages, NewMessage, OutboxId, Outcome, Refusal, StoreError};
use crate::telemetry::trace::{Part, Span};

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
    submitted: Instant,
    /// Its send, if it is being followed.
    span: Option<Span>,
}

impl Job {
    /// A message that comes now.
    pub(super) fn new(message: NewMessage, answer: Answer, span: Option<Span>) -> Self {
        Self { message, answer, submitted: Instant::now(), span }
    }
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

/// Conversations whose last batch failed, and when. What stood in the queue behind it fails too: committed, it would come
/// before what its sender says again.
#[derive(Default)]
struct Broken(HashMap<ConversationId, Instant>);

/// Two senders may stand in the queue in another order than they came, by less than this.
const OVERTAKING: Duration = Duration::from_secs(1);

impl Broken {
    /// Whether a job stood behind a batch that failed. Jobs are asked for in the order of the queue.
    fn stops(&mut self, job: &Job) -> bool {
        self.0.retain(|_, failed| job.submitted <= *failed + OVERTAKING);
        self.0.get(&job.message.conversation).is_some_and(|failed| job.submitted <= *failed)
    }

    fn add<'a>(&mut self, conversations: impl Iterator<Item = &'a ConversationId>) {
        let now = Instant::now();
        self.0.extend(conversations.map(|conversation| (conversation.clone(), now)));
    }
}

/// Who waits for what becomes of a message.
struct Waiting {
    conversation: ConversationId,
    client_message_id: ClientMessageId,
    answer: Answer,
    span: Option<Span>,
}

impl Waiting {
    /// What the sender is told.
    fn told(&self, outcome: &Outcome) -> Result<Sent> {
        let sent = |seq, time, duplicate| Sent {
            id: None,
            conversation: self.conversation.clone(),
            seq,
            client_message_id: self.client_message_id.clone(),
            time,
            duplicate,
        };
        match outcome {
            Outcome::Committed(message) => Ok(sent(message.message.seq, message.message.time, false)),
            Outcome::Duplicate { seq, time } => Ok(sent(*seq, *time, true)),
            Outcome::Reused => Err(reused()),
            Outcome::Refused(refusal) => Err(refused(*refusal, now_ms())),
            Outcome::Unstorable => Err(unstorable()),
        }
    }
}

impl CommitTask {
    /// Commits until the queue is closed. The store tries a batch for as long as it may, and the queue holds meanwhile.
    pub(super) async fn run<S: Messages + Send + Sync + ?Sized>(mut self, store: Arc<S>, publish: Arc<dyn Publish>) {
        let mut jobs = Vec::with_capacity(BATCH);
        let mut broken = Broken::default();
        while self.0.recv_many(&mut jobs, BATCH).await > 0 {
            let (stopped, rest): (Vec<_>, Vec<_>) = jobs.drain(..).partition(|job| broken.stops(job));
            for job in stopped {
                metrics::counter!("im_answers_total", "result" => "failed").increment(1);
                (job.answer)(Err(failed_before()));
            }
            let (batch, waiting): (Vec<NewMessage>, Vec<Waiting>) = rest
                .into_iter()
                .map(|Job { message, answer, span, .. }| {
                    let conversation = message.conversation.clone();
                    let client_message_id = message.client_message_id.clone();
                    (message, Waiting { conversation, client_message_id, answer, span })
                })
                .unzip();
            if batch.is_empty() {
                continue;
            }
            let followed = follow(&waiting);
            let committed = commit(&*store, batch).await;
            drop(followed);
            match committed {
                Ok((outbox, outcomes)) => settle(waiting, outbox, outcomes, &*publish),
                Err(error) => {
                    if matches!(error, StoreError::Unavailable(_)) {
                        broken.add(waiting.iter().map(|waiting| &waiting.conversation));
                    }
                    let error = WireError::from(error);
                    metrics::counter!("im_answers_total", "result" => "failed").increment(waiting.len() as u64);
                    for mut waiting in waiting {
                        if let Some(span) = &mut waiting.span {
                            span.fail(error.code.as_str());
                        }
                        (waiting.answer)(Err(error.clone()));
                    }
                }
            }
        }
    }
}

/// Commits one batch, and measures it.
async fn commit<S: Messages + ?Sized>(
    store: &S,
    batch: Vec<NewMessage>,
) -> store::Result<(Option<OutboxId>, Vec<Outcome>)> {
    let started = Instant::now();
    // Batches are far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    metrics::histogram!("im_sql_batch_messages").record(batch.len() as f64);
    let result = store.commit(batch, now_ms()).await;
    metrics::histogram!("im_sql_batch_seconds").record(started.elapsed());
    result
}

/// The commit of a batch, linked with those of its sends that are being followed.
fn follow(waiting: &[Waiting]) -> Option<Span> {
    let sends: Vec<_> = waiting.iter().filter_map(|waiting| Some(waiting.span.as_ref()?.context())).collect();
    let mut commit = Span::under(sends.first().map(AsRef::as_ref), "commit", Part::Inside)?;
    commit.note("im.batch.messages", waiting.len() as u64);
    for send in &sends {
        commit.link(send);
    }
    Some(commit)
}

/// Publishes what was committed, and tells everyone what became of their message.
fn settle(waiting: Vec<Waiting>, outbox: Option<OutboxId>, outcomes: Vec<Outcome>, publish: &dyn Publish) {
    let told: Vec<_> = waiting.iter().zip(&outcomes).map(|(waiting, outcome)| waiting.told(outcome)).collect();
    let (mut messages, mut traces) = (Vec::with_capacity(outcomes.len()), Vec::new());
    let mut duplicates = 0;
    let answers = outcomes.len();
    for (outcome, waiting) in outcomes.into_iter().zip(&waiting) {
        match outcome {
            Outcome::Committed(message) => {
                traces.extend(waiting.span.as_ref().map(|span| (messages.len(), span.context())));
                messages.push(*message);
            }
            Outcome::Duplicate { .. } => duplicates += 1,
            Outcome::Reused | Outcome::Refused(_) | Outcome::Unstorable => {}
        }
    }
    for (result, count) in
        [("committed", messages.len()), ("duplicate", duplicates), ("refused", answers - messages.len() - duplicates)]
    {
        metrics::counter!("im_answers_total", "result" => result).increment(count as u64);
    }
    metrics::counter!("im_messages_committed_total").increment(messages.len() as u64);
    // Published before it is acked, so that no later batch can overtake it.
    publish.committed(Committed { outbox, messages, traces, ..Committed::default() });
    for (waiting, told) in waiting.into_iter().zip(told) {
        (waiting.answer)(told);
    }
}

/// The batch before failed, and this message with it.
fn failed_before() -> WireError {
    WireError::new(ErrorCode::Unavailable, "what was sent before it could not be stored: try again, in the same order")
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use im_protocol::close::CloseReason;
    use im_protocol::message::Body;
    use im_protocol::{Content, Kind, Message, Rev, Seq, ServerFrame, Terminal, UserId};
    use im_sdk::router::Recipients;
    use parking_lot::Mutex;
    use tokio::sync::{Notify, oneshot};

    use super::super::Devices;
    use super::*;
    use crate::store::{CommittedMessage, DecideRecall, Page, Recalled, Slice, Stint};

    /// Holds the first batch until it is told to fail it, and commits all others.
    #[derive(Default)]
    struct Faulty {
        entered: Notify,
        fail: Notify,
        failed: AtomicBool,
        committed: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Messages for Faulty {
        async fn commit(
            &self,
            batch: Vec<NewMessage>,
            time: TimeMs,
        ) -> store::Result<(Option<OutboxId>, Vec<Outcome>)> {
            if !self.failed.swap(true, Ordering::Relaxed) {
                self.entered.notify_one();
                self.fail.notified().await;
                return Err(StoreError::Unavailable("down".to_owned()));
            }
            let mut committed = self.committed.lock();
            committed.extend(batch.iter().map(|message| message.client_message_id.to_string()));
            Ok((None, batch.iter().map(|_| Outcome::Duplicate { seq: 1, time }).collect()))
        }

        async fn known(
            &self,
            _: &ConversationId,
            _: &UserId,
            _: &ClientMessageId,
            _: &Body,
        ) -> store::Result<Option<Outcome>> {
            unreachable!("a committer only commits")
        }

        async fn page(&self, _: &ConversationId, _: &[Stint], _: Slice, _: u32, _: usize) -> store::Result<Page> {
            unreachable!("a committer only commits")
        }

        async fn changed(
            &self,
            _: &ConversationId,
            _: &[Stint],
            _: Seq,
            _: Rev,
            _: u32,
        ) -> store::Result<(Vec<Message>, bool)> {
            unreachable!("a committer only commits")
        }

        async fn committed(&self, _: &[(ConversationId, Seq)]) -> store::Result<Vec<CommittedMessage>> {
            unreachable!("a committer only commits")
        }

        async fn recall(
            &self,
            _: &ConversationId,
            _: Seq,
            _: &UserId,
            _: TimeMs,
            _: DecideRecall<'_>,
        ) -> store::Result<Recalled> {
            unreachable!("a committer only commits")
        }
    }

    struct Nowhere;

    impl Publish for Nowhere {
        fn committed(&self, _: Committed) {}
        fn transient(&self, _: Recipients, _: &ServerFrame, _: Option<ConversationId>) {}
        fn disconnect(&self, _: UserId, _: Devices, _: CloseReason) {}
        fn unheard(&self, _: UserId, _: Terminal, _: TimeMs) {}
    }

    async fn send(committer: &Committer, conversation: &str, id: &str) -> oneshot::Receiver<Result<Sent>> {
        let message = NewMessage {
            conversation: ConversationId::parse(conversation).unwrap(),
            sender: UserId::parse("alice").unwrap(),
            client_message_id: ClientMessageId::parse(id).unwrap(),
            body: Body {
                kind: Kind::Text,
                content: Content::text(id),
                mentions: Vec::new(),
                mention_all: false,
                reply_to: None,
            },
            friends_only: false,
            max_conversations: 0,
        };
        let (answer, told) = oneshot::channel();
        committer.submit(Job::new(message, Box::new(move |result| drop(answer.send(result))), None)).await;
        told
    }

    #[tokio::test]
    async fn what_stands_behind_a_failed_batch_in_its_conversations_fails_with_it() {
        let store = Arc::new(Faulty::default());
        let (committer, tasks) = committers(1);
        for task in tasks {
            tokio::spawn(task.run(store.clone(), Arc::new(Nowhere)));
        }
        let first = send(&committer, "g:tea", "1").await;
        store.entered.notified().await;
        let behind = send(&committer, "g:tea", "2").await;
        let elsewhere = send(&committer, "g:coffee", "3").await;
        store.fail.notify_one();
        for failed in [first, behind] {
            assert_eq!(failed.await.unwrap().unwrap_err().code, ErrorCode::Unavailable);
        }
        elsewhere.await.unwrap().unwrap();
        // Said again, they are committed, in order.
        let again = [send(&committer, "g:tea", "1").await, send(&committer, "g:tea", "2").await];
        for told in again {
            told.await.unwrap().unwrap();
        }
        assert_eq!(*store.committed.lock(), ["3", "1", "2"]);
    }
}
