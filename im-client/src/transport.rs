//! One socket as a stream of texts: a WebSocket, or TCP with a u32 big-endian length before each text.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use im_protocol::close::CloseReason;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

/// Buffers of a socket, bytes.
const BUFFER: usize = 4 * 1024;
/// The largest text taken from a server: answers end at 256 KiB, with at least one item.
const MAX_TEXT: usize = 1024 * 1024;
/// The handshakes together take no longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// WebSocket at the server's HTTP address.
    WebSocket,
    /// TCP at `host:port`.
    Tcp(String),
}

/// Why no socket could be had, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The network's word.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side does not speak WebSocket as it should.
    #[error("{0}")]
    WebSocket(#[from] tungstenite::Error),
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// It took longer than 10 s.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    /// What came is larger than an answer may be, or no UTF-8.
    #[error("the server sent what is no frame")]
    NoFrame,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
pub(crate) type AnyStream = Box<dyn Stream>;

/// What arrives.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A frame's text.
    Text(Utf8Bytes),
    /// A sign of life without content.
    Alive,
    /// The end, with the close code's meaning, where there was one.
    Closed(Option<CloseReason>),
}

/// The half that reads.
pub(crate) enum Reader {
    /// WebSocket.
    WebSocket(SplitStream<WebSocketStream<AnyStream>>),
    /// TCP.
    Tcp(BufReader<ReadHalf<AnyStream>>),
}

/// The half that writes.
pub(crate) enum Writer {
    /// WebSocket.
    WebSocket(SplitSink<WebSocketStream<AnyStream>, Message>),
    /// TCP.
    Tcp(WriteHalf<AnyStream>),
}

/// Connects.
pub(crate) async fn connect(server: &Url, endpoint: &Endpoint) -> Result<(Reader, Writer), TransportError> {
    let connecting = async {
        match endpoint {
            Endpoint::WebSocket => web_socket(server).await,
            Endpoint::Tcp(address) => {
                let (reader, writer) = tokio::io::split(Box::new(dial(address).await?) as AnyStream);
                Ok((Reader::Tcp(BufReader::with_capacity(BUFFER, reader)), Writer::Tcp(writer)))
            }
        }
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(TransportError::Timeout))
}

async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn web_socket(server: &Url) -> Result<(Reader, Writer), TransportError> {
    let host = server.host_str().unwrap_or_default();
    let port = server.port_or_known_default().unwrap_or(80);
    let stream = dial(&format!("{host}:{port}")).await?;
    let (scheme, stream): (_, AnyStream) = if server.scheme() == "https" {
        let config = ClientConfig::with_platform_verifier()?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        ("wss", Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    } else {
        ("ws", Box::new(stream))
    };
    let address = format!("{scheme}://{host}:{port}{}/v1/connect", server.path().trim_end_matches('/'));
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(MAX_TEXT))
        .max_frame_size(Some(MAX_TEXT));
    let (socket, _) = tokio_tungstenite::client_async_with_config(address, stream, Some(config)).await?;
    let (writer, reader) = socket.split();
    Ok((Reader::WebSocket(reader), Writer::WebSocket(writer)))
}

impl Reader {
    /// What comes next.
    pub(crate) async fn next(&mut self) -> Result<Incoming, TransportError> {
        match self {
            Self::WebSocket(reader) => Ok(match reader.next().await.transpose()? {
                None => Incoming::Closed(None),
                Some(Message::Text(text)) => Incoming::Text(text),
                Some(Message::Close(frame)) => Incoming::Closed(frame.and_then(|f| reason_of(f.code.into()))),
                Some(_) => Incoming::Alive,
            }),
            Self::Tcp(reader) => {
                let length = match reader.read_u32().await {
                    Ok(length) => length as usize,
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Incoming::Closed(None)),
                    Err(e) => return Err(e.into()),
                };
                if length == 0 || length > MAX_TEXT {
                    return Err(TransportError::NoFrame);
                }
                let mut text = vec![0; length];
                reader.read_exact(&mut text).await?;
                let text = String::from_utf8(text).map_err(|_| TransportError::NoFrame)?;
                Ok(Incoming::Text(text.into()))
            }
        }
    }
}

impl Writer {
    /// Writes a frame.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), TransportError> {
        match self {
            Self::WebSocket(writer) => Ok(writer.send(Message::text(text)).await?),
            Self::Tcp(writer) => {
                let length = u32::try_from(text.len()).map_err(|_| TransportError::NoFrame)?;
                let mut frame = Vec::with_capacity(4 + text.len());
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(text.as_bytes());
                Ok(writer.write_all(&frame).await?)
            }
        }
    }

    /// Says goodbye. The other side may be gone already.
    pub(crate) async fn close(&mut self) {
        let _ = match self {
            Self::WebSocket(writer) => writer.close().await.map_err(drop),
            Self::Tcp(writer) => writer.shutdown().await.map_err(drop),
        };
    }
}

/// The meaning of a WebSocket close code.
fn reason_of(code: u16) -> Option<CloseReason> {
    use CloseReason as R;
    [
        R::Normal,
        R::ProtocolError,
        R::InvalidUtf8,
        R::TooBig,
        R::Unauthorized,
        R::Kicked,
        R::TooSlow,
        R::GoingAway,
        R::Replaced,
        R::Silent,
        R::NoHello,
        R::TooManyRequests,
    ]
    .into_iter()
    .find(|reason| reason.code() == code)
}
