//! What an application holds: the way to send, read and ask.

use std::sync::Arc;

use im_protocol::client::{self, Mark, Room, Target, Typing};
use im_protocol::message::Body;
use im_protocol::server::{Conversations, Messages, Presence, Sent};
use im_protocol::{
    ClientFrame, ClientMessageId, Content, ConversationId, DeviceId, Kind, Seq, ServerFrame, Terminal, UserId,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::connection::{Connection, RequestError};
use crate::events::{EventSink, Events};
use crate::http::{Http, HttpError};
use crate::outbox::SendError;
use crate::session::{Session, SignIn};
use crate::store::{LocalStore, StoreError, Unsent};
use crate::supervisor::{Command, Refusal, Supervisor, establish};
use crate::transport::{Endpoint, TransportError};

/// Commands on their way to the task.
const COMMANDS: usize = 64;

/// How to reach the server, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's HTTP address, for instance `https://chat.example.org`.
    pub server: String,
    /// By which kind of socket.
    pub endpoint: Endpoint,
    /// Who signs in.
    pub who: SignIn,
    /// How many of the last messages of a conversation that is new here are fetched; `u64::MAX`: all.
    pub initial_history: u64,
    /// Events that may wait to be taken.
    pub events: usize,
}

impl Config {
    /// A WebSocket client of the class `desktop` with a device of its own.
    pub fn new(server: impl Into<String>, user: impl Into<String>, password: impl Into<String>) -> Self {
        let who =
            SignIn { user: user.into(), password: password.into(), terminal: Terminal::Desktop, device: random_id() };
        Self { server: server.into(), endpoint: Endpoint::WebSocket, who, initial_history: 20, events: 1024 }
    }
}

/// Why no client could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Signing in failed, or a call did.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No socket.
    #[error("the server's socket cannot be reached: {0}")]
    Transport(#[from] TransportError),
    /// The server refused the socket.
    #[error("the server refused the connection: {0}")]
    Refused(#[from] RequestError),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for ConnectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Http(error) => error.into(),
            Refusal::Transport(error) => error.into(),
            Refusal::Request(error) => error.into(),
        }
    }
}

/// A device of one user. Cheap to clone; it disconnects when the last clone is gone.
#[derive(Clone)]
pub struct Client {
    me: UserId,
    session: Arc<Session>,
    store: Arc<dyn LocalStore>,
    commands: mpsc::Sender<Command>,
    online: watch::Receiver<Option<Connection>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Client {
    /// Signs in and connects; from then on it stays connected, and up to date, by itself.
    pub async fn connect(config: Config, store: Arc<dyn LocalStore>) -> Result<(Self, Events), ConnectError> {
        let session = Arc::new(Session::sign_in(Http::new(&config.server)?, &config.who).await?);
        let since = store.since().await?;
        let link = establish(&config, &session, since.clone()).await?;
        let me = link.welcome.user.clone();
        let (sink, events) = EventSink::new(config.events);
        let (commands, requests) = mpsc::channel(COMMANDS);
        let (up, online) = watch::channel(None);
        let supervisor =
            Supervisor::new(config, me.clone(), session.clone(), store.clone(), since, sink, requests, up).await?;
        tokio::spawn(supervisor.run(link));
        Ok((Self { me, session, store, commands, online }, events))
    }

    /// Who I am, spelled as registered.
    pub fn me(&self) -> &UserId {
        &self.me
    }

    /// The session, for calls of the HTTP API.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What this device keeps.
    pub fn store(&self) -> &Arc<dyn LocalStore> {
        &self.store
    }

    /// Sends a message and returns when it is committed, however long that takes and however often the connection is
    /// lost meanwhile. It is in the unsent queue until then: who stops waiting has not taken it back.
    pub async fn send(&self, target: Target, body: Body) -> Result<Sent, SendError> {
        let target = match target {
            // A direct conversation may not exist before its first message.
            Target::Conversation(conversation) => match conversation.peer(&self.me) {
                Some(peer) => Target::User(peer),
                None => Target::Conversation(conversation),
            },
            target @ Target::User(_) => target,
        };
        let unsent = Unsent { target, client_message_id: random_message_id(), body };
        let (reply, sent) = oneshot::channel();
        let stopped = || SendError::Stopped;
        self.commands.send(Command::Send(Box::new(unsent), reply)).await.map_err(|_| stopped())?;
        sent.await.map_err(|_| stopped())?
    }

    /// Sends a text.
    pub async fn send_text(&self, target: Target, text: &str) -> Result<Sent, SendError> {
        let content = Content::text(text);
        let body = Body { kind: Kind::Text, content, mentions: Vec::new(), mention_all: false, reply_to: None };
        self.send(target, body).await
    }

    /// I have read everything up to `seq`.
    pub async fn read(&self, conversation: ConversationId, seq: Seq) -> Result<(), RequestError> {
        self.ask(ClientFrame::Read(Mark { conversation, seq })).await.map(drop)
    }

    /// A page of messages before `before`, of the newest without it; oldest first. The answer is the server's: what
    /// this device keeps is in the store.
    pub async fn history(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: u32,
    ) -> Result<Messages, RequestError> {
        match self.ask(ClientFrame::History(client::History { conversation, before, limit })).await? {
            ServerFrame::Messages(messages) => Ok(messages),
            _ => Err(RequestError::Answer),
        }
    }

    /// A page of the list of conversations, newest first.
    pub async fn conversations(&self, cursor: Option<String>, limit: u32) -> Result<Conversations, RequestError> {
        match self.ask(ClientFrame::Conversations(client::Conversations { cursor, since: None, limit })).await? {
            ServerFrame::Conversations(page) => Ok(page),
            _ => Err(RequestError::Answer),
        }
    }

    /// Watch these people, and not those any more; how the first ones are.
    pub async fn presence(&self, subscribe: Vec<UserId>, unsubscribe: Vec<UserId>) -> Result<Presence, RequestError> {
        match self.ask(ClientFrame::Presence(client::Presence { subscribe, unsubscribe })).await? {
            ServerFrame::Presence(presence) => Ok(presence),
            _ => Err(RequestError::Answer),
        }
    }

    /// I am typing. Nobody hears of it while there is no connection.
    pub fn typing(&self, conversation: ConversationId) {
        if let Some(connection) = self.connection() {
            connection.tell(ClientFrame::Typing(Typing { conversation }));
        }
    }

    /// Enters a room, and enters it again after every reconnect.
    pub async fn join(&self, conversation: ConversationId) -> Result<(), RequestError> {
        self.ask(ClientFrame::Join(Room { conversation: conversation.clone() })).await?;
        self.command(Command::Entered(conversation)).await
    }

    /// Leaves a room.
    pub async fn leave(&self, conversation: ConversationId) -> Result<(), RequestError> {
        self.command(Command::Left(conversation.clone())).await?;
        self.ask(ClientFrame::Leave(Room { conversation })).await.map(drop)
    }

    /// Asks for what changed, as when the application comes to the foreground.
    pub async fn refresh(&self) -> Result<(), RequestError> {
        self.command(Command::Refresh).await
    }

    fn connection(&self) -> Option<Connection> {
        self.online.borrow().clone()
    }

    async fn ask(&self, frame: ClientFrame) -> Result<ServerFrame, RequestError> {
        self.connection().ok_or(RequestError::Disconnected)?.ask(frame).await
    }

    async fn command(&self, command: Command) -> Result<(), RequestError> {
        self.commands.send(command).await.map_err(|_| RequestError::Disconnected)
    }
}

/// 128 random bits as hex.
fn random_hex() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn random_message_id() -> ClientMessageId {
    ClientMessageId::parse(&random_hex()).expect("32 hex digits are an id")
}

/// A new device's id: keep it with the installation.
pub fn random_id() -> DeviceId {
    DeviceId::parse(&random_hex()).expect("32 hex digits are an id")
}
