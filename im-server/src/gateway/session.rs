//! One connection's life: hello, then requests one after the other, until someone ends it. A single task, whose only
//! state while idle is this struct.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures_util::FutureExt as _;
use im_protocol::client::Envelope;
use im_protocol::close::CloseReason;
use im_protocol::limits::HELLO_TIMEOUT_MS;
use im_protocol::{ClientFrame, ConversationId, ErrorCode, FrameId, ServerFrame, UserId, WireError};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Gateway;
use super::hello::{self, Refused};
use super::outbox::Outbox;
use super::requests;
use crate::chat::Caller;
use crate::hub::{Connection, Hub};

/// What a framing finds in the socket, without waiting.
pub(super) enum Next {
    /// A frame.
    Text(String),
    /// A sign of life without a frame.
    Alive,
    /// Nothing yet.
    Wait,
    /// The peer is gone, or has said goodbye.
    Gone,
    /// The peer broke the rules of the framing.
    End(CloseReason),
}

/// The reading end of a connection.
pub(super) trait Input: Send {
    /// Sets the largest frame, in bytes.
    fn limit(&mut self, bytes: usize);
    /// The next thing that is there.
    fn next(&mut self) -> Next;
}

/// How long a peer has to take its last words: long enough for a slow link, short enough to end a dead one.
const GOODBYE: Duration = Duration::from_secs(3);

/// Sends of one connection that may be under way at once; then its socket is not read any further.
const PIPELINE: usize = 256;

/// A connection that said hello.
pub(super) struct Session {
    pub(super) gateway: Arc<Gateway>,
    pub(super) hub: Arc<Hub>,
    pub(super) connection: Arc<Connection>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) caller: Caller,
    /// Sends under way.
    pub(super) pipeline: Arc<Semaphore>,
    /// When this connection's typing was last passed on: Unix milliseconds.
    pub(super) typed: AtomicI64,
    /// Whose presence this connection watches.
    pub(super) watched: Mutex<HashSet<UserId>>,
    /// The rooms this connection is inside.
    pub(super) rooms: Mutex<HashSet<ConversationId>>,
}

/// Runs a connection to its end.
pub(super) async fn run<I: Input>(gateway: Arc<Gateway>, outbox: Arc<Outbox>, mut input: I) {
    let reason = match open(&gateway, &outbox, &mut input).await {
        Err(reason) => reason,
        Ok(mut session) => {
            input.limit(gateway.chat.settings().limits.frame_bytes);
            // A fault in a handler ends this connection and nothing else, and its route goes like any other's.
            let served = AssertUnwindSafe(session.serve(&mut input)).catch_unwind().await;
            hello::goodbye(&session).await;
            served.unwrap_or(CloseReason::GoingAway)
        }
    };
    outbox.finish(reason, GOODBYE).await;
}

/// Waits for a good hello.
async fn open<I: Input>(gateway: &Arc<Gateway>, outbox: &Arc<Outbox>, input: &mut I) -> Result<Session, CloseReason> {
    let said_hello = async {
        loop {
            let text = read(outbox, input).await?;
            match decode(&text) {
                Err(error) => outbox.answer(&ServerFrame::Error(error)),
                Ok((id, ClientFrame::Hello(hello))) => return Ok((id, hello)),
                Ok((id, _)) => {
                    let error = WireError::new(ErrorCode::HelloRequired, "the first frame must be hello");
                    outbox.answer(&ServerFrame::Error(error.answering(id)));
                }
            }
        }
    };
    let said_hello = tokio::time::timeout(Duration::from_millis(HELLO_TIMEOUT_MS), said_hello);
    let (id, hello) = tokio::select! {
        said = said_hello => said.map_err(|_| CloseReason::NoHello)??,
        () = gateway.leaving.cancelled() => return Err(CloseReason::GoingAway),
    };
    match Box::pin(hello::welcome(gateway, outbox, id.clone(), hello)).await {
        Ok(session) => Ok(session),
        Err(Refused { error, close }) => {
            outbox.answer(&ServerFrame::Error(error.answering(id)));
            Err(close)
        }
    }
}

/// Decodes a frame in two stages, so that an error carries the `id`.
fn decode(text: &str) -> Result<(Option<FrameId>, ClientFrame), WireError> {
    let envelope = Envelope::parse(text)?;
    let frame = envelope.body()?;
    Ok((envelope.id, frame))
}

/// Waits for the next frame, writing meanwhile. Requests are not read while the queue is over half full.
async fn read<I: Input>(outbox: &Outbox, input: &mut I) -> Result<String, CloseReason> {
    loop {
        if !outbox.may_read() {
            outbox.until_may_read().await;
        }
        if let Some(reason) = outbox.closing() {
            return Err(reason);
        }
        match input.next() {
            Next::Text(text) => {
                outbox.heard();
                return Ok(text);
            }
            Next::Alive => outbox.heard(),
            Next::Gone => return Err(CloseReason::Normal),
            Next::End(reason) => return Err(reason),
            Next::Wait => {
                tokio::select! {
                    ready = outbox.socket().readable() => if ready.is_err() {
                        return Err(CloseReason::Normal);
                    },
                    () = outbox.drive(|_| false) => {}
                }
            }
        }
    }
}

impl Session {
    async fn serve<I: Input>(&mut self, input: &mut I) -> CloseReason {
        let outbox = self.outbox.clone();
        loop {
            let text = match read(&outbox, input).await {
                Ok(text) => text,
                Err(reason) => return reason,
            };
            let (id, frame) = match decode(&text) {
                Ok(decoded) => decoded,
                Err(error) => {
                    outbox.answer(&ServerFrame::Error(error));
                    continue;
                }
            };
            drop(text);
            // Boxed: what a request needs while it runs is not kept by an idle connection.
            let handled = Box::pin(requests::handle(self, id, frame));
            tokio::select! {
                () = handled => {}
                () = outbox.drive(|_| false) => return outbox.closing().unwrap_or(CloseReason::Normal),
            }
        }
    }

    pub(super) fn pipeline() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(PIPELINE))
    }
}
