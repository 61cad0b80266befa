//! Keeps a device connected and up to date: one task that owns everything a device knows.
//!
//! It never waits for an answer while pushes arrive, or the answer could be stuck behind them: requests run beside it
//! and come back as [`Done`].

mod incoming;
mod link;
mod list;
mod outgoing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::client::{Auth, SyncItem};
use im_protocol::close::CloseReason;
use im_protocol::server::{Conversations, Sent};
use im_protocol::{ClientFrame, ConversationId, Seq, ServerFrame, UserId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::backoff::{reconnect_after, spread};
use crate::client::Config;
use crate::connection::{Connection, Push, RequestError};
use crate::events::{Event, EventSink, Stopped};
use crate::outbox::{Outbox, Reply, SendError};
use crate::session::Session;
use crate::store::{LocalStore, StoreError, Unsent};
use crate::timelines::Timelines;

use link::{End, after_refusal};
use list::Listing;

pub(crate) use link::{Link, Refusal, establish};

/// Everything is asked for again this often, whatever was pushed.
const REFRESH: Duration = Duration::from_mins(5);
/// A connection that ended sooner counts as a failure: a server that lets clients in and out again is not to be rushed.
const STABLE: Duration = Duration::from_secs(10);
/// A token that could not be renewed is tried again after this time.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// What the application wants.
pub(crate) enum Command {
    Send(Box<Unsent>, Reply),
    /// I am in this room, also after the next reconnect.
    Entered(ConversationId),
    /// I am not any more.
    Left(ConversationId),
    /// Ask for what changed.
    Refresh,
}

/// A request that ran beside the task is done.
enum Done {
    Sent(Box<Unsent>, Result<Sent, RequestError>),
    Pulled(Vec<SyncItem>, Result<Vec<ServerFrame>, RequestError>),
    Listed(Result<Conversations, RequestError>),
    Renewed(Result<(), Refusal>),
    Rejoined(ConversationId, Result<(), RequestError>),
}

pub(crate) struct Supervisor {
    config: Config,
    me: UserId,
    session: Arc<Session>,
    store: Arc<dyn LocalStore>,
    events: EventSink,
    commands: mpsc::Receiver<Command>,
    online: watch::Sender<Option<Connection>>,
    since: Option<String>,
    timelines: Timelines,
    outbox: Outbox,
    rooms: HashSet<ConversationId>,
    /// Set while a listing is under way; another one waits in `list_again`.
    listing: Option<Listing>,
    list_again: bool,
    /// What to keep as `since` once everything it stands for was pulled.
    listed: Option<String>,
    pulling: bool,
    acks: HashMap<ConversationId, Seq>,
    ack_at: Option<Instant>,
    /// Rate limited: nothing is sent before.
    send_at: Option<Instant>,
    send_failures: u32,
    running: JoinSet<Done>,
}

impl Supervisor {
    #[allow(clippy::too_many_arguments, reason = "the parts of one thing, put together in one place")]
    pub(crate) async fn new(
        config: Config,
        me: UserId,
        session: Arc<Session>,
        store: Arc<dyn LocalStore>,
        since: Option<String>,
        events: EventSink,
        commands: mpsc::Receiver<Command>,
        online: watch::Sender<Option<Connection>>,
    ) -> Result<Self, StoreError> {
        let timelines = Timelines::restore(store.positions().await?);
        let mut outbox = Outbox::default();
        for unsent in store.unsent().await? {
            outbox.push(unsent, None);
        }
        Ok(Self {
            config,
            me,
            session,
            store,
            events,
            commands,
            online,
            since,
            timelines,
            outbox,
            rooms: HashSet::new(),
            listing: None,
            list_again: false,
            listed: None,
            pulling: false,
            acks: HashMap::new(),
            ack_at: None,
            send_at: None,
            send_failures: 0,
            running: JoinSet::new(),
        })
    }

    /// Runs until the application lets go of the client, or the server does.
    pub(crate) async fn run(mut self, first: Link) {
        let mut link = Some(first);
        let mut attempt = 0;
        let why = loop {
            let end = match link.take() {
                Some(link) => {
                    let since = Instant::now();
                    let end = self.serve(link).await.unwrap_or_else(|error| End::Stop(error.into()));
                    self.disconnected();
                    if since.elapsed() >= STABLE {
                        attempt = 0;
                    }
                    end
                }
                None => match self.reconnect().await {
                    Ok(Some(established)) => {
                        link = Some(established);
                        continue;
                    }
                    Ok(None) => End::Stop(Stopped::Closed),
                    Err(Ok(refusal)) => after_refusal(refusal),
                    Err(Err(error)) => End::Stop(error.into()),
                },
            };
            let asked = match end {
                End::Stop(why) => break why,
                End::Again(asked) => asked,
            };
            let wait = reconnect_after(asked, attempt, rand::random());
            attempt += 1;
            self.events.emit(Event::Offline(wait));
            match self.pause(wait).await {
                Ok(true) => {}
                Ok(false) => break Stopped::Closed,
                Err(error) => break error.into(),
            }
        };
        self.online.send_replace(None);
        drop(self.outbox);
        self.events.stopped(why).await;
    }

    /// Waits, taking commands meanwhile. False: the application let go.
    async fn pause(&mut self, wait: Duration) -> Result<bool, StoreError> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(true),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command).await?,
                    None => return Ok(false),
                },
            }
        }
    }

    /// One try to connect, taking commands meanwhile. `None`: the application let go.
    async fn reconnect(&mut self) -> Result<Option<Link>, Result<Refusal, StoreError>> {
        let (config, session, since) = (self.config.clone(), self.session.clone(), self.since.clone());
        let establishing = establish(&config, &session, since);
        tokio::pin!(establishing);
        loop {
            tokio::select! {
                link = &mut establishing => return link.map(Some).map_err(Ok),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command).await.map_err(Err)?,
                    None => return Ok(None),
                },
            }
        }
    }

    fn disconnected(&mut self) {
        self.online.send_replace(None);
        self.running = JoinSet::new();
        self.outbox.disconnected();
        (self.listing, self.list_again, self.listed) = (None, false, None);
        self.pulling = false;
    }

    /// The life of one connection.
    async fn serve(&mut self, link: Link) -> Result<End, StoreError> {
        let Link { connection, mut pushes, welcome } = link;
        let heartbeat = Duration::from_millis(welcome.heartbeat_ms.max(1_000));
        self.online.send_replace(Some(connection.clone()));
        self.welcomed(&connection, *welcome).await?;
        // A little more often than asked: the network takes its time as well.
        let mut beat = tokio::time::interval_at((Instant::now() + heartbeat * 4 / 5).into(), heartbeat * 4 / 5);
        let mut renew_at = Instant::now() + self.session.renew_in();
        let mut refresh_at = Instant::now() + spread(REFRESH, rand::random());
        let mut asked_back = None;
        loop {
            self.send(&connection);
            self.pull(&connection);
            self.keep_since().await?;
            let next = [self.timelines.next_due().filter(|_| !self.pulling), self.ack_at, self.send_at];
            let next = next.into_iter().flatten().chain([renew_at, refresh_at]).min().unwrap_or(refresh_at);
            tokio::select! {
                push = pushes.next() => match push {
                    Push::Frame(ServerFrame::GoAway(goaway)) => asked_back = Some(goaway.reconnect_after_ms),
                    Push::Frame(ServerFrame::Kicked(kicked)) => return Ok(End::Stop(Stopped::Kicked(kicked.reason))),
                    Push::Frame(frame) => self.pushed(&connection, frame).await?,
                    Push::Closed(reason) => return Ok(self.closed(reason, asked_back)),
                },
                Some(done) = self.running.join_next() => match done {
                    Ok(Done::Renewed(result)) => match result {
                        Ok(()) => renew_at = Instant::now() + self.session.renew_in(),
                        Err(refusal) => match after_refusal(refusal) {
                            End::Stop(why) => return Ok(End::Stop(why)),
                            End::Again(_) => renew_at = Instant::now() + RENEW_AGAIN,
                        },
                    },
                    Ok(done) => self.done(&connection, done).await?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                command = self.commands.recv() => match command {
                    Some(Command::Refresh) => self.list(&connection),
                    Some(command) => self.command(command).await?,
                    None => return Ok(End::Stop(Stopped::Closed)),
                },
                _ = beat.tick() => {
                    if connection.heard().elapsed() > heartbeat * 2 {
                        // Half open: the other side is gone and nobody said so.
                        return Ok(End::Again(None));
                    }
                    connection.tell(ClientFrame::Ping);
                },
                () = sleep_until(next.into()) => {
                    let now = Instant::now();
                    if now >= renew_at {
                        // Until the answer; a lost one is tried again.
                        renew_at = now + 6 * RENEW_AGAIN;
                        self.renew(&connection);
                    }
                    if now >= refresh_at {
                        refresh_at = now + spread(REFRESH, rand::random());
                        self.list(&connection);
                    }
                    if self.ack_at.is_some_and(|at| now >= at) {
                        self.acknowledge(&connection, now);
                    }
                    self.send_at = self.send_at.filter(|at| now < *at);
                },
            }
        }
    }

    fn closed(&self, reason: Option<CloseReason>, asked_back: Option<u64>) -> End {
        match reason {
            Some(CloseReason::Kicked) => End::Stop(Stopped::Kicked("another_device".to_owned())),
            Some(CloseReason::Replaced) => End::Stop(Stopped::Replaced),
            Some(CloseReason::Unauthorized) => {
                // Perhaps only the access token is over: the refresh token tells.
                self.session.expire();
                End::Again(None)
            }
            _ => End::Again(asked_back),
        }
    }

    fn renew(&mut self, connection: &Connection) {
        let (session, connection) = (self.session.clone(), connection.clone());
        self.running.spawn(async move {
            let renewing = async {
                let token = session.access_token().await?;
                connection.ask(ClientFrame::Auth(Auth { token })).await?;
                Ok(())
            };
            Done::Renewed(renewing.await)
        });
    }

    async fn done(&mut self, connection: &Connection, done: Done) -> Result<(), StoreError> {
        match done {
            Done::Sent(unsent, result) => self.sent(&unsent, result).await,
            Done::Pulled(items, answers) => self.pulled(items, answers).await,
            Done::Listed(Ok(page)) => self.listed_page(connection, page).await,
            Done::Listed(Err(error)) => {
                tracing::debug!(%error, "the list could not be read; the next refresh tries again");
                self.listing = None;
                Ok(())
            }
            Done::Rejoined(conversation, Ok(())) => {
                self.entered(&conversation);
                Ok(())
            }
            Done::Rejoined(conversation, Err(RequestError::Refused(_))) => {
                self.rooms.remove(&conversation);
                self.forget(&conversation).await
            }
            // The renewal is the connection's own business, and a lost connection rejoins by itself.
            Done::Rejoined(..) | Done::Renewed(_) => Ok(()),
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Send(_, reply) if self.outbox.is_full() => drop(reply.send(Err(SendError::Full))),
            Command::Send(unsent, reply) => match self.store.put_unsent(&unsent).await {
                Ok(()) => self.outbox.push(*unsent, Some(reply)),
                // Nothing is lost yet: who wrote it is told.
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Command::Entered(conversation) => {
                self.entered(&conversation);
                self.rooms.insert(conversation);
            }
            Command::Left(conversation) => {
                self.rooms.remove(&conversation);
                self.forget(&conversation).await?;
            }
            // The next welcome tells what changed.
            Command::Refresh => {}
        }
        Ok(())
    }
}
