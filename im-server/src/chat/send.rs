//! Sending: from a checked frame to a place in the committer's queue.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use im_protocol::client::{Send, Target};
use im_protocol::server::Sent;
use im_protocol::{ConversationId, ConversationKind, ErrorCode, UserId, WireError};
use im_sdk::registry::Topic;
use tokio::sync::oneshot;

use super::committer::{self, Answer, Job};
use super::{Caller, Chat, Result, Right, registry_unavailable};
use crate::store::{NewMessage, Outcome};
use crate::telemetry::trace;

/// Whether the one who asks is inside the room that is asked for. Rooms have no stored members: whoever holds the
/// connection knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// The asking connection is inside.
    Yes,
    /// It is not.
    No,
}

/// How fast each user may send.
pub(super) struct Pace(Option<DefaultKeyedRateLimiter<UserId>>);

impl Pace {
    /// At most `per_second` in the long run and `burst` at once; no limit if either is 0.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second)
            .zip(NonZeroU32::new(burst))
            .map(|(per_second, burst)| Quota::per_second(per_second).allow_burst(burst));
        Self(quota.map(RateLimiter::keyed))
    }

    /// Counts one message. The time to wait if it is one too many.
    fn check(&self, user: &UserId) -> std::result::Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(user).map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    /// Forgets users who have not sent for a while.
    pub(super) fn forget_idle(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

impl Chat {
    /// Commits a message and waits for it.
    pub async fn send(&self, caller: &Caller, send: Send) -> Result<Sent> {
        let inside = match &send.target {
            Target::Conversation(room) if room.kind() == ConversationKind::Room => {
                self.inside_anywhere(room, &caller.user).await?
            }
            _ => Inside::No,
        };
        let (answer, committed) = oneshot::channel();
        // The receiver only goes away with the request; the message is committed all the same.
        let answer = Box::new(move |result| drop(answer.send(result)));
        self.submit(caller, send, inside, answer).await;
        let stopping = || WireError::new(ErrorCode::Unavailable, "the server is stopping: try again");
        committed.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Puts a message into the committer's queue; `answer` is called when it is committed or refused. Messages of one
    /// caller are committed in the order of the calls, if each call is awaited before the next.
    pub async fn submit(&self, caller: &Caller, send: Send, inside: Inside, answer: Answer) {
        metrics::counter!("im_sends_total").increment(1);
        let mut span = trace::send();
        match self.check(caller, send, inside).await {
            Ok(Checked::Message(message)) => self.committer.submit(Job::new(*message, answer, span)).await,
            Ok(Checked::Known(sent)) => {
                metrics::counter!("im_answers_total", "result" => "duplicate").increment(1);
                answer(Ok(sent));
            }
            Err(error) => {
                metrics::counter!("im_answers_total", "result" => "refused").increment(1);
                if let Some(span) = &mut span {
                    span.fail(error.code.as_str());
                }
                answer(Err(error));
            }
        }
    }

    async fn check(&self, caller: &Caller, send: Send, inside: Inside) -> Result<Checked> {
        let limits = &self.settings.limits;
        let size = send.body.content.as_str().len();
        if size > limits.content_bytes {
            return Err(WireError {
                field: Some("content".to_owned()),
                ..WireError::new(
                    ErrorCode::TooLarge,
                    format!("content has {size} bytes; at most {} are allowed", limits.content_bytes),
                )
            });
        }
        let conversation = match send.target {
            Target::Conversation(conversation) => conversation,
            Target::User(user) => {
                let peer = self.resolve(&user).await?;
                ConversationId::direct(&caller.user, &peer)
            }
        };
        let message = NewMessage {
            conversation,
            sender: caller.user.clone(),
            client_message_id: send.client_message_id,
            body: send.body,
            friends_only: self.settings.friends_only && caller.right != Right::Service,
            max_conversations: limits.conversations,
        };
        let outside = message.conversation.kind() == ConversationKind::Room
            && inside == Inside::No
            && caller.right != Right::Service;
        let refusal = if outside {
            Some(WireError::new(ErrorCode::NotAMember, "you are not inside this room: join it first"))
        } else if caller.right == Right::Service {
            None
        } else {
            self.pace.check(&caller.user).err().map(|wait| {
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
                WireError::rate_limited("too many messages: slow down", wait)
            })
        };
        match refusal {
            None => Ok(Checked::Message(Box::new(message))),
            // A message that is stored gets its first ack, whatever the rules say now.
            Some(error) => self.known(&message).await?.map(Checked::Known).ok_or(error),
        }
    }

    async fn known(&self, message: &NewMessage) -> Result<Option<Sent>> {
        let NewMessage { conversation, sender, client_message_id, body, .. } = message;
        match self.store.known(conversation, sender, client_message_id, body).await? {
            Some(Outcome::Duplicate { seq, time }) => Ok(Some(Sent {
                id: None,
                conversation: conversation.clone(),
                seq,
                client_message_id: client_message_id.clone(),
                time,
                duplicate: true,
            })),
            Some(Outcome::Reused) => Err(committer::reused()),
            _ => Ok(None),
        }
    }

    /// The id as registered of a user written in whatever case.
    pub(crate) async fn resolve(&self, user: &UserId) -> Result<UserId> {
        let key = user.as_str().to_ascii_lowercase();
        if let Some(known) = self.spelled.get(&key) {
            return Ok(known);
        }
        let registered = self.profile(user).await?.user;
        self.spelled.insert(key, registered.clone());
        Ok(registered)
    }

    /// Whether any connection of a user, on whatever server, is inside a room.
    pub(super) async fn inside_anywhere(&self, room: &ConversationId, user: &UserId) -> Result<Inside> {
        let topic = Topic::Inside(room.clone(), user.clone());
        let interested = self.registry.interested(&[topic]).await.map_err(registry_unavailable)?;
        let table = (self.servers)();
        let inside = interested
            .of
            .into_iter()
            .flatten()
            .any(|(server, epoch)| table.get(server).is_some_and(|server| server.live && server.epoch <= epoch));
        Ok(if inside { Inside::Yes } else { Inside::No })
    }
}

/// What becomes of a message before the store sees it.
enum Checked {
    Message(Box<NewMessage>),
    Known(Sent),
}
