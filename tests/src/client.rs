//! A connection that said hello, or is about to: requests with their answers, and a list of everything that came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::server::Server;
use crate::socket::{Closed, Reader, Writer};

/// Longest wait for anything the server owes.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Everything that came, in order.
#[derive(Default)]
struct Inbox {
    frames: Mutex<Vec<Value>>,
    closed: Mutex<Option<Closed>>,
}

/// A connection.
pub struct Client {
    /// The welcome frame; null before hello.
    pub welcome: Value,
    writer: AsyncMutex<Writer>,
    inbox: Arc<Inbox>,
    changed: watch::Receiver<()>,
    next_id: AtomicU64,
    reading: JoinHandle<()>,
    _server: Arc<Server>,
}

impl Client {
    /// Reads a socket from now on; the server runs at least as long.
    pub fn open(server: Arc<Server>, (writer, mut reader): (Writer, Reader)) -> Self {
        let inbox = Arc::<Inbox>::default();
        let (tell, changed) = watch::channel(());
        let reading = tokio::spawn({
            let inbox = inbox.clone();
            async move {
                loop {
                    match reader.next().await {
                        Ok(frame) => inbox.frames.lock().push(frame),
                        Err(closed) => {
                            *inbox.closed.lock() = Some(closed);
                            tell.send_replace(());
                            return;
                        }
                    }
                    tell.send_replace(());
                }
            }
        });
        let (writer, next_id) = (AsyncMutex::new(writer), AtomicU64::new(1));
        Self { welcome: Value::Null, writer, inbox, changed, next_id, reading, _server: server }
    }

    /// Says hello and keeps the welcome. The frame is `{"token":…,"terminal":…,"device":…}` and what else is wanted.
    pub async fn hello(&mut self, mut hello: Value) {
        hello["type"] = "hello".into();
        let welcome = self.ask(hello).await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self.welcome = welcome;
    }

    /// The server id this connection is on.
    pub fn server(&self) -> u64 {
        self.welcome["server"].as_u64().expect("welcome tells the server id")
    }

    /// Sends a frame as it is.
    pub async fn post(&self, frame: Value) {
        self.post_text(&frame.to_string()).await;
    }

    /// Sends any text as a frame; whether the peer is still there is seen by what comes back.
    pub async fn post_text(&self, text: &str) {
        self.writer.lock().await.send(text).await;
    }

    /// Sends any bytes: see [`Writer::send_bytes`].
    pub async fn post_bytes(&self, bytes: &[u8]) {
        self.writer.lock().await.send_bytes(bytes).await;
    }

    /// Sends a frame under a fresh id, which is returned.
    pub async fn submit(&self, mut frame: Value) -> String {
        let id = format!("r{}", self.next_id.fetch_add(1, Ordering::Relaxed));
        frame["id"] = id.clone().into();
        self.post(frame).await;
        id
    }

    /// Waits for the answer to an id.
    pub async fn answer(&self, id: &str) -> Value {
        self.wait_for(&format!("an answer to {id}"), |frame| frame["id"] == id).await
    }

    /// Sends a frame under a fresh id and waits for its answer.
    pub async fn ask(&self, frame: Value) -> Value {
        let id = self.submit(frame).await;
        self.answer(&id).await
    }

    /// Like [`Client::ask`], expecting an answer of a type.
    pub async fn expect(&self, frame: Value, answer: &str) -> Value {
        let got = self.ask(frame.clone()).await;
        assert_eq!(got["type"], answer, "{frame} was answered with {got}");
        got
    }

    /// Like [`Client::ask`], expecting an error of a code.
    pub async fn refused(&self, frame: Value, code: &str) -> Value {
        let got = self.ask(frame.clone()).await;
        assert_eq!((&got["type"], &got["code"]), (&json!("error"), &json!(code)), "{frame} was answered with {got}");
        assert!(got["message"].as_str().is_some_and(|message| !message.is_empty()), "{got}");
        got
    }

    /// Waits for the first frame, from the connection's beginning on, that satisfies `wanted`.
    pub async fn wait_for(&self, what: &str, wanted: impl FnMut(&Value) -> bool) -> Value {
        self.wait_within(DEADLINE, wanted).await.unwrap_or_else(|| {
            let frames = self.inbox.frames.lock();
            let last: Vec<String> = frames.iter().rev().take(10).map(shortened).collect();
            let closed = self.inbox.closed.lock().clone();
            panic!("{what} did not come; closed: {closed:?}; of {} frames the last were: {last:#?}", frames.len())
        })
    }

    /// Waits for such a frame; `None` if the deadline passes or the connection ends without it.
    pub async fn wait_within(&self, deadline: Duration, mut wanted: impl FnMut(&Value) -> bool) -> Option<Value> {
        let mut changed = self.changed.clone();
        let mut looked_at = 0;
        let found = async {
            loop {
                changed.borrow_and_update();
                let ended = self.inbox.closed.lock().is_some();
                {
                    let frames = self.inbox.frames.lock();
                    if let Some(frame) = frames[looked_at..].iter().find(|frame| wanted(frame)) {
                        return Some(frame.clone());
                    }
                    looked_at = frames.len();
                }
                if ended {
                    return None;
                }
                // An error means that the reader has ended: what it left is looked at once more.
                let _ = changed.changed().await;
            }
        };
        timeout(deadline, found).await.ok().flatten()
    }

    /// Waits for an `event` frame of a name that satisfies `wanted`, and returns its data.
    pub async fn event(&self, name: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let is_it = |frame: &Value| frame["type"] == "event" && frame["event"] == name && wanted(&frame["data"]);
        self.wait_for(&format!("the event {name}"), is_it).await["data"].take()
    }

    /// Waits for the push of a message.
    pub async fn message(&self, conversation: &str, seq: u64) -> Value {
        let is_it =
            |frame: &Value| frame["type"] == "message" && frame["conversation"] == conversation && frame["seq"] == seq;
        self.wait_for(&format!("message {seq} of {conversation}"), is_it).await
    }

    /// The messages of a conversation that were pushed so far, in the order they came.
    pub fn messages(&self, conversation: &str) -> Vec<Value> {
        self.frames(|frame| frame["type"] == "message" && frame["conversation"] == conversation)
    }

    /// Their seqs.
    pub fn seqs(&self, conversation: &str) -> Vec<u64> {
        seqs(&self.messages(conversation))
    }

    /// The frames so far that satisfy `wanted`.
    pub fn frames(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.inbox.frames.lock().iter().filter(|frame| wanted(frame)).cloned().collect()
    }

    /// Sends a text to a conversation and returns its seq.
    pub async fn say(&self, conversation: &str, text: &str) -> u64 {
        let sent = self.expect(text_to(conversation, text), "sent").await;
        sent["seq"].as_u64().expect("a seq")
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> Closed {
        let mut changed = self.changed.clone();
        let ended = async {
            loop {
                if let Some(closed) = self.inbox.closed.lock().clone() {
                    return closed;
                }
                let _ = changed.changed().await;
            }
        };
        timeout(DEADLINE, ended).await.expect("the server closes the connection")
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inbox.closed.lock().is_some()
    }

    /// Says goodbye and waits until the server has taken it.
    pub async fn leave(&self) {
        self.writer.lock().await.close().await;
        self.closed().await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A `send` frame with a text and a fresh `client_message_id`.
pub fn text_to(conversation: &str, text: &str) -> Value {
    json!({"type": "send", "conversation": conversation, "client_message_id": fresh("m"), "kind": "text", "content": {"text": text}})
}

/// A name that nobody had before.
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}{:016x}", rand::random::<u64>())
}

/// The seqs of messages.
pub fn seqs(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().expect("a message has a seq")).collect()
}

fn shortened(frame: &Value) -> String {
    frame.to_string().chars().take(300).collect()
}
