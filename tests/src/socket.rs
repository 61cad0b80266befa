//! A client's socket, frame by frame: WebSocket or TCP, nothing hidden, nothing repaired.

use std::net::{IpAddr, SocketAddr};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

/// How a connection ended, as its peer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The WebSocket close code; `None` without a close frame, and always on TCP.
    pub code: Option<u16>,
}

/// The writing end.
pub enum Writer {
    /// WebSocket.
    WebSocket(SplitSink<WebSocketStream<TcpStream>, Message>),
    /// TCP with a length before each frame.
    Tcp(OwnedWriteHalf),
}

/// The reading end.
pub enum Reader {
    /// WebSocket.
    WebSocket(SplitStream<WebSocketStream<TcpStream>>),
    /// TCP with a length before each frame.
    Tcp(OwnedReadHalf),
}

/// How a socket is opened.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// The address it comes from.
    pub from: IpAddr,
    /// Bytes the kernel takes for a reader that does not read; `None`: the system's default.
    pub receive_buffer: Option<u32>,
}

async fn dial(to: SocketAddr, options: Dial) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
    }
    socket.bind(SocketAddr::new(options.from, 0)).expect("an address of the loopback network");
    let stream = socket.connect(to).await.expect("the server listens");
    stream.set_nodelay(true).expect("a TCP option");
    stream
}

/// Opens a WebSocket to `/v1/connect`.
pub async fn websocket(http: SocketAddr, options: Dial) -> (Writer, Reader) {
    let stream = dial(http, options).await;
    let (socket, _) =
        client_async(format!("ws://{http}/v1/connect"), stream).await.expect("the server upgrades to WebSocket");
    let (writer, reader) = socket.split();
    (Writer::WebSocket(writer), Reader::WebSocket(reader))
}

/// Opens a TCP connection.
pub async fn tcp(tcp: SocketAddr, options: Dial) -> (Writer, Reader) {
    let (reader, writer) = dial(tcp, options).await.into_split();
    (Writer::Tcp(writer), Reader::Tcp(reader))
}

impl Writer {
    /// Sends a text as a frame. False: the peer is gone.
    pub async fn send(&mut self, text: &str) -> bool {
        match self {
            Self::WebSocket(sink) => sink.send(Message::text(text)).await.is_ok(),
            Self::Tcp(socket) => {
                let length = u32::try_from(text.len()).expect("a frame below 4 GiB");
                let mut bytes = length.to_be_bytes().to_vec();
                bytes.extend_from_slice(text.as_bytes());
                socket.write_all(&bytes).await.is_ok()
            }
        }
    }

    /// Sends bytes as they are: the payload of a WebSocket text frame, UTF-8 or not, or anything at all on TCP.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::WebSocket(sink) => {
                let frame = Frame::message(bytes.to_vec(), OpCode::Data(Data::Text), true);
                sink.send(Message::Frame(frame)).await.is_ok()
            }
            Self::Tcp(socket) => socket.write_all(bytes).await.is_ok(),
        }
    }

    /// Says goodbye properly.
    pub async fn close(&mut self) {
        // An error means that the peer has gone first.
        let _ = match self {
            Self::WebSocket(sink) => sink.close().await.map_err(drop),
            Self::Tcp(socket) => socket.shutdown().await.map_err(drop),
        };
    }
}

impl Reader {
    /// The next frame, or how the connection ended.
    pub async fn next(&mut self) -> Result<Value, Closed> {
        match self {
            Self::WebSocket(stream) => loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(json(text.as_bytes())),
                    Some(Ok(Message::Close(frame))) => {
                        return Err(Closed { code: frame.map(|frame| frame.code.into()) });
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(Closed { code: None }),
                }
            },
            Self::Tcp(stream) => {
                let length = stream.read_u32().await.map_err(|_| Closed { code: None })?;
                let mut bytes = vec![0; length as usize];
                stream.read_exact(&mut bytes).await.map_err(|_| Closed { code: None })?;
                Ok(json(&bytes))
            }
        }
    }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("the server sends JSON only")
}
