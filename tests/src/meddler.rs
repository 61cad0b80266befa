//! A proxy that does on purpose what the checker must find: it stands before the TCP port, knows frames, and drops, swaps,
//! doubles or leaks pushed messages.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What it does to the messages pushed to each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    /// Nothing: every frame goes on as it came.
    Nothing,
    /// Leaves every so manieth message out.
    Drop(u32),
    /// Sends every so manieth message after its successor.
    Swap(u32),
    /// Sends every so manieth message twice.
    Double(u32),
    /// Sends every so manieth message to all connections.
    Leak(u32),
}

/// Frames on their way to one client; the proxy waits when it is full.
const QUEUE: usize = 1024;

type Connections = Arc<Mutex<Vec<mpsc::Sender<Vec<u8>>>>>;

/// The proxy; it ends when dropped.
pub struct Meddler {
    /// Where clients connect.
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Meddler {
    /// Stands before a server's TCP port.
    pub async fn before(server: SocketAddr, meddling: Meddling) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let all = Connections::default();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, server, meddling, all.clone()));
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn serve(client: TcpStream, server: SocketAddr, meddling: Meddling, all: Connections) {
    let server = TcpStream::connect(server).await.expect("the server listens");
    let (from_server, mut to_server) = server.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let (queue, mut frames) = mpsc::channel::<Vec<u8>>(QUEUE);
    all.lock().push(queue.clone());
    let up = async {
        // However it ends, it is over.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let write = async {
        while let Some(frame) = frames.recv().await {
            if to_client.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = write => {}
        () = meddle(from_server, meddling, &queue, &all) => {}
    }
}

/// Hands frames on until the server closes.
async fn meddle(mut server: OwnedReadHalf, meddling: Meddling, to: &mpsc::Sender<Vec<u8>>, all: &Connections) {
    let mut count = 0;
    let mut held = None;
    while let Some(frame) = next(&mut server).await {
        let is_message = frame[4..].starts_with(br#"{"type":"message","#);
        count += u32::from(is_message);
        let is_due = |every: u32| is_message && count % every == 0;
        let onward = match meddling {
            Meddling::Drop(every) if is_due(every) => Vec::new(),
            Meddling::Swap(every) if is_due(every) => {
                held = Some(frame);
                continue;
            }
            Meddling::Double(every) if is_due(every) => vec![frame.clone(), frame],
            Meddling::Leak(every) if is_due(every) => {
                let others: Vec<_> = all.lock().iter().filter(|other| !other.same_channel(to)).cloned().collect();
                for other in others {
                    // A connection that is gone cannot be leaked to.
                    let _ = other.send(frame.clone()).await;
                }
                vec![frame]
            }
            _ => vec![frame],
        };
        for frame in onward.into_iter().chain(held.take()) {
            if to.send(frame).await.is_err() {
                return;
            }
        }
    }
}

/// A frame with its length before it; `None` at the end.
async fn next(server: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = server.read_u32().await.ok()?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    server.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}
