//! One connection's way out: the socket with a queue bounded in bytes in front of it.
//!
//! Whoever has a frame writes it: as long as the queue is empty a push goes straight to the socket, without waking
//! another task. What the socket does not take stays queued, and the connection's own task goes on when it can write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use bytes::{Buf, Bytes};
use im_protocol::close::CloseReason;
use im_protocol::record::About;
use im_protocol::server::{GoAway, Kicked, Resync};
use im_protocol::{ServerFrame, TimeMs, WireError};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tungstenite::protocol::frame::Frame as WsFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::chat::now_ms;
use crate::hub::{Loss, SharedFrame, Sink};
use crate::store::SessionId;

/// How frames are set apart on the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// RFC 6455 text frames.
    WebSocket,
    /// A u32 big-endian length before each frame.
    Tcp,
}

/// Bounds of a connection's queue.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pushes are dropped above this many bytes; requests are not read above half of it.
    pub queue_bytes: usize,
    /// A reader that takes nothing for so long is closed: milliseconds.
    pub stall_ms: TimeMs,
    /// Without a sign of life for so long the connection is closed: milliseconds.
    pub silence_ms: TimeMs,
}

/// Conversations that are remembered as missed, each with its own `resync`; with more, one `resync` says it for all.
const MISSED: usize = 32;

/// The first sign of life after a push may have been under way already when it was pushed; the second was not.
const SURE: u8 = 2;

/// So long before a sign of life was received it may have been sent: milliseconds.
const SURE_MS: TimeMs = 2_000;

/// Slices of one vectored write: a batch of frames for one system call, well below the kernel's limit of 1024.
const SLICES: usize = 64;

/// A connection's way out.
pub(super) struct Outbox {
    socket: TcpStream,
    framing: Framing,
    bounds: Bounds,
    queue: Mutex<Queue>,
    /// Tells the connection's task that it has something to do: write, or end.
    wake: Notify,
    /// When the peer was last heard: Unix milliseconds.
    heard: AtomicI64,
    /// Signs of life that are still needed until what was pushed last has arrived for sure.
    unsure: AtomicU8,
    /// When the token ends: Unix milliseconds.
    expires: AtomicI64,
    session: Mutex<SessionId>,
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; all sixteen combinations occur")]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Pushes that wait behind `welcome`.
    held: Option<VecDeque<Bytes>>,
    /// What was dropped, by conversation; `None` stands for everything.
    missed: Vec<Option<About>>,
    /// Someone has promised to flush.
    promised: bool,
    /// The socket takes nothing: the connection's task waits for it.
    blocked: bool,
    /// The connection's task waits until it may read: whoever empties the queue tells it.
    reading_waits: bool,
    /// When the socket last took something, while something is queued: Unix milliseconds.
    progress: TimeMs,
    closing: Option<CloseReason>,
    /// What to say of where to go, to one who is sent away.
    goaway: Option<Box<GoAway>>,
    broken: bool,
}

impl Outbox {
    /// The way out of a socket. Pushes are held until [`Outbox::release`].
    pub(super) fn new(socket: TcpStream, framing: Framing, bounds: Bounds) -> Arc<Self> {
        let now = now_ms();
        let queue = Queue { held: Some(VecDeque::new()), progress: now, ..Queue::default() };
        Arc::new(Self {
            socket,
            framing,
            bounds,
            queue: Mutex::new(queue),
            wake: Notify::new(),
            heard: AtomicI64::new(now),
            unsure: AtomicU8::new(0),
            expires: AtomicI64::new(TimeMs::MAX),
            session: Mutex::new(SessionId(String::new())),
        })
    }

    /// The socket, for reading.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The peer was heard.
    pub(super) fn heard(&self) {
        self.heard.store(now_ms(), Ordering::Relaxed);
        let unsure = self.unsure.load(Ordering::Relaxed);
        if unsure > 0 {
            // A push at the same moment may be taken for surer than it is: it is a hint.
            self.unsure.store(unsure - 1, Ordering::Relaxed);
        }
    }

    /// Since when pushes may not have arrived (Unix milliseconds), if some may not: they are still queued, or went to a
    /// socket whose peer was not heard enough since.
    pub(super) fn unheard(&self) -> Option<TimeMs> {
        (self.unsure.load(Ordering::Relaxed) > 0).then(|| self.heard.load(Ordering::Relaxed) - SURE_MS)
    }

    /// The connection now rests on this session and token.
    pub(super) fn authorize(&self, session: SessionId, expires: TimeMs) {
        *self.session.lock() = session;
        self.prolong(expires);
    }

    /// The connection rests on a token until then.
    pub(super) fn prolong(&self, expires: TimeMs) {
        self.expires.store(expires, Ordering::Relaxed);
    }

    /// Queues and writes an answer.
    pub(super) fn answer(&self, frame: &ServerFrame) {
        if self.enqueue(&SharedFrame::answer(frame)) {
            self.flush();
        }
    }

    /// Lets the pushes go that waited behind `welcome`.
    pub(super) fn release(&self) {
        let mut queue = self.queue.lock();
        if let Some(held) = queue.held.take() {
            queue.frames.extend(held);
        }
        self.write(&mut queue);
    }

    /// Whether requests may be read: the queue is at most half full.
    pub(super) fn may_read(&self) -> bool {
        let queue = self.queue.lock();
        queue.bytes <= self.bounds.queue_bytes / 2
    }

    /// Waits until requests may be read again, or the connection is to end.
    pub(super) async fn until_may_read(&self) {
        self.queue.lock().reading_waits = true;
        self.drive(Self::may_read).await;
        self.queue.lock().reading_waits = false;
        // Whoever drives beside this one may have to know what woke it: that the socket is full, or that it is over.
        self.wake.notify_one();
    }

    /// Why the connection is to end, if it is.
    pub(super) fn closing(&self) -> Option<CloseReason> {
        let queue = self.queue.lock();
        if queue.broken { Some(queue.closing.unwrap_or(CloseReason::Normal)) } else { queue.closing }
    }

    /// Writes whenever the socket takes something, until `done` says so (asked after every step) or the connection is to
    /// end.
    pub(super) async fn drive(&self, done: impl Fn(&Self) -> bool) {
        loop {
            if self.closing().is_some() || done(self) {
                return;
            }
            let blocked = self.queue.lock().blocked;
            tokio::select! {
                ready = self.socket.writable(), if blocked => match ready {
                    Ok(()) => self.write(&mut self.queue.lock()),
                    Err(_) => self.queue.lock().broken = true,
                },
                () = self.wake.notified() => {}
            }
        }
    }

    /// Writes what is left, then the reason, and gives the peer until `deadline` to take it and to close: a socket that
    /// is dropped with unread input resets the connection, and the reason would be lost.
    pub(super) async fn finish(&self, reason: CloseReason, deadline: std::time::Duration) {
        {
            let mut queue = self.queue.lock();
            // Nothing follows a goodbye, not even the answer to a send that is still under way.
            queue.closing.get_or_insert(reason);
            let last = self.last_words(reason, queue.goaway.take());
            queue.missed.clear();
            queue.bytes += last.iter().map(Bytes::len).sum::<usize>();
            queue.frames.extend(last);
            self.write(&mut queue);
        }
        let drained = async {
            while !self.queue.lock().broken && !self.queue.lock().frames.is_empty() {
                if self.socket.writable().await.is_err() {
                    return;
                }
                self.write(&mut self.queue.lock());
            }
            if socket2::SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write).is_err() {
                return;
            }
            let mut sink = [0; 1024];
            loop {
                match self.socket.try_read(&mut sink) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        if self.socket.readable().await.is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        };
        // An error is the deadline: the peer had its time.
        let _ = tokio::time::timeout(deadline, drained).await;
    }

    /// What a peer is told at the end.
    fn last_words(&self, reason: CloseReason, goaway: Option<Box<GoAway>>) -> Vec<Bytes> {
        let mut frames = Vec::new();
        let frame = |frame: &ServerFrame| self.framed(&SharedFrame::answer(frame)).clone();
        match reason {
            CloseReason::Kicked => {
                frames.push(frame(&ServerFrame::Kicked(Kicked { reason: "another_device".to_owned() })));
            }
            CloseReason::GoingAway => {
                let goaway = goaway.map_or_else(stopping, |goaway| *goaway);
                frames.push(frame(&ServerFrame::GoAway(goaway)));
            }
            _ => {}
        }
        if reason == CloseReason::Normal {
            // The peer is gone, or its goodbye was answered by the library.
            return frames;
        }
        match self.framing {
            Framing::WebSocket => {
                let close = tungstenite::protocol::CloseFrame {
                    code: CloseCode::from(reason.code()),
                    reason: reason.sentence().into(),
                };
                let mut out = Vec::new();
                // Writing into memory cannot fail.
                let _ = WsFrame::close(Some(close)).format(&mut out);
                frames.push(out.into());
            }
            Framing::Tcp => {
                if let Some(code) = reason.error_code() {
                    frames.push(frame(&ServerFrame::Error(WireError::new(code, reason.sentence()))));
                }
            }
        }
        frames
    }

    /// Queues bytes that are framed already: what the WebSocket library answers by itself (pong, close).
    pub(super) fn enqueue_raw(&self, bytes: Bytes) {
        let mut queue = self.queue.lock();
        queue.bytes += bytes.len();
        queue.frames.push_back(bytes);
        self.write(&mut queue);
    }

    fn framed<'a>(&self, frame: &'a SharedFrame) -> &'a Bytes {
        match self.framing {
            Framing::WebSocket => frame.websocket(),
            Framing::Tcp => frame.tcp(),
        }
    }

    /// Writes what the socket takes, then what was missed if there is room to say it again.
    fn write(&self, queue: &mut Queue) {
        queue.promised = false;
        loop {
            if queue.broken {
                return;
            }
            if queue.bytes <= self.bounds.queue_bytes / 2 && !queue.missed.is_empty() {
                metrics::counter!("im_resyncs_total", "reason" => "slow").increment(queue.missed.len() as u64);
                for about in std::mem::take(&mut queue.missed) {
                    let frame = ServerFrame::Resync(Resync {
                        head: about.as_ref().map(|about| about.head),
                        rev: about.as_ref().map(|about| about.rev),
                        conversation: about.map(|about| about.conversation),
                    });
                    queue.append(self.framed(&SharedFrame::answer(&frame)).clone());
                }
            }
            if queue.frames.is_empty() {
                queue.blocked = false;
                queue.progress = now_ms();
                if queue.reading_waits {
                    self.wake.notify_one();
                }
                return;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, frame) in slices.iter_mut().zip(&queue.frames) {
                *slice = IoSlice::new(frame);
                used += 1;
            }
            match self.socket.try_write_vectored(&slices[..used]) {
                Ok(0) => queue.broken = true,
                Ok(written) => queue.written(written),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !queue.blocked {
                        queue.blocked = true;
                        self.wake.notify_one();
                    }
                    return;
                }
                Err(_) => queue.broken = true,
            }
            if queue.broken {
                self.wake.notify_one();
            }
        }
    }
}

/// What is said at the end of a server that does not know better: come back within three seconds, so that the others do
/// not get everyone at once.
fn stopping() -> GoAway {
    GoAway { reason: "stopping".to_owned(), reconnect_after_ms: rand::random_range(200..3_000) }
}

impl Queue {
    fn append(&mut self, bytes: Bytes) {
        if self.frames.is_empty() {
            // Nobody could take anything while there was nothing: a silence before this frame is no stall.
            self.progress = now_ms();
        }
        self.bytes += bytes.len();
        self.frames.push_back(bytes);
    }

    fn written(&mut self, mut count: usize) {
        self.bytes -= count;
        self.progress = now_ms();
        while count > 0 {
            let front = &mut self.frames[0];
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > 64 {
            // A burst is over: an idle connection keeps no room for the next one.
            self.frames.shrink_to(0);
        }
    }

    /// Notes what could not be queued: the newest of each conversation, or everything if there are too many.
    fn miss(&mut self, about: Option<&About>) {
        if self.missed.iter().any(Option::is_none) {
            return;
        }
        let Some(about) = about else {
            self.missed = vec![None];
            return;
        };
        let same = |known: &&mut About| known.conversation == about.conversation;
        if let Some(known) = self.missed.iter_mut().flatten().find(same) {
            known.head = known.head.max(about.head);
            known.rev = known.rev.max(about.rev);
        } else if self.missed.len() < MISSED {
            self.missed.push(Some(about.clone()));
        } else {
            self.missed = vec![None];
        }
    }
}

impl Sink for Outbox {
    fn enqueue(&self, frame: &SharedFrame) -> bool {
        let bytes = self.framed(frame).clone();
        if matches!(frame.loss(), Loss::Resync(Some(_))) {
            self.unsure.store(SURE, Ordering::Relaxed);
        }
        let mut queue = self.queue.lock();
        if queue.broken || queue.closing.is_some() {
            return false;
        }
        let full = queue.bytes + bytes.len() > self.bounds.queue_bytes;
        match frame.loss() {
            Loss::Never => queue.append(bytes),
            Loss::Silent if full => return false,
            Loss::Resync(about) if full => {
                metrics::counter!("im_pushes_dropped_total").increment(1);
                queue.miss(about.as_ref());
                return false;
            }
            Loss::Silent | Loss::Resync(_) => match &mut queue.held {
                Some(held) => {
                    held.push_back(bytes.clone());
                    queue.bytes += bytes.len();
                    return false;
                }
                None => queue.append(bytes),
            },
        }
        !queue.blocked && !std::mem::replace(&mut queue.promised, true)
    }

    fn flush(&self) {
        self.write(&mut self.queue.lock());
    }

    fn close(&self, reason: CloseReason) {
        let mut queue = self.queue.lock();
        queue.closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    fn send_away(&self, goaway: GoAway) {
        self.queue.lock().goaway = Some(Box::new(goaway));
        self.close(CloseReason::GoingAway);
    }

    fn check(&self, now: TimeMs) {
        let stalled = {
            let queue = self.queue.lock();
            !queue.frames.is_empty() && now - queue.progress > self.bounds.stall_ms
        };
        if stalled {
            self.close(CloseReason::TooSlow);
        } else if now - self.heard.load(Ordering::Relaxed) > self.bounds.silence_ms {
            self.close(CloseReason::Silent);
        } else if now >= self.expires.load(Ordering::Relaxed) {
            self.close(CloseReason::Unauthorized);
        }
    }

    fn queued(&self) -> usize {
        self.queue.lock().bytes
    }

    fn session(&self) -> SessionId {
        self.session.lock().clone()
    }
}

#[cfg(test)]
mod tests;
