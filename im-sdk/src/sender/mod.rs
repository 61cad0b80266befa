//! Sends messages for a backend: commits them over HTTP, so that whoever sends goes through the same rules, the same
//! transaction and the same relay.

mod attempt;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use im_protocol::client::{self, Target};
use im_protocol::message::{Body, Kind};
use im_protocol::server::Sent;
use im_protocol::{ClientMessageId, Content, ConversationId, ErrorCode, GroupId, UserId};
use reqwest::header::HeaderValue;
use reqwest::{Url, redirect};
use tokio::time::Instant;

use attempt::{Attempt, Post};

/// How long one message is tried, unless [`Sender::deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many messages of a list are under way at once, unless [`Sender::concurrency`] says otherwise: enough to share the
/// server's group commits, too few to be a burst.
const CONCURRENCY: usize = 16;
/// Without an answer for this long an attempt has failed.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first failed attempt is random, up to this; each next one up to twice as much as the one before.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// No wait is longer, but for one that the server asks for.
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// A message to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    /// In whose name. Needed with a service token; an access token speaks for its own user.
    pub sender: Option<UserId>,
    /// Where to.
    pub to: Destination,
    /// Its id: the same id is the same message, however often it is sent. Keep it where a crash of the backend must not
    /// send twice.
    pub client_message_id: ClientMessageId,
    /// What it says.
    pub body: Body,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The direct conversation with a user.
    User(UserId),
    /// A group.
    Group(GroupId),
    /// Any conversation.
    Conversation(ConversationId),
    /// Each of these users, one direct message each.
    Users(Vec<UserId>),
}

impl Send {
    /// A message with a fresh random id.
    pub fn new(to: Destination, kind: Kind, content: Content) -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        let body = Body { kind, content, mentions: Vec::new(), mention_all: false, reply_to: None };
        let client_message_id = ClientMessageId::parse(&id).expect("32 hex digits are an id");
        Self { sender: None, to, client_message_id, body }
    }

    /// A text message with a fresh random id.
    pub fn text(to: Destination, text: &str) -> Self {
        Self::new(to, Kind::Text, Content::text(text))
    }

    /// The same message in the name of `sender`.
    #[must_use]
    pub fn from(self, sender: UserId) -> Self {
        Self { sender: Some(sender), ..self }
    }
}

/// Why a message has no ack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The server refused it, and would again: it is not stored.
    #[error("refused with {code}: {detail}")]
    Refused {
        /// The reason.
        code: ErrorCode,
        /// What is wrong, for a developer.
        detail: String,
    },
    /// No attempt was answered in time. The message may be stored or not: sending it again with the same
    /// `client_message_id` finds out and never stores it twice.
    #[error("no ack after {attempts} attempts: {last}")]
    GaveUp {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt came to.
        last: String,
    },
    /// The address does not answer as an `ImCluster` server does.
    #[error("not an answer of an ImCluster server: {0}")]
    Unexpected(String),
}

/// Why a sender cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The address is no `http://` or `https://` address.
    #[error("{0:?} is no http:// or https:// address")]
    Address(String),
    /// The token cannot stand in a header. It is not shown.
    #[error("the token holds characters that an HTTP header cannot")]
    Token,
    /// TLS cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

/// Sends messages to a cluster. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    http: reqwest::Client,
    messages: Url,
    authorization: HeaderValue,
    deadline: Duration,
    concurrency: usize,
}

impl Sender {
    /// A sender for the cluster at `address` (for instance `https://chat.example.org`), with a service token or a user's
    /// access token.
    pub fn new(address: &str, token: &str) -> Result<Self, SetupError> {
        let wrong = || SetupError::Address(address.to_owned());
        let base = Url::parse(address).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(wrong());
        }
        let path = format!("{}/v1/messages", base.path().trim_end_matches('/'));
        let messages = base.join(&path).map_err(|_| wrong())?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| SetupError::Token)?;
        authorization.set_sensitive(true);
        // An error means that the process has chosen a provider before, and then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT_TIMEOUT)
            .tcp_nodelay(true)
            // A token must not follow a redirect to another host.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|e| SetupError::Client(e.to_string()))?;
        Ok(Self { http, messages, authorization, deadline: DEADLINE, concurrency: CONCURRENCY })
    }

    /// How long one message is tried; 30 s if not set.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How many messages of a list are under way at once; 16 if not set.
    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), ..self }
    }

    /// Sends a message and waits until it is committed. One result, or one per user of [`Destination::Users`] in its
    /// order; one that fails does not stop the others.
    ///
    /// What may succeed later (the server is out of reach, busy, or asks to slow down) is tried again with the same
    /// `client_message_id`, so that it is stored once, until the deadline.
    pub async fn send(&self, send: Send) -> Vec<Result<Sent, SendError>> {
        let Send { sender, to, client_message_id, body } = send;
        let targets = match to {
            Destination::User(user) => vec![Target::User(user)],
            Destination::Group(group) => vec![Target::Conversation(ConversationId::group(&group))],
            Destination::Conversation(conversation) => vec![Target::Conversation(conversation)],
            Destination::Users(users) => users.into_iter().map(Target::User).collect(),
        };
        // The id is unique per conversation and sender, so one id does for the whole list.
        let posts = targets.into_iter().map(|target| Post {
            sender: sender.clone(),
            send: client::Send { target, client_message_id: client_message_id.clone(), body: body.clone() },
        });
        stream::iter(posts.map(|post| self.commit(post))).buffered(self.concurrency).collect().await
    }

    async fn commit(&self, post: Post) -> Result<Sent, SendError> {
        let until = Instant::now() + self.deadline;
        let mut most = BACKOFF_FIRST;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let left = until.saturating_duration_since(Instant::now());
            let (last, asked) = match self.attempt(&post, left).await {
                Attempt::Acked(sent) => return Ok(sent),
                Attempt::Failed(error) => return Err(error),
                Attempt::Again { why, after } => (why, after),
            };
            // Random over the whole span, so that backends which failed together do not come back together.
            let pause = most.mul_f64(rand::random::<f64>()) + asked.unwrap_or_default();
            if Instant::now() + pause >= until {
                return Err(SendError::GaveUp { attempts, last });
            }
            tokio::time::sleep(pause).await;
            most = (most * 2).min(BACKOFF_MOST);
        }
    }
}
