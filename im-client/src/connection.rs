//! One connection: requests with ids and their answers, and what is pushed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use im_protocol::close::CloseReason;
use im_protocol::{ClientFrame, ErrorCode, FrameId, ServerFrame, WireError};
use parking_lot::Mutex;
use reqwest::Url;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::transport::{self, Endpoint, Incoming, Reader, TransportError, Writer};

/// Frames on their way to the socket.
const OUTGOING: usize = 64;
/// Pushes on their way to whoever applies them. When it is full the socket is not read, and the server notices.
const PUSHES: usize = 256;
/// No answer takes longer than this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A goodbye is not waited for longer than this.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// There is no connection, or it ended before the answer.
    #[error("not connected")]
    Disconnected,
    /// No answer within 30 s.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The server refused.
    #[error(transparent)]
    Refused(Box<WireError>),
    /// The answer is of another type than the protocol says.
    #[error("the answer is not what was asked for")]
    Answer,
}

/// What comes without being asked for.
#[derive(Debug)]
pub enum Push {
    /// A frame.
    Frame(ServerFrame),
    /// The end, and why, where the server told; nothing comes after it.
    Closed(Option<CloseReason>),
}

/// A connection's sending side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection {
    outgoing: mpsc::Sender<Outgoing>,
    heard: Arc<Mutex<Instant>>,
    /// The connection says goodbye when the last clone is gone.
    _guard: Arc<DropGuard>,
}

/// A connection's receiving side.
#[derive(Debug)]
pub struct Pushes {
    frames: mpsc::Receiver<Push>,
    _task: AbortOnDropHandle<()>,
}

impl Pushes {
    /// The next push; [`Push::Closed`] at the end.
    pub async fn next(&mut self) -> Push {
        self.frames.recv().await.unwrap_or(Push::Closed(None))
    }
}

enum Outgoing {
    Tell(ClientFrame),
    Ask(ClientFrame, mpsc::Sender<ServerFrame>),
}

type Pending = Mutex<HashMap<FrameId, mpsc::Sender<ServerFrame>>>;

impl Connection {
    /// Connects; the first frame is the caller's to send.
    pub async fn open(server: &Url, endpoint: &Endpoint) -> Result<(Self, Pushes), TransportError> {
        let (reader, writer) = transport::connect(server, endpoint).await?;
        let (outgoing, requests) = mpsc::channel(OUTGOING);
        let (pushes, frames) = mpsc::channel(PUSHES);
        let heard = Arc::new(Mutex::new(Instant::now()));
        let done = CancellationToken::new();
        let task = tokio::spawn(run(reader, writer, requests, pushes, heard.clone(), done.clone()));
        let connection = Self { outgoing, heard, _guard: Arc::new(done.drop_guard()) };
        Ok((connection, Pushes { frames, _task: AbortOnDropHandle::new(task) }))
    }

    /// When the server was last heard.
    pub fn heard(&self) -> Instant {
        *self.heard.lock()
    }

    /// Sends a frame that has no answer. False if there is no room for it now, or the connection ended: such frames may
    /// be lost, and waiting for room could keep the one that waits from reading what the server must get rid of first.
    pub fn tell(&self, frame: ClientFrame) -> bool {
        self.outgoing.try_send(Outgoing::Tell(frame)).is_ok()
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, frame: ClientFrame) -> Result<ServerFrame, RequestError> {
        let (answers, mut answer) = mpsc::channel(1);
        self.outgoing.send(Outgoing::Ask(frame, answers)).await.map_err(|_| RequestError::Disconnected)?;
        match receive(&mut answer).await? {
            ServerFrame::Error(error) => Err(RequestError::Refused(Box::new(error))),
            answer => Ok(answer),
        }
    }

    /// Asks what has several answers, at most `most`; the last one says so. An error may be one of them.
    pub async fn ask_many(&self, frame: ClientFrame, most: usize) -> Result<Vec<ServerFrame>, RequestError> {
        let (answers, mut answer) = mpsc::channel(most);
        self.outgoing.send(Outgoing::Ask(frame, answers)).await.map_err(|_| RequestError::Disconnected)?;
        let mut all = Vec::new();
        loop {
            all.push(receive(&mut answer).await?);
            if all.last().is_some_and(is_last) {
                return Ok(all);
            }
        }
    }
}

async fn receive(answer: &mut mpsc::Receiver<ServerFrame>) -> Result<ServerFrame, RequestError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer.recv()).await {
        Ok(frame) => frame.ok_or(RequestError::Disconnected),
        Err(_) => Err(RequestError::Timeout),
    }
}

/// Whether an answer is the last to its request. Only a `sync` of several conversations has more than one; an error
/// that names no conversation is about the request as a whole.
fn is_last(frame: &ServerFrame) -> bool {
    match frame {
        ServerFrame::Messages(answer) => answer.last,
        ServerFrame::Error(error) => error.last || error.conversation.is_none(),
        _ => true,
    }
}

async fn run(
    reader: Reader,
    mut writer: Writer,
    requests: mpsc::Receiver<Outgoing>,
    pushes: mpsc::Sender<Push>,
    heard: Arc<Mutex<Instant>>,
    done: CancellationToken,
) {
    let pending = Pending::default();
    // Both at once: a server whose queue to us is full does not read before we do.
    let reason = tokio::select! {
        reason = read(reader, &pending, &pushes, &heard) => reason,
        () = write(&mut writer, requests, &pending) => None,
        () = done.cancelled() => None,
    };
    pending.lock().clear();
    let _ = tokio::time::timeout(GOODBYE, writer.close()).await;
    let _ = pushes.send(Push::Closed(reason)).await;
}

async fn write(writer: &mut Writer, mut requests: mpsc::Receiver<Outgoing>, pending: &Pending) {
    let mut count: u64 = 0;
    while let Some(outgoing) = requests.recv().await {
        let text = match outgoing {
            Outgoing::Tell(frame) => frame.encode(None),
            Outgoing::Ask(frame, answers) => {
                count += 1;
                let id = FrameId::parse(&count.to_string()).expect("a number is an id");
                let text = frame.encode(Some(&id));
                let mut pending = pending.lock();
                // Those who gave up waiting.
                if pending.len() >= OUTGOING {
                    pending.retain(|_, answers| !answers.is_closed());
                }
                pending.insert(id, answers);
                text
            }
        };
        if let Err(error) = writer.send(text).await {
            tracing::debug!(%error, "the socket does not take frames any more");
            // What the server said last may still be there to read.
            return std::future::pending().await;
        }
    }
}

async fn read(
    mut reader: Reader,
    pending: &Pending,
    pushes: &mpsc::Sender<Push>,
    heard: &Mutex<Instant>,
) -> Option<CloseReason> {
    // TCP has no close frame: an error without an id before the end says why.
    let mut last_word = None;
    loop {
        let incoming = reader.next().await;
        *heard.lock() = Instant::now();
        let text = match incoming {
            Ok(Incoming::Text(text)) => text,
            Ok(Incoming::Alive) => continue,
            Ok(Incoming::Closed(reason)) => return reason.or(last_word),
            Err(error) => {
                tracing::debug!(%error, "the connection broke");
                return last_word;
            }
        };
        let frame = match ServerFrame::decode(&text) {
            Ok(Some(frame)) => frame,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "the server sent a frame that cannot be read");
                continue;
            }
        };
        if let Some(id) = frame.id() {
            let mut pending = pending.lock();
            let many = matches!(&frame, ServerFrame::Messages(_) | ServerFrame::Error(_)) && !is_last(&frame);
            let answers = match pending.get(id) {
                // One that asked for a single answer has room for one only.
                Some(answers) if many && answers.max_capacity() > 1 => Some(answers.clone()),
                _ => pending.remove(id),
            };
            if let Some(answers) = answers {
                // There is room for every answer; who gave up waiting does not want it.
                let _ = answers.try_send(frame);
            }
            continue;
        }
        if let ServerFrame::Error(error) = &frame {
            last_word = reason_of(error.code);
        }
        if pushes.send(Push::Frame(frame)).await.is_err() {
            return None;
        }
    }
}

/// The meaning of a last error on TCP.
fn reason_of(code: ErrorCode) -> Option<CloseReason> {
    Some(match code {
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => CloseReason::Unauthorized,
        ErrorCode::Kicked => CloseReason::Kicked,
        ErrorCode::TooSlow => CloseReason::TooSlow,
        ErrorCode::GoingAway => CloseReason::GoingAway,
        ErrorCode::Replaced => CloseReason::Replaced,
        ErrorCode::Silent => CloseReason::Silent,
        ErrorCode::NoHello => CloseReason::NoHello,
        ErrorCode::TooManyRequests => CloseReason::TooManyRequests,
        _ => return None,
    })
}
