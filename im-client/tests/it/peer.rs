//! A server that does what a test says: it answers sign-ins, and hands the test every TCP connection.

use std::time::Duration;

use im_client::{Config, Endpoint};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing takes longer than this.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    sockets: TcpListener,
    http: std::net::SocketAddr,
}

/// The server's end of one connection.
pub(crate) struct Peer(TcpStream);

impl Server {
    pub(crate) async fn start() -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = http.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = http.accept().await.unwrap();
                tokio::spawn(sign_in(stream));
            }
        });
        Self { sockets: TcpListener::bind("127.0.0.1:0").await.unwrap(), http: address }
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(format!("http://{}", self.http), "alice", "alice");
        config.endpoint = Endpoint::Tcp(self.sockets.local_addr().unwrap().to_string());
        config.initial_history = u64::MAX;
        config
    }

    /// The next connection, before its hello.
    pub(crate) async fn accept(&self) -> Peer {
        Peer(within(self.sockets.accept()).await.unwrap().0)
    }

    /// The next connection, after an empty list of conversations.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        let hello = peer.expect("hello").await;
        let limits = json!({"content_bytes": 1, "frame_bytes": 1, "messages_per_second": 0, "message_burst": 0,
            "group_members": 1, "members_per_call": 1, "conversations": 1});
        let changes = hello.get("since").map(|_| json!({"items": [], "next": null, "reset": false}));
        peer.send(&json!({"type": "welcome", "id": hello["id"], "protocol": 1, "user": "alice", "terminal": "desktop",
            "device": hello["device"], "connection": "0000000000000001", "server": 0, "epoch": 1, "time": 1,
            "token_expires": 900_000, "heartbeat_ms": 25_000, "limits": limits, "since": "s", "changes": changes}))
            .await;
        if changes.is_none() {
            let list = peer.expect("conversations").await;
            peer.send(&json!({"type": "conversations", "id": list["id"], "items": [], "next": null, "since": "s"}))
                .await;
        }
        peer
    }
}

impl Peer {
    /// The next frame of this type; pings and acks of deliveries may come at any time.
    pub(crate) async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = within(self.next()).await;
            if frame["type"] == kind {
                return frame;
            }
            assert!(matches!(frame["type"].as_str(), Some("ping" | "delivered")), "{kind} is awaited, not {frame}");
        }
    }

    async fn next(&mut self) -> Value {
        let length = self.0.read_u32().await.unwrap();
        let mut text = vec![0; length as usize];
        self.0.read_exact(&mut text).await.unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        let text = frame.to_string();
        self.0.write_u32(u32::try_from(text.len()).unwrap()).await.unwrap();
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Acks a send.
    pub(crate) async fn ack(&mut self, send: &Value, seq: u64) {
        self.send(&json!({"type": "sent", "id": send["id"], "conversation": "d:alice:bob", "seq": seq,
            "client_message_id": send["client_message_id"], "time": 1, "duplicate": false}))
            .await;
    }
}

/// Every call is a sign-in here.
async fn sign_in(mut stream: TcpStream) {
    let mut request = Vec::new();
    // The password comes last but for the device: once the body's end is there, so is everything.
    while !request.ends_with(b"}") {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            return;
        }
    }
    let body = r#"{"access_token":"a","refresh_token":"r","expires_in":900}"#;
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}
