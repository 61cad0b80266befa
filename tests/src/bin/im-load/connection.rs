//! A lean connection: no buffer of its own while nothing is half read or half written, one task.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, bail};
use im_protocol::client::Hello;
use im_protocol::{ClientFrame, DeviceId, Terminal};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

use crate::framing::{Frame, first, put_pong, put_text};
use crate::{Target, Transport};

/// What all connections read into: they take turns on one thread.
const READ: usize = 64 * 1024;
/// What may wait to be written: a server that does not read this much is not loaded but dead.
const UNWRITTEN: usize = 4 * 1024 * 1024;
/// Connections of one source address: it has 28,000 ports.
const PER_ADDRESS: u32 = 20_000;
/// A round of pings is cut into this many.
const SLICES: u32 = 100;
/// The handshake and the answer to hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// The writing side.
pub(crate) struct Writer {
    half: OwnedWriteHalf,
    unwritten: RefCell<Vec<u8>>,
    flushing: Cell<bool>,
    transport: Transport,
}

/// The reading side.
pub(crate) struct Reader {
    half: OwnedReadHalf,
    /// The beginning of a frame whose end did not come yet.
    partial: Vec<u8>,
    transport: Transport,
}

/// The heartbeat that `welcome` asks for, and the limit it tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) heartbeat: Duration,
    /// Messages per second of one user; 0: no limit.
    pub(crate) messages_per_second: u32,
}

/// Who connects.
pub(crate) struct Identity {
    pub(crate) token: String,
    pub(crate) terminal: Terminal,
    pub(crate) device: DeviceId,
}

/// Connects and says hello. `n` counts connections, to spread them over source addresses.
pub(crate) async fn open(target: &Target, n: u32, who: Identity) -> anyhow::Result<(Reader, Rc<Writer>, Told)> {
    tokio::time::timeout(HELLO_TIMEOUT, handshake(target, n, who)).await.context("no welcome in time")?
}

async fn handshake(target: &Target, n: u32, who: Identity) -> anyhow::Result<(Reader, Rc<Writer>, Told)> {
    let transport = target.transport;
    let addresses = match transport {
        Transport::Ws => &target.server,
        Transport::Tcp => &target.tcp,
    };
    let address = addresses[n as usize % addresses.len()];
    let mut stream = dial(address, n).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    if transport == Transport::Ws {
        upgrade(&mut stream, address).await?;
    }
    let Identity { token, terminal, device } = who;
    let hello = ClientFrame::Hello(Hello { protocol: None, token, terminal, device, since: None });
    let mut out = Vec::new();
    put_text(transport, hello.encode(None).as_bytes(), &mut out)?;
    stream.write_all(&out).await?;
    let (read, write) = stream.into_split();
    let mut reader = Reader { half: read, partial: Vec::new(), transport };
    let writer = Rc::new(Writer { half: write, unwritten: RefCell::default(), flushing: Cell::new(false), transport });
    let mut told = None;
    while told.is_none() {
        reader
            .read(&writer, |text| {
                // What is pushed waits behind welcome, but may come in the same read; nothing is sent yet, so none counts.
                if told.is_none() {
                    told = Some(welcome(text)?);
                }
                Ok(())
            })
            .await?;
    }
    Ok((reader, writer, told.context("no welcome")?))
}

fn welcome(text: &[u8]) -> anyhow::Result<Told> {
    #[derive(Deserialize)]
    struct Limits {
        messages_per_second: u32,
    }
    #[derive(Deserialize)]
    struct Welcome<'a> {
        r#type: &'a str,
        heartbeat_ms: Option<u64>,
        limits: Option<Limits>,
    }
    match serde_json::from_slice(text) {
        Ok(Welcome { r#type: "welcome", heartbeat_ms: Some(ms), limits: Some(limits) }) => {
            Ok(Told { heartbeat: Duration::from_millis(ms), messages_per_second: limits.messages_per_second })
        }
        _ => bail!("the server answers hello with {}", String::from_utf8_lossy(text)),
    }
}

async fn dial(address: SocketAddr, n: u32) -> io::Result<TcpStream> {
    let nth = n / PER_ADDRESS;
    let SocketAddr::V4(_) = address else { return TcpStream::connect(address).await };
    let socket = TcpSocket::new_v4()?;
    if nth > 0 && address.ip().is_loopback() {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + nth);
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    socket.connect(address).await
}

/// RFC 6455 §4.1, without a look at the accept key: this is no place to detect wrong servers.
async fn upgrade(stream: &mut TcpStream, host: SocketAddr) -> anyhow::Result<()> {
    const HEAD: usize = 4096;
    let request = format!(
        "GET /v1/connect HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // The server speaks first only after hello, so nothing is read beyond the head.
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_buf(&mut head).await?;
        anyhow::ensure!(read > 0 && head.len() < HEAD, "the server does not upgrade to WebSocket");
    }
    let status = String::from_utf8_lossy(&head);
    anyhow::ensure!(status.starts_with("HTTP/1.1 101"), "{}", status.lines().next().unwrap_or_default());
    Ok(())
}

impl Writer {
    /// Sends a text, now if the socket takes it.
    pub(crate) fn send(self: &Rc<Self>, text: &str) -> anyhow::Result<()> {
        let start = self.unwritten.borrow().len();
        put_text(self.transport, text.as_bytes(), &mut self.unwritten.borrow_mut())?;
        self.flush(start)
    }

    fn pong(self: &Rc<Self>, payload: &[u8]) -> anyhow::Result<()> {
        let start = self.unwritten.borrow().len();
        put_pong(payload, &mut self.unwritten.borrow_mut())?;
        self.flush(start)
    }

    /// Writes what can be written at once. What was waiting before (`queued` bytes) already has a task.
    fn flush(self: &Rc<Self>, queued: usize) -> anyhow::Result<()> {
        anyhow::ensure!(queued < UNWRITTEN, "the server does not read what it is sent");
        if queued > 0 || self.flushing.get() {
            return Ok(());
        }
        if !self.write_some()? {
            self.flushing.set(true);
            let writer = self.clone();
            tokio::task::spawn_local(async move {
                while writer.half.writable().await.is_ok() && matches!(writer.write_some(), Ok(false)) {}
                writer.flushing.set(false);
            });
        }
        Ok(())
    }

    /// True if nothing is left.
    fn write_some(&self) -> io::Result<bool> {
        let mut unwritten = self.unwritten.borrow_mut();
        match self.half.try_write(&unwritten) {
            Ok(written) => drop(unwritten.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if unwritten.is_empty() && unwritten.capacity() > READ {
            *unwritten = Vec::new();
        }
        Ok(unwritten.is_empty())
    }
}

impl Reader {
    /// Waits for something to read, and takes every frame that is complete.
    pub(crate) async fn read(
        &mut self,
        writer: &Rc<Writer>,
        mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        poll_fn(|cx| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.half).poll_read(cx, &mut read) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                    Poll::Ready(Ok(())) => Poll::Ready(self.took(read.filled(), writer, &mut take)),
                }
            })
        })
        .await
    }

    fn took(
        &mut self,
        read: &[u8],
        writer: &Rc<Writer>,
        take: &mut impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if read.is_empty() {
            bail!("the server closed a connection");
        }
        let mut joined = std::mem::take(&mut self.partial);
        let mut bytes = if joined.is_empty() {
            read
        } else {
            joined.extend_from_slice(read);
            &joined
        };
        while let Some((frame, length)) = first(self.transport, bytes)? {
            match frame {
                Frame::Text(text) => take(text)?,
                Frame::Ping(payload) => writer.pong(payload)?,
                Frame::Close(code) => bail!("the server closed a connection with code {code}"),
                Frame::Other => {}
            }
            bytes = &bytes[length..];
        }
        if !bytes.is_empty() {
            self.partial = bytes.to_vec();
        }
        Ok(())
    }
}

/// Keeps connections alive: a ping to each within four fifths of the heartbeat, evenly spread. Ends when dropped.
pub(crate) async fn keep_alive(writers: Vec<Rc<Writer>>, heartbeat: Duration) {
    let ping = ClientFrame::Ping.encode(None);
    let mut tick = tokio::time::interval(heartbeat * 4 / 5 / SLICES);
    let per_slice = writers.len().div_ceil(SLICES as usize).max(1);
    loop {
        for slice in writers.chunks(per_slice) {
            tick.tick().await;
            for writer in slice {
                // One that broke is noticed where it is read.
                let _ = writer.send(&ping);
            }
        }
        // With fewer connections than slices the round is shorter than the heartbeat, which harms nobody.
    }
}
