//! A TCP proxy between two parts of the system, which a test turns into a bad link while it is in use.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes taken at once.
const CHUNK: usize = 16 * 1024;
/// Chunks under way in one direction of a delayed connection; with more, the sender has to wait, as on a link of that length.
const UNDER_WAY: usize = 256;

/// What the link does to what goes over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Conditions {
    cut: bool,
    /// Nothing goes from client to server.
    requests_stalled: bool,
    /// Nothing goes from server to client.
    answers_stalled: bool,
    delay: Duration,
    bytes_per_second: Option<u32>,
    /// Raised to reset the connections there are.
    resets: u64,
}

impl Conditions {
    /// In whatever direction.
    fn is_stalled(&self) -> bool {
        self.requests_stalled || self.answers_stalled
    }
}

/// A link from an address of its own to another one, good until told otherwise. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conditions: watch::Sender<Conditions>,
    connections: Arc<AtomicUsize>,
    /// Whether it listens, as the task has last seen to it.
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A link to an address, from a free port of 127.0.0.1.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        Self::between((Ipv4Addr::LOCALHOST, 0).into(), target).await
    }

    /// A link from one address to another.
    pub async fn between(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (conditions, seen) = watch::channel(Conditions::default());
        let (listens, listening) = watch::channel(true);
        let connections = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(run(listener, target, seen, listens, connections.clone()));
        Ok(Self { address, conditions, connections, listening, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Resets every connection and refuses new ones, as a host whose process has died.
    pub async fn cut(&self) {
        self.conditions.send_modify(|conditions| conditions.cut = true);
        self.until_listening(false).await;
    }

    /// Resets the connections there are; new ones are welcome.
    pub fn reset(&self) {
        self.conditions.send_modify(|conditions| conditions.resets += 1);
    }

    /// Forwards nothing any more, neither bytes nor an end, as a network that drops every packet: connections stay, and
    /// both ends may write until the kernel's buffers are full. What they wrote arrives after [`Proxy::heal`].
    pub fn stall(&self) {
        self.conditions.send_modify(|conditions| {
            conditions.requests_stalled = true;
            conditions.answers_stalled = true;
        });
    }

    /// The same for what goes from clients to the server: answers to what it has got still arrive.
    pub fn stall_requests(&self) {
        self.conditions.send_modify(|conditions| conditions.requests_stalled = true);
    }

    /// The same for what goes from the server to clients: it still gets their requests.
    pub fn stall_answers(&self) {
        self.conditions.send_modify(|conditions| conditions.answers_stalled = true);
    }

    /// Every byte arrives this much later, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.conditions.send_modify(|conditions| conditions.delay = delay);
    }

    /// At most so many bytes per second go through, per connection and direction.
    pub fn throttle(&self, bytes_per_second: u32) {
        self.conditions.send_modify(|conditions| conditions.bytes_per_second = Some(bytes_per_second));
    }

    /// A good link again.
    pub async fn heal(&self) {
        self.conditions.send_modify(|conditions| {
            *conditions = Conditions { resets: conditions.resets, ..Conditions::default() };
        });
        self.until_listening(true).await;
    }

    async fn until_listening(&self, wanted: bool) {
        let mut listening = self.listening.clone();
        listening.wait_for(|listening| *listening == wanted).await.expect("the link's task lives as long as it");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections while the link is not cut.
async fn run(
    listener: TcpListener,
    target: SocketAddr,
    mut conditions: watch::Receiver<Conditions>,
    listens: watch::Sender<bool>,
    connections: Arc<AtomicUsize>,
) {
    let address = listener.local_addr().expect("a listener has an address");
    let mut listener = Some(listener);
    // Dropped with this task, and with it every connection.
    let mut links = JoinSet::new();
    loop {
        let cut = conditions.borrow_and_update().cut;
        if cut {
            listener = None;
            // Each has been told by the same value, and resets itself.
            while links.join_next().await.is_some() {}
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        listens.send_replace(listener.is_some());
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if cut => std::future::pending().await,
                // Somebody has the port for a moment.
                None => {
                    sleep(Duration::from_millis(10)).await;
                    None
                }
            }
        };
        tokio::select! {
            accepted = accepted => if let Some((client, _)) = accepted {
                let count = Count::one_more(&connections);
                let conditions = conditions.clone();
                links.spawn(async move {
                    connection(client, target, conditions).await;
                    drop(count);
                });
            },
            changed = conditions.changed() => if changed.is_err() { return },
            Some(_) = links.join_next(), if !links.is_empty() => {}
        }
    }
}

/// Counts a connection for as long as it lives.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one_more(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Carries one connection until both directions have ended or the link resets it.
async fn connection(mut client: TcpStream, target: SocketAddr, conditions: watch::Receiver<Conditions>) {
    let resets = conditions.borrow().resets;
    let mut watched = conditions.clone();
    let reset = async move {
        // An error means that the link is gone: no better than a reset.
        let _ = watched.wait_for(|now| now.cut || now.resets != resets).await;
    };
    tokio::pin!(reset);
    let opening = async {
        until_open(&mut conditions.clone(), Conditions::is_stalled).await;
        let server = TcpStream::connect(target).await?;
        // A proxy must not add waits of its own.
        client.set_nodelay(true).and(server.set_nodelay(true)).map(|()| server)
    };
    let opened = tokio::select! {
        opened = opening => opened.ok(),
        () = &mut reset => None,
    };
    let Some(mut server) = opened else {
        end_badly(&client);
        return;
    };
    let carrying = async {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let up = carry(client_reads, server_writes, conditions.clone(), |now| now.requests_stalled);
        let down = carry(server_reads, client_writes, conditions.clone(), |now| now.answers_stalled);
        let outcome = tokio::try_join!(up, down);
        // A link that is down does not tell one end that the other has failed.
        until_open(&mut conditions.clone(), Conditions::is_stalled).await;
        outcome.is_ok()
    };
    let ended_well = tokio::select! {
        ended_well = carrying => ended_well,
        () = reset => false,
    };
    if !ended_well {
        end_badly(&client);
        end_badly(&server);
    }
}

/// Closes with a reset in place of an end, as soon as it is dropped.
fn end_badly(end: &TcpStream) {
    // An error means that its peer has reset it before.
    let _ = end.set_zero_linger();
}

/// Carries one direction to its end.
async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut conditions: watch::Receiver<Conditions>,
    stalled: fn(&Conditions) -> bool,
) -> io::Result<()> {
    let (under_way, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = {
        let mut conditions = conditions.clone();
        async move {
            loop {
                until_open(&mut conditions, stalled).await;
                let mut chunk = vec![0; CHUNK];
                let length = from.read(&mut chunk).await?;
                chunk.truncate(length);
                let arrives = Instant::now() + conditions.borrow().delay;
                // An empty chunk is the end, which takes as long to arrive. An error means that the other end has gone.
                if under_way.send((arrives, chunk)).await.is_err() || length == 0 {
                    return Ok::<_, io::Error>(());
                }
            }
        }
    };
    let writing = async move {
        while let Some((arrives, chunk)) = arriving.recv().await {
            sleep_until(arrives).await;
            let mut rest = chunk.as_slice();
            loop {
                until_open(&mut conditions, stalled).await;
                let rate = conditions.borrow().bytes_per_second;
                // A tenth of a second's worth at once, so that a slow link flows and does not jump.
                let length = rate.map_or(rest.len(), |rate| (rate as usize / 10).max(1).min(rest.len()));
                let (part, later) = rest.split_at(length);
                to.write_all(part).await?;
                if rate.is_some() && !part.is_empty() {
                    sleep(Duration::from_millis(100)).await;
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
        }
        // The end of this direction alone: the other one may go on.
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// Waits while nothing goes over the link, or over one direction of it.
async fn until_open(conditions: &mut watch::Receiver<Conditions>, stalled: fn(&Conditions) -> bool) {
    // An error means that the link is gone, and this task with it.
    let _ = conditions.wait_for(|now| !stalled(now)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    /// Long enough to notice what should not come.
    const NOTHING: Duration = Duration::from_millis(150);

    /// A link and its two ends: the client's, and the server's.
    struct Link {
        proxy: Proxy,
        listener: TcpListener,
    }

    impl Link {
        async fn open() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy = Proxy::to(listener.local_addr().unwrap()).await.unwrap();
            Self { proxy, listener }
        }

        /// A connection that the link has taken up: a byte has gone through.
        async fn connect(&self) -> (TcpStream, TcpStream) {
            let mut client = TcpStream::connect(self.proxy.address()).await.unwrap();
            let (mut server, _) = self.listener.accept().await.unwrap();
            client.write_all(b"!").await.unwrap();
            gets(&mut server, b"!").await;
            (client, server)
        }
    }

    /// Reads exactly this.
    async fn gets(stream: &mut TcpStream, expected: &[u8]) {
        let mut got = vec![0; expected.len()];
        tokio::time::timeout(LONG, stream.read_exact(&mut got)).await.expect("in time").expect("all of it");
        assert_eq!(got, expected);
    }

    /// The next read: bytes, an end (0), or an error; `None`: nothing for a while.
    async fn next(stream: &mut TcpStream) -> Option<io::Result<usize>> {
        let mut buffer = [0; 64];
        tokio::time::timeout(NOTHING, stream.read(&mut buffer)).await.ok()
    }

    #[tokio::test]
    async fn a_good_link_carries_both_ways_and_each_end_apart() {
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        gets(&mut server, b"question").await;
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "the client has nothing more to say");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        gets(&mut client, b"answer").await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cut_link_resets_and_refuses_until_it_is_healed() {
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        link.proxy.cut().await;
        for end in [&mut client, &mut server] {
            let error = tokio::time::timeout(LONG, end.read(&mut [0])).await.expect("in time").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        assert_eq!(link.proxy.connections(), 0);
        let refused = TcpStream::connect(link.proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        link.proxy.heal().await;
        let (mut client, mut server) = link.connect().await;
        client.write_all(b"again").await.unwrap();
        gets(&mut server, b"again").await;
    }

    #[tokio::test]
    async fn a_reset_ends_the_connections_there_are_and_no_later_one() {
        let link = Link::open().await;
        let (mut client, _server) = link.connect().await;
        link.proxy.reset();
        let error = tokio::time::timeout(LONG, client.read(&mut [0])).await.expect("in time").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let (mut client, mut server) = link.connect().await;
        client.write_all(b"again").await.unwrap();
        gets(&mut server, b"again").await;
    }

    #[tokio::test]
    async fn a_stalled_link_holds_bytes_and_ends_and_new_connections_until_it_is_healed() {
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        link.proxy.stall();
        client.write_all(b"held").await.unwrap();
        client.shutdown().await.unwrap();
        assert!(next(&mut server).await.is_none(), "neither bytes nor an end go through");
        let newcomer = TcpStream::connect(link.proxy.address()).await.unwrap();
        assert!(tokio::time::timeout(NOTHING, link.listener.accept()).await.is_err());
        link.proxy.heal().await;
        gets(&mut server, b"held").await;
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        tokio::time::timeout(LONG, link.listener.accept()).await.expect("the newcomer comes through").unwrap();
        drop(newcomer);
    }

    #[tokio::test]
    async fn a_link_that_is_stalled_in_one_direction_carries_the_other() {
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        link.proxy.stall_answers();
        client.write_all(b"question").await.unwrap();
        gets(&mut server, b"question").await;
        server.write_all(b"answer").await.unwrap();
        assert!(next(&mut client).await.is_none(), "the answer is held");
        link.proxy.heal().await;
        gets(&mut client, b"answer").await;

        link.proxy.stall_requests();
        client.write_all(b"held").await.unwrap();
        server.write_all(b"late answer").await.unwrap();
        gets(&mut client, b"late answer").await;
        assert!(next(&mut server).await.is_none(), "the question is held");
        link.proxy.heal().await;
        gets(&mut server, b"held").await;
    }

    #[tokio::test]
    async fn a_stalled_link_does_not_tell_that_the_other_end_has_failed() {
        let link = Link::open().await;
        let (client, mut server) = link.connect().await;
        link.proxy.stall();
        client.set_zero_linger().unwrap();
        drop(client);
        assert!(next(&mut server).await.is_none());
        link.proxy.heal().await;
        assert_eq!(server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_delayed_link_is_late_and_keeps_order() {
        const DELAY: Duration = Duration::from_millis(120);
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        link.proxy.delay(DELAY);
        // The first read began under the old conditions only if nothing was sent before: the delay counts from arrival.
        let begun = Instant::now();
        for part in [b"one ", b"two "] {
            client.write_all(part).await.unwrap();
        }
        gets(&mut server, b"one two ").await;
        let took = begun.elapsed();
        assert!((DELAY..DELAY * 2).contains(&took), "one delay, not one per chunk: {took:?}");
    }

    #[tokio::test]
    async fn a_throttled_link_takes_its_time() {
        let link = Link::open().await;
        let (mut client, mut server) = link.connect().await;
        link.proxy.throttle(10_000);
        let begun = Instant::now();
        client.write_all(&[7; 4_000]).await.unwrap();
        gets(&mut server, &[7; 4_000]).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(300), "4 kB at 10 kB/s: {took:?}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_a_reset_for_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await.unwrap();
        drop(listener);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
