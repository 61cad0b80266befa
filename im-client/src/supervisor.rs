//! Keeps a device connected and up to date: one task that owns everything a device knows.
//!
//! It never waits for an answer while pushes arrive, or the answer could be stuck behind them: requests run beside it
//! and come back as [`Done`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::client::{Auth, Hello, Mark, Room, Send, Sync, SyncItem, Target};
use im_protocol::close::CloseReason;
use im_protocol::limits::{LIST_MAX, PROTOCOL, SYNC_ITEMS};
use im_protocol::server::{self, ConversationItem, Conversations, Sent, Welcome};
use im_protocol::{
    ClientFrame, ConversationId, ConversationKind, ErrorCode, Message, Seq, ServerFrame, UserId, client,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::backoff::{full_jitter, reconnect_after, spread};
use crate::client::Config;
use crate::connection::{Connection, Push, Pushes, RequestError};
use crate::cursor::{Position, Step};
use crate::events::{Event, EventSink, Stopped};
use crate::http::HttpError;
use crate::outbox::{Outbox, Reply, SendError};
use crate::session::Session;
use crate::store::{LocalStore, StoreError, Unsent};
use crate::timelines::{Timelines, beginning};
use crate::transport::TransportError;

/// Everything is asked for again this often, whatever was pushed.
const REFRESH: Duration = Duration::from_mins(5);
/// Deliveries are told this long after they happened, all of a conversation at once.
const ACK: Duration = Duration::from_millis(500);
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

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A connection after `welcome`.
pub(crate) struct Link {
    connection: Connection,
    pushes: Pushes,
    pub(crate) welcome: Box<Welcome>,
}

/// How a connection ended.
enum End {
    Stop(Stopped),
    /// Connect again, when the server asked for it or by back-off.
    Again(Option<u64>),
}

/// A listing under way.
#[derive(Default)]
struct Listing {
    /// Of a listing of everything: what it named.
    all: Option<HashSet<ConversationId>>,
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

/// Connects and says hello. A token the server does not take is renewed once.
pub(crate) async fn establish(config: &Config, session: &Session, since: Option<String>) -> Result<Link, Refusal> {
    let mut renewed = false;
    loop {
        let token = session.access_token().await?;
        let (connection, pushes) = Connection::open(session.http().base(), &config.endpoint).await?;
        let hello = Hello {
            protocol: Some(PROTOCOL),
            token: token.clone(),
            terminal: config.who.terminal,
            device: config.who.device.clone(),
            since: since.clone(),
        };
        match connection.ask(ClientFrame::Hello(hello)).await {
            Ok(ServerFrame::Welcome(welcome)) => return Ok(Link { connection, pushes, welcome }),
            Ok(_) => return Err(RequestError::Answer.into()),
            Err(RequestError::Refused(error)) if !renewed && is_about_the_token(error.code) => {
                session.refused(&token);
                renewed = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_about_the_token(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unauthorized | ErrorCode::TokenExpired)
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
                    attempt = 0;
                    let end = self.serve(link).await.unwrap_or_else(|error| End::Stop(error.into()));
                    self.disconnected();
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
        let mut beat = tokio::time::interval(heartbeat * 4 / 5);
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

    async fn welcomed(&mut self, connection: &Connection, mut welcome: Welcome) -> Result<(), StoreError> {
        let changes = welcome.changes.take();
        let since = welcome.since.clone();
        self.events.emit(Event::Online(Box::new(welcome)));
        for conversation in &self.rooms {
            let (connection, conversation) = (connection.clone(), conversation.clone());
            self.running.spawn(async move {
                let join = ClientFrame::Join(Room { conversation: conversation.clone() });
                Done::Rejoined(conversation, connection.ask(join).await.map(drop))
            });
        }
        let Some(server::Changes { items, next, reset }) = changes else {
            self.list(connection);
            return Ok(());
        };
        self.listing = Some(Listing::default());
        self.listed_page(connection, Conversations { id: None, items, next, since, reset }).await
    }

    /// Asks for what changed; for everything, if nothing is known.
    fn list(&mut self, connection: &Connection) {
        if self.listing.is_some() {
            self.list_again = true;
            return;
        }
        self.listing = Some(Listing { all: self.since.is_none().then(HashSet::new) });
        self.list_page(connection, None, self.since.clone());
    }

    fn list_page(&mut self, connection: &Connection, cursor: Option<String>, since: Option<String>) {
        let connection = connection.clone();
        let ask = ClientFrame::Conversations(client::Conversations { cursor, since, limit: LIST_MAX });
        self.running.spawn(async move {
            Done::Listed(match connection.ask(ask).await {
                Ok(ServerFrame::Conversations(page)) => Ok(page),
                Ok(_) => Err(RequestError::Answer),
                Err(error) => Err(error),
            })
        });
    }

    async fn listed_page(&mut self, connection: &Connection, page: Conversations) -> Result<(), StoreError> {
        let now = Instant::now();
        if page.reset {
            // The token was too old: what is missing in the whole list is gone.
            self.since = None;
            self.listing = None;
            self.list(connection);
            return Ok(());
        }
        for item in page.items {
            if let Some(all) = self.listing.as_mut().and_then(|listing| listing.all.as_mut()) {
                all.insert(item.conversation().clone());
            }
            match &item {
                ConversationItem::Present(view) => {
                    let known = Position { seq: 0, rev: view.rev, incarnation: view.incarnation };
                    let start = beginning(view.head, self.config.initial_history, known);
                    let cursor = self.timelines.cursor(&view.conversation, start);
                    let step = cursor.is_of(view.incarnation);
                    cursor.heard(view.head, view.rev);
                    self.step(&view.conversation, step).await?;
                    self.timelines.touched(&view.conversation, now, true);
                }
                ConversationItem::Removed(tombstone) => self.forget(&tombstone.conversation).await?,
            }
            self.events.emit(Event::Conversation(Box::new(item)));
        }
        if page.next.is_some() {
            self.list_page(connection, page.next, None);
            return Ok(());
        }
        if let Some(all) = self.listing.take().and_then(|listing| listing.all) {
            let gone = |id: &&ConversationId| id.kind() != ConversationKind::Room && !all.contains(*id);
            let gone: Vec<_> = self.timelines.ids().filter(gone).cloned().collect();
            for conversation in gone {
                self.forget(&conversation).await?;
            }
        }
        self.listed = Some(page.since);
        if std::mem::take(&mut self.list_again) {
            self.list(connection);
        }
        Ok(())
    }

    async fn forget(&mut self, conversation: &ConversationId) -> Result<(), StoreError> {
        self.timelines.forget(conversation);
        self.acks.remove(conversation);
        self.store.forget(conversation).await
    }

    /// The token is kept once everything it stands for is.
    async fn keep_since(&mut self) -> Result<(), StoreError> {
        if self.listing.is_some() || self.pulling || !self.timelines.complete() {
            return Ok(());
        }
        let Some(since) = self.listed.take() else { return Ok(()) };
        self.store.set_since(&since).await?;
        self.since = Some(since);
        Ok(())
    }

    async fn pushed(&mut self, connection: &Connection, frame: ServerFrame) -> Result<(), StoreError> {
        match frame {
            ServerFrame::Message(message) => self.arrived(*message).await?,
            ServerFrame::Event(server::Event::MessageChanged { conversation, rev, message, .. }) => {
                if let Some(cursor) = self.timelines.known(&conversation) {
                    let step = cursor.change(rev, *message);
                    self.step(&conversation, step).await?;
                    self.timelines.touched(&conversation, Instant::now(), false);
                }
            }
            ServerFrame::Event(event) => {
                if let server::Event::ConversationRemoved { conversation, .. } = &event {
                    self.forget(conversation).await?;
                } else if let server::Event::ConversationChanged { .. } = &event {
                    self.list(connection);
                }
                self.events.emit(Event::Hint(Box::new(event)));
            }
            ServerFrame::Resync(resync) => match resync.conversation {
                Some(conversation) => {
                    let head = resync.head.unwrap_or(0);
                    let start = beginning(head, self.config.initial_history, Position::default());
                    self.timelines.cursor(&conversation, start).heard(head, resync.rev.unwrap_or(0));
                    self.timelines.touched(&conversation, Instant::now(), true);
                }
                None => self.list(connection),
            },
            ServerFrame::Receipt(receipt) => self.events.emit(Event::Receipt(receipt)),
            ServerFrame::Typing(typing) => self.events.emit(Event::Typing(typing)),
            ServerFrame::Presence(presence) => self.events.emit(Event::Presence(presence)),
            // The last word before a close on TCP, a pong, or the answer to a frame that has none.
            _ => {}
        }
        Ok(())
    }

    async fn arrived(&mut self, message: Message) -> Result<(), StoreError> {
        let conversation = message.conversation.clone();
        let known = Position { seq: 0, rev: message.rev, incarnation: message.incarnation };
        let start = beginning(message.seq - 1, self.config.initial_history, known);
        let step = self.timelines.cursor(&conversation, start).push(message);
        self.step(&conversation, step).await?;
        self.timelines.touched(&conversation, Instant::now(), false);
        Ok(())
    }

    /// Does what the cursor decided.
    async fn step(&mut self, conversation: &ConversationId, step: Step) -> Result<(), StoreError> {
        let (messages, changed) = match step {
            Step::Stale => return Ok(()),
            Step::Reset => {
                self.store.forget(conversation).await?;
                self.events.emit(Event::Reset(conversation.clone()));
                return Ok(());
            }
            Step::Apply { messages, changed } => (messages, changed),
        };
        let Some(cursor) = self.timelines.known(conversation) else { return Ok(()) };
        self.store.apply(conversation, cursor.position(), &messages, &changed).await?;
        // The newest one of somebody else's is what its sender waits to hear of.
        let delivered = messages.iter().rev().find(|message| message.sender != self.me).map(|message| message.seq);
        if let Some(seq) = delivered.filter(|_| conversation.kind() != ConversationKind::Room) {
            let ack = self.acks.entry(conversation.clone()).or_default();
            *ack = seq.max(*ack);
            self.ack_at.get_or_insert_with(|| Instant::now() + ACK);
        }
        for message in messages {
            self.events.emit(Event::Message(Box::new(message)));
        }
        for message in changed {
            self.events.emit(Event::Changed(Box::new(message)));
        }
        Ok(())
    }

    fn acknowledge(&mut self, connection: &Connection, now: Instant) {
        self.acks.retain(|conversation, seq| {
            !connection.tell(ClientFrame::Delivered(Mark { conversation: conversation.clone(), seq: *seq }))
        });
        self.ack_at = (!self.acks.is_empty()).then(|| now + ACK);
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

    fn pull(&mut self, connection: &Connection) {
        if self.pulling {
            return;
        }
        let items = self.timelines.due(Instant::now());
        if items.is_empty() {
            return;
        }
        self.pulling = true;
        let connection = connection.clone();
        self.running.spawn(async move {
            let sync = ClientFrame::Sync(Sync { items: items.clone(), many: true, limit: LIST_MAX });
            let answers = connection.ask_many(sync, SYNC_ITEMS).await;
            Done::Pulled(items, answers)
        });
    }

    fn send(&mut self, connection: &Connection) {
        if self.send_at.is_some() {
            return;
        }
        for unsent in self.outbox.take() {
            let connection = connection.clone();
            self.running.spawn(async move {
                let Unsent { target, client_message_id, body } = unsent.clone();
                let frame = ClientFrame::Send(Send { target, client_message_id, body });
                let result = match connection.ask(frame).await {
                    Ok(ServerFrame::Sent(sent)) => Ok(sent),
                    Ok(_) => Err(RequestError::Answer),
                    Err(error) => Err(error),
                };
                Done::Sent(Box::new(unsent), result)
            });
        }
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

    async fn pulled(
        &mut self,
        items: Vec<SyncItem>,
        answers: Result<Vec<ServerFrame>, RequestError>,
    ) -> Result<(), StoreError> {
        self.pulling = false;
        for answer in answers.unwrap_or_default() {
            match answer {
                ServerFrame::Messages(messages) => {
                    let Some(cursor) = self.timelines.known(&messages.conversation) else { continue };
                    let step = cursor.answer(&messages);
                    self.step(&messages.conversation, step).await?;
                }
                ServerFrame::Error(error) if !error.retryable => {
                    // Not a member any more, or never: the list tells.
                    if let Some(conversation) = error.conversation {
                        self.timelines.settle(&conversation);
                    }
                }
                _ => {}
            }
        }
        let now = Instant::now();
        for item in items {
            self.timelines.pulled(&item.conversation, now);
        }
        Ok(())
    }

    async fn sent(&mut self, unsent: &Unsent, result: Result<Sent, RequestError>) -> Result<(), StoreError> {
        let Unsent { target, client_message_id, .. } = unsent;
        let result = match result {
            Err(RequestError::Refused(error)) if error.retryable => {
                let wait = error
                    .retry_after_ms
                    .map_or_else(|| full_jitter(self.send_failures, rand::random()), Duration::from_millis);
                self.send_failures += 1;
                self.send_at = Some(Instant::now() + wait);
                self.outbox.again(target, client_message_id);
                return Ok(());
            }
            Err(RequestError::Disconnected | RequestError::Timeout) => {
                // Whether it was committed is not known, and need not be: the same id again gets the first ack.
                self.outbox.again(target, client_message_id);
                return Ok(());
            }
            result => result,
        };
        self.send_failures = 0;
        self.store.drop_unsent(target, client_message_id).await?;
        if let Ok(sent) = &result {
            // It is pushed to this connection as well; if it is not, it is pulled.
            let known = Position::default();
            let start = beginning(sent.seq - 1, self.config.initial_history, known);
            self.timelines.cursor(&sent.conversation, start).heard(sent.seq, 0);
            self.timelines.touched(&sent.conversation, Instant::now(), false);
        }
        let Some(entry) = self.outbox.settle(target, client_message_id) else { return Ok(()) };
        match (entry.reply, result) {
            (Some(reply), result) => drop(reply.send(result.map_err(SendError::from))),
            (None, Err(RequestError::Refused(error))) => self.events.emit(Event::Refused {
                conversation: self.conversation_of(target),
                client_message_id: client_message_id.clone(),
                error,
            }),
            (None, _) => {}
        }
        Ok(())
    }

    fn conversation_of(&self, target: &Target) -> ConversationId {
        match target {
            Target::Conversation(conversation) => conversation.clone(),
            Target::User(user) => ConversationId::direct(&self.me, user),
        }
    }

    /// Pulls what those in the room may read.
    fn entered(&mut self, conversation: &ConversationId) {
        let cursor = self.timelines.cursor(conversation, Position::default());
        // How far the room is, only the answer tells.
        let next = cursor.position().seq + 1;
        cursor.heard(next, 0);
        self.timelines.touched(conversation, Instant::now(), true);
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

/// What a failed try to connect means.
fn after_refusal(refusal: Refusal) -> End {
    match refusal {
        Refusal::Http(HttpError::Refused(error)) | Refusal::Request(RequestError::Refused(error)) => match error.code {
            ErrorCode::Unauthorized | ErrorCode::TokenExpired | ErrorCode::InvalidCredentials => {
                End::Stop(Stopped::SignedOut(error))
            }
            ErrorCode::InvalidField | ErrorCode::InvalidFrame => End::Stop(Stopped::Incompatible(error.to_string())),
            _ => End::Again(error.retry_after_ms),
        },
        Refusal::Request(error @ RequestError::Answer) => End::Stop(Stopped::Incompatible(error.to_string())),
        other => {
            tracing::debug!(error = %other, "no connection");
            End::Again(None)
        }
    }
}
